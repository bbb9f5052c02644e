"""What the runtime costs beside torch alone: one stage against a plain loop, stages against torch's own pipeline.

Both sides train ``examples/chargpt`` on the same cuts, batches and threads, without a throttle: ours through a
directory (in memory where the system has such a place), the plain loop in this process, torch.distributed.pipelining
over gloo between processes. Sides take turns, so that a disturbance of the machine meets both; each pair gives one
ratio, from the end of its warm-up to the end of its last iteration, and medians are reported.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from bench.manifests import CHARGPT, chargpt_data, chargpt_manifest
from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from launch.local_gang import LocalGang
from launch.staging import stage_run
from launch.worker_context import worker_context
from runtime.batches import micro_batches
from runtime.errors import FuncpipeError
from runtime.factories import build_layers, build_loss, build_model, build_optimizer
from runtime.manifest import Manifest
from runtime.records import WorkerEvent, WorkerSummary
from runtime.shards import epoch_order
from runtime.store_directory import DirectoryStore
from runtime.store_wrappers import TrafficCounter
from runtime.worker import Invocation, Worker

LAYERS = 8
LIFE_S = 900.0
IN_MEMORY = Path("/dev/shm")
RUN = "bench"


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


def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="funcpipe-bench-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)


def _paced(ends: Sequence[float], warm_up: int) -> float:
    """Seconds per iteration after the warm-up."""
    return (ends[-1] - ends[warm_up - 1]) / (len(ends) - warm_up)


# -- one stage ------------------------------------------------------------------------------------------------------


def _one_stage(manifest: Manifest) -> list[float]:
    """Ends of a lone worker's iterations, in this process."""
    with _folder() as root:
        artifacts, inbox = DirectoryStore(Path(root) / "artifacts"), DirectoryStore(Path(root) / "inbox")
        stage_run(manifest, CHARGPT, RUN, artifacts)
        event = WorkerEvent(
            run=RUN, segment=0, attempt=0, stage=0, replica=0, manifest_sha256=manifest.sha256, commit="initial"
        )
        deadline = time.monotonic() + LIFE_S
        worker = Worker(
            Invocation(
                event=event,
                manifest=manifest,
                inboxes={0: inbox},
                artifacts=artifacts,
                source=CHARGPT,
                counter=TrafficCounter(),
                request_id=RUN,
                started_at=time.time(),
                remaining_s=lambda: deadline - time.monotonic(),
            )
        )
        return worker.run().iteration_ends


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


