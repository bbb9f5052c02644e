"""The sum of a stage's gradients over its replicas as steps of a graph: what ``runtime.scatter_reduce`` sends when.

Its transfers pass over the same links as all others, uploads and downloads with IN_FLIGHT threads each of their own;
objects are looked for as all others. Additions and copies take no time here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from planner.graph import GANG, Awaited, ByRest, Delay, Ports, Steps
from runtime.keys import series
from runtime.pacing import IN_FLIGHT
from runtime.synchronisation import Algorithm, Exchange


@dataclass(frozen=True)
class Member:
    """A replica: the steps at which its part begins and ends, its links, and the uploads that go before its own."""

    begin: int
    end: int
    ports: Ports
    uploads: tuple[int, ...]


@dataclass
class _Replica:
    """A member, and what has been added of its part."""

    steps: Steps
    member: Member
    latency_s: float
    object_s: ByRest
    uploads: list[int] = field(default_factory=list)
    downloads: list[int] = field(default_factory=list)
    last_search: int | None = None
    last_series: str | None = None

    def put(self, after: Sequence[int], seconds: float) -> int:
        """An upload that is made when ``after`` are done; the step at whose end the object is there."""
        request = self.steps.add(self.latency_s, works=False, delay=Delay(self.object_s, self.member.ports.up))
        self.steps.needs[request] += [
            (step, 0) for step in [*after, *self.member.uploads, *self.uploads[-IN_FLIGHT:][: 1 - IN_FLIGHT]]
        ]
        link = self.steps.add(seconds, server=self.member.ports.up, works=False)
        self.steps.needs[link].append((request, 0))
        self.uploads.append(link)
        return link

    def get(self, after: Sequence[int], sent: int, key: str, seconds: float) -> int:
        """A download that is requested when ``after`` are done; the step at whose end the object has come."""
        issue = self.steps.add(0.0, works=False)
        full = self.downloads[-IN_FLIGHT:][: 1 - IN_FLIGHT]
        self.steps.needs[issue] += [(step, 0) for step in [*after, *full]]
        search = self.steps.add(self.latency_s, works=False)
        link = self.steps.add(seconds, server=self.member.ports.down, works=False)
        read = self.steps.add(0.0, works=False, delay=Delay(self.object_s, self.member.ports.up))
        follows, self.last_series = series(key) == self.last_series, series(key)
        # Not the ports' own numbers: searches of the sum and of the schedule do not wait for one another.
        self.steps.looks[search] = Awaited(-self.member.ports.down, key, issue, sent, self.latency_s, follows)
        self.steps.needs[search] += [(issue, 0), (sent, 0)]
        if self.last_search is not None:
            self.steps.needs[search].append((self.last_search, 0))
        self.last_search = search
        self.steps.needs[link].append((search, 0))
        self.steps.needs[read].append((link, 0))
        self.downloads.append(read)
        return read


def _rotated(replica: int, count: int) -> list[int]:
    return [(replica + step) % count for step in range(1, count)]


def _rotated_back(replica: int, count: int) -> list[int]:
    return [(replica - step) % count for step in range(1, count)]


def add_sum(
    steps: Steps, exchange: Exchange, algorithm: Algorithm, members: Sequence[Member], object_s: ByRest = ()
) -> None:
    """Adds the steps between the members' begins and ends. One bucket; ``object_s`` as in ``Delays``."""
    replicas = [_Replica(steps, member, exchange.latency_s, object_s) for member in members]
    if len(members) == 1 or exchange.gradient_bytes == 0:
        for member in members:
            steps.needs[member.end].append((member.begin, 0))
        return
    whole_s = exchange.gradient_bytes / exchange.bandwidth
    ways: dict[Algorithm, Callable[[list[_Replica], float], None]] = {
        Algorithm.PLAIN: partial(_in_splits, one_by_one=False),
        Algorithm.PIPELINED: partial(_in_splits, one_by_one=True),
        Algorithm.PIECE_PIPELINED: partial(_in_pieces, pieces=exchange.pieces),
        Algorithm.ALL_TO_ALL: _all_to_all,
    }
    ways[algorithm](replicas, whole_s)
    for replica in replicas:
        done = [replica.member.begin, *replica.uploads, *replica.downloads]
        steps.needs[replica.member.end] += [(step, 0) for step in done]


def _all_to_all(replicas: list[_Replica], whole_s: float) -> None:
    sent = [replica.put([replica.member.begin], whole_s) for replica in replicas]
    for number, replica in enumerate(replicas):
        for sender in _rotated_back(number, len(replicas)):
            replica.get([replica.member.begin], sent[sender], GANG.whole(0, 0, sender), whole_s)


def _in_splits(replicas: list[_Replica], whole_s: float, one_by_one: bool) -> None:
    count = len(replicas)
    split_s = whole_s / count
    sent: dict[tuple[int, int], int] = {}
    """By sender and owner."""
    for number, replica in enumerate(replicas):
        last = replica.member.begin
        for owner in _rotated(number, count):
            sent[number, owner] = replica.put([last], split_s)
            last = sent[number, owner] if one_by_one else last
    merged = []
    for number, replica in enumerate(replicas):
        uploads = list(replica.uploads)
        for step, sender in enumerate(_rotated_back(number, count)):
            # One by one, a split is asked for when as many have been sent; else when all have been.
            after = [uploads[step]] if one_by_one else uploads
            replica.get(after, sent[sender, number], GANG.split(0, 0, number, sender), split_s)
        merged.append(replica.put([*replica.downloads, *uploads], split_s))
    for number, replica in enumerate(replicas):
        for owner in _rotated(number, count):
            replica.get([merged[number]], merged[owner], GANG.merged(0, 0, owner), split_s)


def _in_pieces(replicas: list[_Replica], whole_s: float, pieces: int) -> None:
    count = len(replicas)
    piece_s = whole_s / count / pieces
    sent: dict[tuple[int, int, int], int] = {}
    """By sender, owner and piece."""
    for number, replica in enumerate(replicas):
        for piece in range(pieces):
            for owner in _rotated(number, count):
                sent[number, owner, piece] = replica.put([replica.member.begin], piece_s)
    merged: dict[tuple[int, int], int] = {}
    """By owner and piece."""
    for number, replica in enumerate(replicas):
        parts = [
            [
                replica.get(
                    [replica.member.begin],
                    sent[sender, number, piece],
                    GANG.split(0, 0, number, sender, piece),
                    piece_s,
                )
                for sender in _rotated_back(number, count)
            ]
            for piece in range(pieces)
        ]
        for piece in range(pieces):
            merged[number, piece] = replica.put([step for part in parts[: piece + 1] for step in part], piece_s)
    for number, replica in enumerate(replicas):
        for piece in range(pieces):
            for owner in _rotated(number, count):
                replica.get([replica.member.begin], merged[owner, piece], GANG.merged(0, 0, owner, piece), piece_s)
