"""The workers of a gang meet before their first iteration, so that none is timed while another still starts.

    worker       ready/STAGE-REPLICA ─┐                         ┌─► begins
    first worker                      └─► sees all ready ─► go ─┤
    worker       ready/STAGE-REPLICA ─┘                         └─► begins

One object per worker, and the wait for it is one GET that is repeated until the object is there, so requests grow with
the workers and not with their pairs.
"""

from collections.abc import Iterable

from runtime.mailbox import Mailbox

Place = tuple[int, int]
"""Stage and replica."""


def meet(mailbox: Mailbox, own: Place, workers: Iterable[Place]) -> None:
    """Returns when all ``workers`` of the gang, of which ``own`` is one, have come here.

    Raises:
        GangAborted, Stalled, Cancelled: not all will come; as ``Mailbox.wait``.
    """
    first, *others = sorted(workers)
    artifacts, gang = mailbox.artifacts, mailbox.gang
    if own != first:
        artifacts.put(gang.ready(*own), b"")
        mailbox.wait(artifacts, gang.go)
        return
    for worker in others:
        mailbox.wait(artifacts, gang.ready(*worker))
    if others:
        artifacts.put(gang.go, b"")