def _over_plain_torch(setting: Setting, micro_batch: int) -> float:
    manifest = chargpt_manifest(
        layers=[LAYERS],
        iterations=setting.iterations,
        micro_batches=setting.batch // micro_batch,
        micro_batch_size=micro_batch,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pairs = [(_one_stage(manifest), _plain_loop(manifest)) for _ in range(setting.repeats)]
    finally:
        torch.set_num_threads(threads)
    return statistics.median(_paced(ours, setting.warm_up) / _paced(plain, setting.warm_up) for ours, plain in pairs)


# -- stages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gang:
    """One run of a pipeline through a store."""

    iteration_s: float
    gets_per_object: float


def _pipeline(manifest: Manifest, warm_up: int) -> _Gang:
    with _folder() as root:
        gang = LocalGang(manifest, CHARGPT, RUN, Path(root), threads=1)
        stage_run(manifest, CHARGPT, RUN, gang.artifacts)
        gang.start()
        gang.wait()
        if gang.stop_reason is not None:
            raise FuncpipeError(gang.stop_reason)
        keys = [key for key in gang.artifacts.list(f"runs/{RUN}/segments/") if "/summary/" in key]
        summaries = [WorkerSummary.model_validate_json(gang.artifacts.get(key)) for key in keys]
    ends = [max(at) for at in zip(*(summary.iteration_ends for summary in summaries), strict=True)]
    gets = sum(summary.traffic.gets for summary in summaries)
    found = gets - sum(summary.traffic.empty_gets for summary in summaries)
    return _Gang(_paced(ends, warm_up), gets / found)


def _gloo_stage(manifest: Manifest, rank: int, meeting: str, connection: Connection) -> None:
    """Body of one process of torch's own pipeline; sends the ends of its iterations, or what went wrong."""
    try:
        connection.send(_gloo_ends(manifest, rank, meeting))
    except BaseException as error:
        connection.send(FuncpipeError(f"torch.distributed.pipelining, stage {rank}: {error}"))


def _gloo_ends(manifest: Manifest, rank: int, meeting: str) -> list[float]:
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
    context, stages = worker_context(), len(manifest.stages)
    processes, connections = [], []
    with _folder() as root:
        for rank in range(stages):
            receiving, sending = context.Pipe(duplex=False)
            arguments = (manifest, rank, (Path(root) / "meeting").as_uri(), sending)
            process = context.Process(target=_gloo_stage, args=arguments, daemon=True)
            process.start()
            sending.close()
            processes.append(process)
            connections.append(receiving)
        answers = [connection.recv() for connection in connections]
        for process in processes:
            process.join()
    if errors := [answer for answer in answers if isinstance(answer, FuncpipeError)]:
        raise FuncpipeError("; ".join(map(str, errors)))  # all of them: one stage's end breaks the others' connections
    return _paced([max(at) for at in zip(*answers, strict=True)], warm_up)


def _even_cuts(stages: int) -> list[int]:
    return [LAYERS * (stage + 1) // stages - LAYERS * stage // stages for stage in range(stages)]


def run(setting: Setting, progress: Progress) -> Report:
    """Measures; takes about 5 minutes with the defaults.

    Raises:
        FuncpipeError: a pipeline did not end well.
    """
    figures: dict[str, float] = {}
    progress("one stage beside a plain loop ...")
    figures["one_stage_over_plain_torch"] = _over_plain_torch(setting, setting.batch)
    progress(f"the same with micro-batches of {setting.micro_batch} ...")
    figures["one_stage_micro_batches_over_plain_torch"] = _over_plain_torch(setting, setting.micro_batch)
    for stages in setting.stages:
        progress(f"{stages} stages beside torch.distributed.pipelining over gloo ...")
        manifest = chargpt_manifest(
            layers=_even_cuts(stages),
            iterations=setting.iterations,
            micro_batches=setting.pipeline_micro_batches,
            micro_batch_size=setting.micro_batch,
        )
        pairs = [
            (_pipeline(manifest, setting.warm_up), _gloo(manifest, setting.warm_up)) for _ in range(setting.repeats)
        ]
        figures[f"s{stages}_throughput_over_gloo"] = statistics.median(
            gloo_s / ours.iteration_s for ours, gloo_s in pairs
        )
        figures[f"s{stages}_iteration_s"] = statistics.median(ours.iteration_s for ours, _ in pairs)
        figures[f"s{stages}_gloo_iteration_s"] = statistics.median(gloo_s for _, gloo_s in pairs)
        figures[f"s{stages}_gets_per_object"] = statistics.median(ours.gets_per_object for ours, _ in pairs)
    figures["throughput_over_gloo"] = min(figures[f"s{stages}_throughput_over_gloo"] for stages in setting.stages)
    goals = {
        "one_stage_over_plain_torch": Goal(most=1.03),
        "throughput_over_gloo": Goal(least=0.8),
    }
    return Report("overhead", figures, goals, {**asdict(setting), "cores": os.cpu_count() or 1})


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    setting = Setting(
        stages=tuple(options.stages), iterations=Setting.warm_up + options.iterations, repeats=options.repeats
    )
    return run(setting, progress)


def add_command(commands: Commands) -> None:
    """``python -m bench overhead``."""
    default = Setting()
    description = "the runtime beside a plain torch loop, and beside torch's own pipeline over gloo (about 5 minutes)"
    command = add_bench(commands, "overhead", description, _run, default.repeats)
    command.add_argument("--stages", type=at_least(2, int), nargs="+", default=list(default.stages), metavar="N")
    command.add_argument(
        "--iterations",
        type=at_least(1, int),
        default=default.iterations - default.warm_up,
        help="measured ones of a run, after the warm-up",
    )
