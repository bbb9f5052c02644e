"""What the runtime costs beside torch alone: one stage against a plain loop, stages against torch's own pipeline.

Both sides train ``examples/chargpt`` on the same cuts, batches and threads, without a throttle: ours through a store
(a directory in memory where the system has such a place), the plain loop in this process,
torch.distributed.pipelining over gloo between processes. Sides take turns, so that a disturbance of the machine meets
both; each pair gives one ratio, from the end of its warm-up to the end of its last iteration, and medians are reported.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.ceiling import Ceiling, change, measure_ceiling, total
from bench.gather import gather
from bench.manifests import CHARGPT, chargpt_data, chargpt_manifest
from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from bench.storage import Storage, StoreKind, add_store_option, open_storage
from bench.training_run import gets_per_object, train
from runtime.batches import micro_batches
from runtime.factories import build_layers, build_loss, build_model, build_optimizer
from runtime.manifest import Manifest
from runtime.records import Traffic
from runtime.shards import epoch_order

LAYERS = 8


@dataclass(frozen=True)
class Setting:
    """What is measured. The defaults are the project's goal."""

    batch: int = 32
    micro_batch: int = 8
    """Samples of a global batch and of a micro-batch of the pipelines; the lone stage has whole batches, too."""
    pipeline_micro_batches: int = 8
    stages: tuple[int, ...] = (2, 4)
    iterations: int = 24
    warm_up: int = 8
    """Iterations of each side, and how many of them are not measured."""
    repeats: int = 5
    """Of pipelines; of the lone stage twice as many, since a pair takes seconds and differs by some percent from the
    next one. Sides take turns in beginning there."""
    store: StoreKind = StoreKind.DIRECTORY
    ceiling_s: float = 2.0
    """Of each measurement of the emulator alone."""


def _paced(ends: Sequence[float], warm_up: int) -> float:
    """Seconds per iteration after the warm-up."""
    return (ends[-1] - ends[warm_up - 1]) / (len(ends) - warm_up)


# -- one stage ------------------------------------------------------------------------------------------------------


def _plain_loop(manifest: Manifest) -> list[float]:
    """Ends of the iterations of a loop as anyone would write it: the same batches, accumulated over micro-batches."""
    training = manifest.training
    model = build_model(manifest.model, CHARGPT, training.seed, training.dtype).train()
    loss_of, optimizer = build_loss(training.loss, CHARGPT), build_optimizer(training.optimizer, model.parameters())
    assert optimizer is not None
    data = chargpt_data(manifest.model.args["context"])
    order, ends = epoch_order(training.seed, 0, [data.train_samples]), []
    for iteration in range(manifest.iterations):
        total = 0.0
        for batch in micro_batches(
            iteration, data.train_samples, training.global_batch_size, training.micro_batch_size
        ):
            samples = order[batch.start : batch.start + batch.size]
            loss = loss_of(model(data.train_inputs[samples]), data.train_targets[samples]) * batch.weight
            total += loss.item()
            loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ends.append(time.time())
    return ends


def _over_plain_torch(storage: Storage, setting: Setting, micro_batch: int) -> float:
    manifest = chargpt_manifest(
        layers=[LAYERS],
        iterations=setting.iterations,
        micro_batches=setting.batch // micro_batch,
        micro_batch_size=micro_batch,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ratios = [_pair(storage, manifest, setting.warm_up, turn % 2 == 0) for turn in range(2 * setting.repeats)]
    finally:
        torch.set_num_threads(threads)
    return statistics.median(ratios)


def _pair(storage: Storage, manifest: Manifest, warm_up: int, ours_first: bool) -> float:
    """Ours over plain; whoever begins finds the machine cooler, or its memory emptier."""
    if ours_first:
        ours = train(storage, manifest)[0].ends
        plain = _plain_loop(manifest)
    else:
        plain = _plain_loop(manifest)
        ours = train(storage, manifest)[0].ends
    return _paced(ours, warm_up) / _paced(plain, warm_up)


# -- stages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gang:
    """One run of a pipeline through a store."""

    iteration_s: float
    gets_per_object: float
    early_mib: float
    late_mib: float
    """Memory of the worker that grew most."""
    traffic: Traffic
    """Of the iterations that are measured, as ``seconds``."""
    seconds: float


def _pipeline(storage: Storage, manifest: Manifest, warm_up: int) -> _Gang:
    workers = train(storage, manifest)
    ends = [max(at) for at in zip(*(worker.ends for worker in workers), strict=True)]
    grown = max(workers, key=lambda worker: worker.late_mib - worker.early_mib)
    return _Gang(
        _paced(ends, warm_up),
        gets_per_object(workers)[0],
        grown.early_mib,
        grown.late_mib,
        total(change(worker.after[warm_up - 1], worker.after[-1]) for worker in workers),
        ends[-1] - ends[warm_up - 1],
    )


def _gloo_ends(manifest: Manifest, rank: int, meeting: str) -> list[float]:
    """Body of one process of torch's own pipeline: the ends of its iterations."""
    from torch import distributed
    from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

    torch.set_num_threads(1)
    stages, training, cut = len(manifest.stages), manifest.training, manifest.stages[rank]
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=stages)
    try:
        torch.manual_seed(training.seed)
        layers, _ = build_layers(manifest.model, CHARGPT, cut.first_layer, cut.end_layer, training.seed, training.dtype)
        for parameter in layers.parameters():
            torch.nn.init.normal_(parameter, std=0.02)  # only its pace is compared
        stage = PipelineStage(layers.train(), rank, stages, torch.device("cpu"))
        count = training.global_batch_size // training.micro_batch_size
        schedule = ScheduleGPipe(stage, count, loss_fn=build_loss(training.loss, CHARGPT))
        optimizer = build_optimizer(training.optimizer, layers.parameters())
        assert optimizer is not None
        data = chargpt_data(manifest.model.args["context"])
        ends = []
        for iteration in range(manifest.iterations):
            begin = iteration * training.global_batch_size % (data.train_samples - training.global_batch_size)
            batch = slice(begin, begin + training.global_batch_size)
            inputs = [data.train_inputs[batch]] if rank == 0 else []
            if rank == stages - 1:
                losses: list[torch.Tensor] = []
                schedule.step(*inputs, target=data.train_targets[batch], losses=losses)
                sum(loss.item() for loss in losses)
            else:
                schedule.step(*inputs)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ends.append(time.time())
        return ends
    finally:
        distributed.destroy_process_group()


