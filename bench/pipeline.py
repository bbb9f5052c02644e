"""An iteration of a pipeline through slow links: beside its critical path, and beside the same with nothing overlapped.

``examples/chargpt`` in 4 stages of 2 replicas, 16 micro-batches, every worker a process with one thread and a link of
its own around one directory. Two kinds of run take turns:

    overlapped      lanes side by side; while a stage sums its gradients, stages before it still compute theirs
    in sequence     one thing at a time: every upload is waited for, nothing is requested ahead (sums as LambdaML's)

What of the sums is not hidden behind backward is how long they go on after the last backward pass of the gang. The
hidden share is 1 - (all workers' exposed seconds) / (what the sums take by themselves). The latter is what the formula
of the algorithm says (``python -m bench scatter-reduce`` measures it) and not what was measured here: a sum that shares
its link with gradients lasts longer, and that is not to count as hidden.
"""

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.ceiling import MIB, change, measure_ceiling, total
from bench.critical_path import Place, Rates, critical_path_s
from bench.manifests import CHARGPT, chargpt_manifest
from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from bench.storage import Storage, StoreKind, add_store_option, open_storage
from bench.training_run import gets_per_object, train
from runtime.factories import build_layers
from runtime.manifest import Manifest
from runtime.records import TimelineEvent, Traffic
from runtime.schedule import Lane, Op
from runtime.store_wrappers import LinkSpec
from runtime.synchronisation import Algorithm, Exchange, best_piece_bytes

LAYERS = (2, 1, 1, 2)
"""Of each stage: the embedding goes with the first block, the head with the last one."""
OVERLAPPED, IN_SEQUENCE = "overlapped", "in sequence"


@dataclass(frozen=True)
class Setting:
    """What is measured. The defaults are the project's goal."""

    replicas: int = 2
    micro_batches: int = 16
    micro_batch: int = 8
    context: int = 192
    width: int = 128
    mib_s: float = 4.0
    latency_s: float = 0.020
    iterations: int = 20
    sequential_iterations: int = 4
    warm_up: int = 3
    """Iterations of each run of either kind that are measured, and how many go before them."""
    repeats: int = 3
    buckets: int = 1
    """That each stage's sum is cut into, to begin while its last micro-batch's backward goes on. Each costs about four
    latencies, and that pass lasts less than one here."""
    store: StoreKind = StoreKind.DIRECTORY
    ceiling_s: float = 2.0
    """For each of the emulator's own figures."""

    def manifest(self, kind: str, planned_s: float = 0.0) -> Manifest:
        synchronisation = {"algorithm": Algorithm.PLAIN.value}
        if kind != IN_SEQUENCE:
            pieces = best_piece_bytes(self.mib_s * MIB, self.latency_s)
            synchronisation = {"algorithm": Algorithm.PIECE_PIPELINED.value, "piece_bytes": pieces}
            if self.buckets > 1:
                synchronisation["bucket_bytes"] = -(-12 * self.width**2 * 4 // self.buckets) + self.width * 64
        return chargpt_manifest(
            layers=LAYERS,
            iterations=self.warm_up + (self.sequential_iterations if kind == IN_SEQUENCE else self.iterations),
            micro_batches=self.micro_batches,
            micro_batch_size=self.micro_batch,
            replicas=[self.replicas] * len(LAYERS),
            context=self.context,
            width=self.width,
            synchronisation=synchronisation,
            planned_s=planned_s,
        )

    @property
    def link(self) -> LinkSpec:
        rate = self.mib_s * MIB
        return LinkSpec(upload_bytes_s=rate, download_bytes_s=rate, latency_s=self.latency_s)


@dataclass(frozen=True)
class _Run:
    """What the workers of one run have left; of iterations after the warm-up only, but for the GETs."""

    iteration_s: list[float]
    events: list[TimelineEvent]
    gets_per_object: float
    other_gets_per_object: float
    machine_use: float
    traffic: Traffic
    """Of the iterations after the warm-up."""

    def by_iteration(self) -> Iterable[list[TimelineEvent]]:
        groups: dict[int, list[TimelineEvent]] = defaultdict(list)
        for event in self.events:
            groups[event.iteration].append(event)
        return groups.values()


def _busy_s() -> float:
    """Seconds that the machine's cores have worked since it started, for whatever process."""
    user, nice, system, _idle, _wait, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:2])) / os.sysconf("SC_CLK_TCK")


