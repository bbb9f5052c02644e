"""Seconds that replicas take to sum their gradients through a throttled store, beside the formulae and the bound.

Every replica is a process with a link of its own around one store: what runs is ``runtime``'s own, from the flat
gradient to the last byte. For each number of replicas the algorithms take turns, so that a disturbance of the machine
meets all of them; a repetition lasts from the common start to the end of the last replica, and medians are compared.
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from operator import attrgetter

import torch
from torch import nn

from bench.ceiling import Ceiling, change, measure_ceiling, total
from bench.gather import gather
from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from bench.storage import Space, Storage, StoreKind, add_store_option, open_storage
from launch.worker_context import worker_context
from runtime.keys import GangKeys
from runtime.lanes import Lanes
from runtime.mailbox import Mailbox
from runtime.manifest import StageSynchronisation
from runtime.records import Traffic
from runtime.scatter_reduce.gradient_sum import GradientSum
from runtime.store_retries import RetryingStore
from runtime.store_wrappers import CountingStore, Link, LinkSpec, ThrottledStore, TrafficCounter
from runtime.synchronisation import Algorithm, Exchange, best_piece_bytes
from runtime.timeline import Recorder

MIB = 1 << 20
NAMES = {Algorithm.PIECE_PIPELINED: "piece", Algorithm.PIPELINED: "pipelined", Algorithm.PLAIN: "plain"}
PATIENCE_S = 120.0
"""For one object, and for the replicas to come to the start."""


@dataclass(frozen=True)
class Setting:
    """What is measured. The defaults are the project's goal."""

    replicas: tuple[int, ...] = (2, 4, 8)
    gradient_mib: float = 64.0
    mib_s: float = 20.0
    latency_s: float = 0.020
    repeats: int = 5
    store: StoreKind = StoreKind.DIRECTORY
    ceiling_s: float = 2.0
    """Of each measurement of the emulator alone."""

    def exchange(self, replicas: int) -> Exchange:
        bandwidth = self.mib_s * MIB
        return Exchange(
            gradient_bytes=4 * self.elements,
            replicas=replicas,
            bandwidth=bandwidth,
            latency_s=self.latency_s,
            piece_bytes=best_piece_bytes(bandwidth, self.latency_s),
        )

    @property
    def elements(self) -> int:
        return int(self.gradient_mib * MIB) // 4


@dataclass(frozen=True)
class Turn:
    """One replica's share of one repetition; times on the machine's monotonic clock."""

    algorithm: Algorithm
    repeat: int
    begin_s: float
    end_s: float
    cpu_s: float
    traffic: Traffic


def _gradient(elements: int, factor: int) -> torch.Tensor:
    """Small integers, so that sums are exact in float32."""
    return (torch.arange(elements, dtype=torch.int32) % 97 - 48).float().mul_(factor)


def _replica(space: Space, setting: Setting, replica: int, replicas: int, barrier: Barrier) -> list[Turn]:
    """Body of a replica's process: all repetitions of all algorithms."""
    torch.set_num_threads(1)
    return list(_turns(space, setting, replica, replicas, barrier))