def _gloo(manifest: Manifest, warm_up: int) -> float:
    """Seconds per iteration of torch's own pipeline."""
    with tempfile.TemporaryDirectory(prefix="funcpipe-bench-") as root:
        meeting = (Path(root) / "meeting").as_uri()
        answers = gather(_gloo_ends, [(manifest, rank, meeting) for rank in range(len(manifest.stages))])
    return _paced([max(at) for at in zip(*answers, strict=True)], warm_up)


def _even_cuts(stages: int) -> list[int]:
    return [LAYERS * (stage + 1) // stages - LAYERS * stage // stages for stage in range(stages)]


def run(setting: Setting, progress: Progress) -> Report:
    """Measures; takes about 8 minutes with the defaults.

    Raises:
        FuncpipeError: a pipeline did not end well; the emulator did not start.
    """
    with open_storage(setting.store) as storage:
        ceiling = measure_ceiling(setting.store, storage, max(setting.stages), setting.ceiling_s, progress)
        figures = _figures(setting, storage, ceiling, progress)
    goals = {"one_stage_over_plain_torch": Goal(most=1.03), "throughput_over_gloo": Goal(least=0.8)}
    settings = {**asdict(setting), "objects_in": storage.place, "cores": os.cpu_count() or 1}
    return Report("overhead", figures, {} if ceiling else goals, settings)


def _figures(setting: Setting, storage: Storage, ceiling: Ceiling | None, progress: Progress) -> dict[str, float]:
    figures = ceiling.figures if ceiling else {}
    progress("one stage beside a plain loop ...")
    figures["one_stage_over_plain_torch"] = _over_plain_torch(storage, setting, setting.batch)
    progress(f"the same with micro-batches of {setting.micro_batch} ...")
    figures["one_stage_micro_batches_over_plain_torch"] = _over_plain_torch(storage, setting, setting.micro_batch)
    for stages in setting.stages:
        progress(f"{stages} stages beside torch.distributed.pipelining over gloo ...")
        manifest = chargpt_manifest(
            layers=_even_cuts(stages),
            iterations=setting.iterations,
            micro_batches=setting.pipeline_micro_batches,
            micro_batch_size=setting.micro_batch,
        )
        pairs = [
            (_pipeline(storage, manifest, setting.warm_up), _gloo(manifest, setting.warm_up))
            for _ in range(setting.repeats)
        ]
        ours = [gang for gang, _ in pairs]
        figures[f"s{stages}_throughput_over_gloo"] = statistics.median(
            gloo_s / gang.iteration_s for gang, gloo_s in pairs
        )
        figures[f"s{stages}_iteration_s"] = statistics.median(gang.iteration_s for gang in ours)
        figures[f"s{stages}_gloo_iteration_s"] = statistics.median(gloo_s for _, gloo_s in pairs)
        figures[f"s{stages}_gets_per_object"] = statistics.median(gang.gets_per_object for gang in ours)
        figures[f"s{stages}_early_memory_mib"] = statistics.median(gang.early_mib for gang in ours)
        figures[f"s{stages}_late_memory_mib"] = statistics.median(gang.late_mib for gang in ours)
        if ceiling:
            uses = [ceiling.use(gang.traffic, gang.seconds) for gang in ours]
            figures[f"s{stages}_emulator_use"] = statistics.median(uses)
    figures["throughput_over_gloo"] = min(figures[f"s{stages}_throughput_over_gloo"] for stages in setting.stages)
    return figures


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    setting = Setting(
        stages=tuple(options.stages),
        iterations=Setting.warm_up + options.iterations,
        repeats=options.repeats,
        store=options.store,
    )
    return run(setting, progress)


def add_command(commands: Commands) -> None:
    """``python -m bench overhead``."""
    default = Setting()
    description = "the runtime beside a plain torch loop, and beside torch's own pipeline over gloo (about 8 minutes)"
    command = add_bench(commands, "overhead", description, _run, default.repeats)
    command.add_argument("--stages", type=at_least(2, int), nargs="+", default=list(default.stages), metavar="N")
    command.add_argument(
        "--iterations",
        type=at_least(1, int),
        default=default.iterations - default.warm_up,
        help="measured ones of a run, after the warm-up",
    )
    add_store_option(command)