def _train(setting: Setting, storage: Storage, kind: str, planned_s: float) -> _Run:
    begun, busy_s = time.monotonic(), _busy_s()
    workers = train(storage, setting.manifest(kind, planned_s), setting.link, in_sequence=kind == IN_SEQUENCE)
    use = (_busy_s() - busy_s) / (time.monotonic() - begun) / (os.cpu_count() or 1)
    ends = [max(at) for at in zip(*(worker.ends for worker in workers), strict=True)]
    first = setting.warm_up
    gets, other_gets = gets_per_object(workers)
    return _Run(
        [end - begin for begin, end in zip(ends[first - 1 :], ends[first:], strict=False)],
        [event for worker in workers for event in worker.events if event.iteration >= first],
        gets,
        other_gets,
        use,
        total(change(worker.after[first - 1], worker.after[-1]) for worker in workers),
    )


def _op(event: TimelineEvent) -> Op:
    return Op(event.instruction.rstrip("0123456789"))


def _medians(events: Iterable[TimelineEvent], of: Callable[[TimelineEvent], float]) -> dict[tuple[int, Op], float]:
    """By stage and kind of instruction."""
    values: dict[tuple[int, Op], list[float]] = defaultdict(list)
    for event in events:
        values[event.stage, _op(event)].append(of(event))
    return {key: statistics.median(each) for key, each in values.items()}


def _exchanges(setting: Setting, manifest: Manifest) -> dict[int, Exchange]:
    model, training = manifest.model, manifest.training
    exchanges = {}
    for number, stage in enumerate(manifest.stages):
        layers, _ = build_layers(model, CHARGPT, stage.first_layer, stage.end_layer, training.seed, training.dtype)
        gradient_bytes = sum(p.numel() * p.element_size() for p in layers.parameters())
        settings = stage.synchronisation
        exchanges[number] = Exchange(
            gradient_bytes,
            stage.replicas,
            setting.mib_s * MIB,
            setting.latency_s,
            settings.piece_bytes,
            settings.bucket_bytes,
        )
    return exchanges


def _planned_s(setting: Setting) -> float:
    """What a plan would say of an iteration before anything is measured: its transfers. Workers look by it at first."""
    manifest, transfer = setting.manifest(OVERLAPPED), 4 * setting.micro_batch * setting.context * setting.width
    sends = {(s, op): float(transfer) for s in range(len(LAYERS)) for op in (Op.SEND_ACTIVATION, Op.SEND_GRADIENT)}
    computing = {(stage, Op.BACKWARD): 0.0 for stage in range(len(LAYERS))}
    exchanges = _exchanges(setting, manifest)
    return critical_path_s(manifest, Rates(computing, sends, setting.mib_s * MIB, setting.latency_s, exchanges))


def _rates(setting: Setting, manifest: Manifest, runs: Sequence[_Run]) -> Rates:
    events = [event for run in runs for event in run.events]
    return Rates(
        compute_s=_medians((e for e in events if e.lane is Lane.COMPUTE), lambda e: e.end_s - e.start_s),
        object_bytes=_medians((e for e in events if e.lane is Lane.UPLOAD), lambda e: e.bytes),
        bandwidth=setting.mib_s * MIB,
        latency_s=setting.latency_s,
        exchanges=_exchanges(setting, manifest),
    )


def _alone_s(setting: Setting, manifest: Manifest) -> float:
    """What all workers' sums take by themselves, on links that carry nothing else, each in one bucket."""
    return sum(
        replace(exchange, bucket_bytes=None).seconds(manifest.stages[stage].synchronisation.algorithm)
        * manifest.stages[stage].replicas
        for stage, exchange in _exchanges(setting, manifest).items()
    )


def _exposed_s(events: Sequence[TimelineEvent]) -> float:
    """By how much all workers' sums outlast the gang's last backward pass."""
    computed = max(event.end_s for event in events if _op(event) is Op.BACKWARD)
    ends: dict[Place, float] = {}
    for event in events:
        if _op(event) is Op.REDUCE:
            place = event.stage, event.replica
            ends[place] = max(ends.get(place, 0.0), event.end_s)
    return sum(max(0.0, end - computed) for end in ends.values())


def _per_iteration(runs: Sequence[_Run], of: Callable[[Sequence[TimelineEvent]], float]) -> float:
    return statistics.median(of(events) for run in runs for events in run.by_iteration())


