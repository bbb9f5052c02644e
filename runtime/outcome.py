"""The one decision of an attempt, committed or aborted, and the chain of commits (docs/protocol.md).

initial ◄─ 0-0 ◄─ 1-0 aborted
             ▲
             └─── 1-1 ◄─ 2-0          a commit's base is the commit before it
"""

from collections.abc import Iterator

from runtime import keys
from runtime.errors import FuncpipeError
from runtime.records import Abort, Commit, parse_outcome
from runtime.store import Data, KeyNotFound, Store


class GangAborted(FuncpipeError):
    """The attempt has an outcome: another worker of the gang failed, the run's owner stopped it, or it is over.

    ``by_owner``: whether it was the owner.
    """

    def __init__(self, message: str, *, by_owner: bool = False) -> None:
        super().__init__(message)
        self.by_owner = by_owner


class NoCommit(FuncpipeError):
    """A run has no commit where it must have one."""


def put_once(store: Store, key: str, body: bytes) -> Data:
    """Writes ``key`` unless it is there; returns what it then holds.

    A conditional put that succeeded may have been answered by an error and repeated by the client, who is then told
    that the key exists. What the key holds decides, therefore, and not the answer.
    """
    return body if store.put(key, body, if_absent=True) else store.get(key)


def aborted_by(outcome: Abort | Commit, otherwise: str) -> GangAborted:
    """The exception for an attempt with this outcome; ``otherwise`` is the message where it is a commit."""
    if isinstance(outcome, Abort):
        return GangAborted(outcome.message, by_owner=outcome.reason == "stopped")
    return GangAborted(otherwise)


def decide(store: Store, gang: keys.GangKeys, wanted: Commit | Abort) -> Commit | Abort:
    """Makes ``wanted`` the outcome of the gang's attempt, if it has none yet; returns the outcome that stands."""
    return parse_outcome(put_once(store, gang.outcome, wanted.model_dump_json().encode()))


def read_outcome(store: Store, gang: keys.GangKeys) -> Commit | Abort | None:
    """The outcome of the gang's attempt; None while it is open."""
    try:
        return parse_outcome(store.get(gang.outcome))
    except KeyNotFound:
        return None


def read_commit(store: Store, run: str, name: str) -> Commit:
    """The commit of that name. Raises NoCommit when there is none, or the attempt was aborted."""
    try:
        outcome = parse_outcome(store.get(keys.commit(run, name)))
    except KeyNotFound:
        raise NoCommit(f"run {run} has no commit {name}; was it started with `funcpipe start`?") from None
    if isinstance(outcome, Abort):
        raise NoCommit(f"attempt {name} of run {run} was aborted, so nothing can go on from it: {outcome.message}")
    return outcome


def last_commit(store: Store, run: str) -> Commit:
    """The newest commit of a run. Raises NoCommit when there is none."""
    gangs = [gang for key in store.list(keys.outcomes_prefix(run)) if (gang := keys.parse_outcome(run, key))]
    for gang in sorted(gangs, key=lambda gang: (gang.segment, gang.attempt), reverse=True):
        if isinstance(outcome := read_outcome(store, gang), Commit):
            return outcome
    return read_commit(store, run, keys.INITIAL)


def commits_back(store: Store, run: str, newest: Commit) -> Iterator[Commit]:
    """``newest`` and the commits that it rests on, back to the initial one."""
    commit: Commit | None = newest
    while commit is not None:
        yield commit
        commit = read_commit(store, run, commit.base) if commit.base is not None else None
