"""What the emulator itself can carry: clients that do nothing else, as many as a bench has workers, on its storage.

The emulator is one process that serves small and large requests, up and down, one after the other; so the share of it
that somebody uses is the sum of the seconds that each kind of request takes at its ceiling, over the seconds that went
by. Near 1, the emulator is measured and not the runtime.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

from bench.gather import gather
from bench.options import Progress
from bench.storage import Space, Storage, StoreKind
from launch.worker_context import worker_context
from runtime.records import Traffic

MIB = 1 << 20
SMALL_BYTES = 1 << 10
LARGE_BYTES = 8 * MIB
PATIENCE_S = 60.0
"""For the clients to come to a start."""


@dataclass(frozen=True)
class Ceiling:
    """Of all clients together; requests per second are those of small objects, MiB per second those of large ones."""

    puts_s: float
    gets_s: float
    put_mib_s: float
    get_mib_s: float

    @property
    def figures(self) -> dict[str, float]:
        return {f"emulator_{name}": value for name, value in vars(self).items()}

    def use(self, traffic: Traffic, seconds: float) -> float:
        """The share of the ceiling that ``traffic`` within ``seconds`` comes to.

        A request takes what its count or its bytes take, whichever is more; a DELETE is taken for a small GET.
        """
        up_s = max(traffic.puts / self.puts_s, traffic.bytes_up / MIB / self.put_mib_s)
        down_s = max(traffic.gets / self.gets_s, traffic.bytes_down / MIB / self.get_mib_s)
        return (up_s + down_s + traffic.deletes / self.gets_s) / seconds


def measure_ceiling(
    kind: StoreKind, storage: Storage, clients: int, seconds: float, progress: Progress
) -> Ceiling | None:
    """Four measurements of so many ``seconds`` by so many ``clients``, each a process with one request at a time.

    None for a store that is no emulator.
    """
    if kind is not StoreKind.EMBEDDED:
        return None
    progress(f"the emulator alone, {clients} clients: about {4 * seconds:.0f} s ...")
    barrier = worker_context().Barrier(clients)
    with storage.space() as space:
        turns = gather(_client, [(space, client, barrier, seconds) for client in range(clients)])
    puts, gets, large_puts, large_gets = (_together(turn) for turn in zip(*turns, strict=True))
    scale = LARGE_BYTES / MIB
    return Ceiling(puts_s=puts, gets_s=gets, put_mib_s=large_puts * scale, get_mib_s=large_gets * scale)


def change(before: Traffic, after: Traffic) -> Traffic:
    """What has passed in between."""
    return Traffic(**{name: count - getattr(before, name) for name, count in after})


def total(traffics: Iterable[Traffic]) -> Traffic:
    """Of several workers."""
    each = list(traffics)
    return Traffic(**{name: sum(getattr(traffic, name) for traffic in each) for name in Traffic.model_fields})


@dataclass(frozen=True)
class _Turn:
    requests: int
    begin_s: float
    end_s: float


def _together(turns: Iterable[_Turn]) -> float:
    """Requests per second, from the first one's begin to the last one's end."""
    each = list(turns)
    return sum(turn.requests for turn in each) / (max(t.end_s for t in each) - min(t.begin_s for t in each))


def _client(space: Space, number: int, barrier: Barrier, seconds: float) -> list[_Turn]:
    """Body of a client's process: PUTs, then GETs, of its own small object, then the same of its large one."""
    store, turns = space.open(), []
    for size in (SMALL_BYTES, LARGE_BYTES):
        key, body = f"{size}/{number}", bytes(size)
        store.put(key, body)  # connects
        requests: tuple[Callable[[], object], ...] = (lambda k=key, b=body: store.put(k, b), lambda k=key: store.get(k))
        for request in requests:
            barrier.wait(PATIENCE_S)
            turns.append(_repeated(request, seconds))
    return turns


def _repeated(request: Callable[[], object], seconds: float) -> _Turn:
    """At least once, then until the time is up."""
    begin_s, count, end_s = time.monotonic(), 0, 0.0
    while not count or end_s < begin_s + seconds:
        request()
        count, end_s = count + 1, time.monotonic()
    return _Turn(count, begin_s, end_s)