def _lane_use(setting: Setting, run: _Run, lane: Lane) -> float:
    """Busy share of a lane, mean over the workers: bytes over what the link carries, or computing over time."""
    total_s = sum(run.iteration_s) * len(LAYERS) * setting.replicas
    mine = [event for event in run.events if event.lane is lane]
    if lane is Lane.COMPUTE:
        return sum(event.end_s - event.start_s for event in mine) / total_s
    return sum(event.bytes for event in mine) / (setting.mib_s * MIB) / total_s


def run(setting: Setting, progress: Progress) -> Report:
    """Measures; takes about 11 minutes with the defaults.

    Raises:
        FuncpipeError: a worker failed; the emulator did not start.
    """
    runs: dict[str, list[_Run]] = {OVERLAPPED: [], IN_SEQUENCE: []}
    planned_s = _planned_s(setting)
    with open_storage(setting.store) as storage:
        ceiling = measure_ceiling(setting.store, storage, len(LAYERS) * setting.replicas, setting.ceiling_s, progress)
        for repeat in range(setting.repeats):
            for kind, done in runs.items():
                progress(f"{kind}, run {repeat + 1} of {setting.repeats} ...")
                done.append(_train(setting, storage, kind, planned_s))
    overlapped, sequential = (
        statistics.median(seconds for each in runs[kind] for seconds in each.iteration_s) for kind in runs
    )
    manifest = setting.manifest(OVERLAPPED)
    critical_s = critical_path_s(manifest, _rates(setting, manifest, runs[OVERLAPPED]))
    alone_s, exposed_s = _alone_s(setting, manifest), _per_iteration(runs[OVERLAPPED], _exposed_s)
    figures = {
        "iteration_over_critical_path": overlapped / critical_s,
        "sync_hidden_fraction": 1 - exposed_s / alone_s,
        "sequential_over_overlapped": sequential / overlapped,
        "gets_per_object": statistics.median(each.gets_per_object for each in runs[OVERLAPPED]),
        "other_gets_per_object": statistics.median(each.other_gets_per_object for each in runs[OVERLAPPED]),
        "iteration_s": overlapped,
        "critical_path_s": critical_s,
        "sequential_iteration_s": sequential,
        "sync_alone_s": alone_s / len(manifest.places),
        "sync_exposed_s": exposed_s / len(manifest.places),
        **{
            f"{lane.value}_lane_use": statistics.mean(_lane_use(setting, each, lane) for each in runs[OVERLAPPED])
            for lane in Lane
        },
        # 1 is both cores busy all the time: then the machine is measured, not the links.
        "machine_use": statistics.mean(each.machine_use for each in runs[OVERLAPPED]),
    }
    goals = {
        "iteration_over_critical_path": Goal(most=1.10),
        "sync_hidden_fraction": Goal(least=0.60),
        "gets_per_object": Goal(most=1.5),
    }
    if ceiling:
        uses = [ceiling.use(each.traffic, sum(each.iteration_s)) for each in runs[OVERLAPPED]]
        figures |= {**ceiling.figures, "emulator_use": statistics.median(uses)}
    settings = {**asdict(setting), "objects_in": storage.place, "layers": LAYERS}
    return Report("pipeline", figures, {} if ceiling else goals, settings)


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    setting = Setting(
        mib_s=options.mib_s,
        latency_s=options.latency_ms / 1000,
        context=options.context,
        width=options.width,
        micro_batch=options.micro_batch,
        buckets=options.buckets,
        iterations=options.iterations,
        repeats=options.repeats,
        store=options.store,
    )
    return run(setting, progress)


def add_command(commands: Commands) -> None:
    """``python -m bench pipeline``."""
    default = Setting()
    description = "a pipeline through slow links, beside its critical path and beside no overlap (about 11 minutes)"
    command = add_bench(commands, "pipeline", description, _run, default.repeats)
    command.add_argument("--mib-s", type=at_least(0.1, float), default=default.mib_s, help="of a link, MiB/s")
    command.add_argument(
        "--latency-ms", type=at_least(0, float), default=default.latency_s * 1000, help="of a request, ms"
    )
    command.add_argument(
        "--context",
        type=at_least(1, int),
        default=default.context,
        help="symbols of a sample: what transfers grow with",
    )
    command.add_argument("--width", type=at_least(8, int), default=default.width, help="of the model; a multiple of 4")
    command.add_argument(
        "--micro-batch", type=at_least(1, int), default=default.micro_batch, help="samples of a micro-batch"
    )
    command.add_argument("--buckets", type=at_least(1, int), default=default.buckets, help="of a stage's sum")
    command.add_argument(
        "--iterations", type=at_least(1, int), default=default.iterations, help="measured ones of an overlapped run"
    )
    add_store_option(command)
