"""The workers of a gang come together: one invocation per worker, and none begins before all can.

    worker       claim ─ ready/STAGE-REPLICA ─┐                         ┌─► begins
    leader       claim                        └─► sees all ready ─► go ─┤
    worker       claim ─ ready/STAGE-REPLICA ─┘                         └─► begins

One object per worker, and the wait for it is one GET that is repeated until the object is there, so requests grow with
the workers and not with their pairs.
"""

import time
from collections.abc import Callable, Iterable
from uuid import uuid4

from runtime.keys import GangKeys
from runtime.mailbox import Mailbox
from runtime.outcome import put_once
from runtime.records import Claim, Go, Ready
from runtime.store import Store

Place = tuple[int, int]
"""Stage and replica."""
LEADER: Place = (0, 0)


def claim(artifacts: Store, gang: GangKeys, own: Place, request_id: str) -> bool:
    """Whether this invocation is the one that is to be the gang's worker ``own``: exactly one is told so."""
    wanted = Claim(token=uuid4().hex, request_id=request_id, at=time.time())
    standing = put_once(artifacts, gang.claim(*own), wanted.model_dump_json().encode())
    return Claim.model_validate_json(bytes(standing)) == wanted


def meet(
    mailbox: Mailbox, own: Place, ready: Ready, workers: Iterable[Place], plan: Callable[[list[Ready]], Go] | None
) -> Go:
    """Returns when all ``workers`` of the gang, of which ``own`` is one, have come here: what the leader told them.

    Args:
        plan: the leader's, None elsewhere; gets what all workers told, in the order of ``workers``.

    Raises:
        GangAborted, Stalled, Cancelled: not all will come; as ``Mailbox.wait``.
    """
    artifacts, gang = mailbox.artifacts, mailbox.gang
    if plan is None:
        artifacts.put(gang.ready(*own), ready.model_dump_json().encode())
        return Go.model_validate_json(bytes(mailbox.wait(artifacts, gang.go).data))
    told = [
        ready if worker == own else Ready.model_validate_json(bytes(mailbox.wait(artifacts, gang.ready(*worker)).data))
        for worker in workers
    ]
    go = plan(told)
    if len(told) > 1:
        artifacts.put(gang.go, go.model_dump_json().encode())
    return go