def _turns(space: Space, setting: Setting, replica: int, replicas: int, barrier: Barrier) -> Iterator[Turn]:
    rate = setting.mib_s * MIB
    counter = TrafficCounter()
    link = Link(LinkSpec(upload_bytes_s=rate, download_bytes_s=rate, latency_s=setting.latency_s))
    store = RetryingStore(CountingStore(ThrottledStore(space.open(), link), counter))
    mailbox = Mailbox(
        stage=0,
        inboxes={0: store},
        artifacts=RetryingStore(space.open()),
        gang=GangKeys("bench", 0, 0),
        stall_timeout_s=PATIENCE_S,
        deadline=time.monotonic() + 24 * 3600,
    )
    lanes = Lanes(mailbox, Recorder(0, replica), 0)
    own, parameter = _gradient(setting.elements, replica + 1), nn.Parameter(torch.zeros(setting.elements))
    expected = _gradient(setting.elements, replicas * (replicas + 1) // 2)
    piece_bytes = setting.exchange(replicas).piece_bytes
    sums = {
        algorithm: GradientSum(
            lanes,
            GangKeys(algorithm.value.replace("_", "-"), 0, 0),
            settings=StageSynchronisation(algorithm=algorithm, piece_bytes=piece_bytes),
            replica=replica,
            replicas=replicas,
            parameters=[parameter],
        )
        for algorithm in NAMES
    }
    try:
        for repeat, (algorithm, add) in itertools.product(range(setting.repeats), sums.items()):
            parameter.grad = own.clone()
            before = counter.traffic
            barrier.wait(PATIENCE_S)
            begin_s, cpu_s = time.monotonic(), time.process_time()
            add(repeat)
            end_s, cpu_s = time.monotonic(), time.process_time() - cpu_s
            lanes.drain()
            traffic = change(before, counter.traffic)
            if parameter.grad is None or not torch.equal(parameter.grad, expected):
                raise AssertionError(f"{algorithm.value}, repetition {repeat}: replica {replica} has a wrong sum")
            yield Turn(algorithm, repeat, begin_s, end_s, cpu_s, traffic)
    finally:
        lanes.close()


def _measure(storage: Storage, setting: Setting, replicas: int) -> list[Turn]:
    """All turns of a group of replicas."""
    barrier = worker_context().Barrier(replicas)
    with storage.space() as space:
        answers = gather(_replica, [(space, setting, replica, replicas, barrier) for replica in range(replicas)])
    return [turn for answer in answers for turn in answer]


def _medians(turns: list[Turn]) -> dict[Algorithm, float]:
    """Seconds of a repetition, from the common start to the end of its last replica."""
    seconds: dict[Algorithm, list[float]] = {}
    key = attrgetter("algorithm", "repeat")
    for (algorithm, _), group in itertools.groupby(sorted(turns, key=key), key):
        together = list(group)
        lasted = max(turn.end_s for turn in together) - min(turn.begin_s for turn in together)
        seconds.setdefault(algorithm, []).append(lasted)
    return {algorithm: statistics.median(each) for algorithm, each in seconds.items()}


def _figures(setting: Setting, replicas: int, turns: list[Turn], ceiling: Ceiling | None) -> dict[str, float]:
    exchange, medians, prefix = setting.exchange(replicas), _medians(turns), f"n{replicas}"
    figures = {f"{prefix}_piece_over_bound": medians[Algorithm.PIECE_PIPELINED] / exchange.bound_s}
    for algorithm in (Algorithm.PIPELINED, Algorithm.PLAIN, Algorithm.PIECE_PIPELINED):
        name = f"{prefix}_{NAMES[algorithm]}"
        mine = [turn for turn in turns if turn.algorithm is algorithm]
        figures[f"{name}_over_formula"] = medians[algorithm] / exchange.seconds(algorithm)
        figures[f"{name}_s"] = medians[algorithm]
        # 1 is both cores busy all the time: then the machine is measured, not the links.
        busy = statistics.mean(turn.cpu_s for turn in mine) * replicas
        figures[f"{name}_machine_use"] = busy / medians[algorithm] / (os.cpu_count() or 1)
        traffic = total(turn.traffic for turn in mine)
        figures[f"{name}_gets_per_object"] = traffic.gets / (traffic.gets - traffic.empty_gets)
        if ceiling is not None:
            figures[f"{name}_emulator_use"] = ceiling.use(traffic, setting.repeats * medians[algorithm])
    return figures


def _goals(replicas: int) -> dict[str, Goal]:
    prefix = f"n{replicas}"
    within = Goal(most=1.10, least=0.90)
    return {
        f"{prefix}_piece_over_bound": Goal(most=1.10),
        f"{prefix}_pipelined_over_formula": within,
        f"{prefix}_plain_over_formula": within,
    }


def run(setting: Setting, progress: Progress) -> Report:
    """Measures; takes about 5 minutes with the defaults.

    Raises:
        FuncpipeError: a replica's sum was wrong, or an object did not arrive; the emulator did not start.
    """
    figures: dict[str, float] = {}
    goals: dict[str, Goal] = {}
    with open_storage(setting.store) as storage:
        ceiling = measure_ceiling(setting.store, storage, max(setting.replicas), setting.ceiling_s, progress)
        if ceiling is not None:
            figures |= ceiling.figures
        for replicas in setting.replicas:
            exchange = setting.exchange(replicas)
            least = setting.repeats * sum(exchange.seconds(algorithm) for algorithm in NAMES)
            progress(f"{replicas} replicas: about {least:.0f} s ...")
            figures |= _figures(setting, replicas, _measure(storage, setting, replicas), ceiling)
            goals |= _goals(replicas) if ceiling is None else {}
    more = {"objects_in": storage.place, "piece_bytes": setting.exchange(2).piece_bytes}
    return Report("scatter-reduce", figures, goals, {**asdict(setting), **more})


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    setting = Setting(
        replicas=tuple(options.replicas),
        gradient_mib=options.mib,
        mib_s=options.mib_s,
        latency_s=options.latency_ms / 1000,
        repeats=options.repeats,
        store=options.store,
    )
    return run(setting, progress)


def add_command(commands: Commands) -> None:
    """``python -m bench scatter-reduce``."""
    default = Setting()
    description = "ways to sum gradients over replicas, beside their formulae and the bound (about 5 minutes)"
    command = add_bench(commands, "scatter-reduce", description, _run, default.repeats)
    command.add_argument("--replicas", type=at_least(2, int), nargs="+", default=list(default.replicas), metavar="N")
    command.add_argument(
        "--mib", type=at_least(0.25, float), default=default.gradient_mib, help="gradients of a replica, MiB"
    )
    command.add_argument(
        "--mib-s", type=at_least(0.1, float), default=default.mib_s, help="of a link in each direction, MiB/s"
    )
    command.add_argument(
        "--latency-ms", type=at_least(0, float), default=default.latency_s * 1000, help="of a request, ms"
    )
    add_store_option(command)
