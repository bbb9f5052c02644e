"""What the planner says of a plan beside what the plan then does: seconds, memory, requests and bytes.

Configurations of the two examples, none of which was used to fit anything, are forecast as ``funcpipe plan`` would, by
a profile that is measured on this machine at the beginning. Then the runtime's own workers train them, each a process
with one thread and a link of its own around one directory. Links are slow enough that the machine's cores are not what
is measured; how much of them is used is in the answer.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bench.ceiling import MIB, total
from bench.options import Commands, Progress, add_bench, at_least
from bench.prediction_cases import CASES, Case, drawn
from bench.report import Goal, Report
from bench.storage import Directories, Storage, folders_parent
from bench.training_run import WorkersRun, train
from launch.empty_worker import empty_worker_bytes
from planner.choice import run_of
from planner.forecast import Forecast
from planner.graph import NO_DELAYS, Delays
from planner.job import Job, load_job
from planner.machine import measure_delays
from planner.plan import manifest_of
from planner.platforms import Platform
from planner.profile import profile_job
from planner.profile_format import Profile
from planner.traffic import IterationTraffic
from planner.variants import cost_model
from runtime.factories import build_model
from runtime.manifest import Hashes, Manifest
from runtime.records import TimelineEvent, Traffic

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MEMORY_MB = 1_769
"""Of every stage; on this machine it buys nothing."""
TOLERATED_MB = 30.0
TIME_ERROR = MEMORY_ERROR = 0.10


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    cases: tuple[Case, ...] = CASES
    iterations: int = 11
    warm_up: int = 1
    """Iterations that are measured, and how many go before them: as ``funcpipe report``, all but the first one. Workers
    still learn in them when objects come, and that is predicted, too."""
    repeats: int = 1
    """Runs of each case; its figures are those of the run of median pace."""


def _job(case: Case, iterations: int) -> Job:
    """The example's own job, with the batches of the case."""
    job = load_job(EXAMPLES / case.example / "job.toml")
    changes: dict[str, Any] = {
        "micro_batch_size": case.micro_batch,
        "global_batch_size": case.micro_batch * case.micro_batches,
        "iterations": iterations,
        "epochs": None,
    }
    return job.model_copy(update={"training": job.training.model_copy(update=changes)})


def _tensors(job: Job, folder: Path) -> list[int]:
    """Trainable parameters of each layer."""
    model = build_model(job.model, folder, job.training.seed, job.training.dtype)
    return [sum(parameter.requires_grad for parameter in layer.parameters()) for layer in model]


def _platform(case: Case, delays: Delays) -> Platform:
    """This machine: one core's worth for each worker as long as there are some, and the case's links."""
    return Platform(
        name="local",
        bandwidth_points=((0, case.mib_s * MIB),),
        get_latency_s=case.latency_s,
        put_latency_s=case.latency_s,
        start_up_s=0.0,
        memory_per_vcpu_mb=None,
        max_vcpus=1.0,
        shared_cores=True,
        timed_links=True,
        delays=delays,
    )


def forecast_of_case(case: Case, job: Job, profile: Profile, delays: Delays = NO_DELAYS) -> Forecast:
    """What the planner says of a case on a machine that adds ``delays``, over all iterations of the job."""
    model = cost_model(job, profile, _platform(case, delays))
    ends = [sum(part.layers for part in case.stages[: index + 1]) for index in range(len(case.stages))]
    stages = tuple(
        model.stage(end - part.layers, end, MEMORY_MB, part.replicas, case.algorithm, part.recompute)
        for part, end in zip(case.stages, ends, strict=True)
    )
    forecast = Forecast(model, stages, profile.dataset, case.schedule, job.package.architecture)
    assert job.training.iterations is not None, "a case counts its iterations"
    return forecast.over(job.training.iterations, None)


def _profile(job: Job, folder: Path) -> Profile:
    """The example's profile, for workers of this machine."""
    return profile_job(job, folder).model_copy(update={"base_bytes": empty_worker_bytes()})


def _manifest(job: Job, forecast: Forecast) -> Manifest:
    profile = forecast.model.profile
    hashes = Hashes(job=job.sha256, profile=profile.sha256, source=profile.source_sha256)
    limits = job.limits.model_copy(update={"max_segment_iterations": None})
    return manifest_of(job, run_of(job.model_copy(update={"limits": limits}), forecast), 0.0, ".", hashes)


@dataclass(frozen=True)
class Pair:
    """A case as predicted and as measured. MB are the peak resident memory of each worker."""

    case: Case
    predicted_s: float
    measured_s: float
    predicted_mb: list[float]
    measured_mb: list[float]
    predicted: Traffic
    measured: Traffic
    machine_use: float
    paces_s: list[float]
    """Seconds of each measured iteration."""
    only_in_one: int
    """Instructions that only the predicted or only the measured timeline of an iteration has."""

    @property
    def time_error(self) -> float:
        return abs(self.predicted_s - self.measured_s) / self.measured_s

    @property
    def memory_error(self) -> float:
        """Of the worker that is farthest off, relative to its memory or to that at which 30 MB are 10%, if that is
        more."""
        least = TOLERATED_MB / MEMORY_ERROR
        return max(abs(p - m) / max(m, least) for p, m in zip(self.predicted_mb, self.measured_mb, strict=True))

    @property
    def counts(self) -> list[tuple[str, int, int]]:
        """Each count, as predicted and as measured, without looks in vain."""
        fetched = {"objects_fetched": (self.predicted.gets, self.measured.gets - self.measured.empty_gets)}
        others = {
            name: (getattr(self.predicted, name), getattr(self.measured, name))
            for name in ("puts", "deletes", "lists", "bytes_up", "bytes_down")
        }
        return [(name, *both) for name, both in (fetched | others).items()]

    @property
    def mismatches(self) -> int:
        """Of the counts, and of the timelines' instructions."""
        return sum(predicted != measured for _, predicted, measured in self.counts) + self.only_in_one

    def lines(self) -> list[str]:
        """For people."""
        memory = ", ".join(f"{p:.0f}/{m:.0f}" for p, m in zip(self.predicted_mb, self.measured_mb, strict=True))
        counts = ", ".join(f"{name} {p}/{m}" for name, p, m in self.counts)
        return [
            f"{self.case.name}: {self.predicted_s:.3f} s predicted, {self.measured_s:.3f} s measured "
            f"({self.predicted_s / self.measured_s - 1:+.1%}); machine use {self.machine_use:.0%}",
            f"  measured iterations, s: {', '.join(f'{pace_s:.3f}' for pace_s in self.paces_s)}",
            f"  MB predicted/measured: {memory}",
            f"  of all iterations, predicted/measured: {counts}; {self.measured.empty_gets} looks in vain",
        ]

    def figures(self) -> dict[str, float]:
        name = self.case.name
        return {
            f"{name}_predicted_s": self.predicted_s,
            f"{name}_measured_s": self.measured_s,
            f"{name}_time_error": self.time_error,
            f"{name}_memory_error": self.memory_error,
            f"{name}_mismatches": self.mismatches,
            f"{name}_looks_in_vain_per_object": self.measured.empty_gets
            / max(1, self.measured.gets - self.measured.empty_gets),
            f"{name}_machine_use": self.machine_use,
        }


def _paces_s(workers: Sequence[WorkersRun], warm_up: int) -> list[float]:
    """Seconds from one iteration's end everywhere to the next one's, after the warm-up."""
    return _later([max(at) for at in zip(*(worker.ends for worker in workers), strict=True)], warm_up)


def _later(ends: Sequence[float], warm_up: int) -> list[float]:
    return [end - begin for begin, end in pairwise(ends[warm_up - 1 :])]


def _machine_use(workers: Sequence[WorkersRun], warm_up: int) -> float:
    """Share of all cores that the workers used in the measured iterations."""
    seconds = max(worker.ends[-1] for worker in workers) - min(worker.ends[warm_up - 1] for worker in workers)
    busy_s = sum(worker.busy_s[-1] - worker.busy_s[warm_up - 1] for worker in workers)
    return busy_s / seconds / (os.cpu_count() or 1)


def _instructions(events: Iterable[TimelineEvent], iteration: int) -> set[tuple[int, int, str]]:
    """(stage, replica, instruction) of an iteration's timeline."""
    return {(event.stage, event.replica, event.instruction) for event in events if event.iteration == iteration}


def _measure(case: Case, setting: Setting, storage: Storage, profile: Profile, delays: Delays) -> Pair:
    count, folder = setting.warm_up + setting.iterations, EXAMPLES / case.example
    job = _job(case, count)
    forecast = forecast_of_case(case, job, profile, delays)
    workers = train(storage, _manifest(job, forecast), case.link, source=folder)
    paces_s = _paces_s(workers, setting.warm_up)
    once = IterationTraffic(forecast.model, forecast.stages, _tensors(job, folder)).total()
    return Pair(
        case=case,
        predicted_s=statistics.median(_later(forecast.simulation.replay.finished, setting.warm_up)),
        measured_s=statistics.median(paces_s),
        predicted_mb=[
            forecast.memory(index).predicted_mb
            for index, costs in enumerate(forecast.stages)
            for _ in range(costs.replicas)
        ],
        measured_mb=[worker.peak_mib for worker in workers],
        predicted=Traffic(**{name: count * value for name, value in once.model_dump().items()}),
        measured=total(worker.inbox for worker in workers),
        machine_use=_machine_use(workers, setting.warm_up),
        paces_s=paces_s,
        only_in_one=len(
            _instructions(forecast.simulation.events, 1) ^ _instructions((e for w in workers for e in w.events), 1)
        ),
    )


def run(setting: Setting, progress: Progress) -> Report:
    """Measures; takes about 5 minutes with the defaults.

    Raises:
        FuncpipeError: a run did not end well.
    """
    profiles: dict[tuple[str, int], Profile] = {}
    pairs: list[Pair] = []
    """Of each case, the run of median pace."""
    mismatches = 0
    with tempfile.TemporaryDirectory(prefix="funcpipe-bench-", dir=folders_parent()) as folder:
        delays = measure_delays(Path(folder))
        for case in setting.cases:
            key = (case.example, case.micro_batch)
            if key not in profiles:
                progress(f"profile of {case.example} at micro-batch {case.micro_batch} ...")
                profiles[key] = _profile(_job(case, 1), EXAMPLES / case.example)
            runs = [
                _measure(case, setting, Directories(Path(folder)), profiles[key], delays)
                for _ in range(setting.repeats)
            ]
            mismatches += sum(pair.mismatches for pair in runs)
            pairs.append(sorted(runs, key=lambda pair: pair.measured_s)[(len(runs) - 1) // 2])
            for line in pairs[-1].lines():
                progress(line)
    figures: dict[str, float] = {
        "cases": len(pairs),
        "within_goal": sum(pair.time_error <= TIME_ERROR for pair in pairs),
        "max_time_error": max(pair.time_error for pair in pairs),
        "mean_time_error": statistics.mean(pair.time_error for pair in pairs),
        "max_memory_error": max(pair.memory_error for pair in pairs),
        "mismatches": mismatches,
        "max_machine_use": max(pair.machine_use for pair in pairs),
    }
    for pair in pairs:
        figures |= pair.figures()
    return Report(
        bench="prediction",
        figures=figures,
        goals={
            "max_time_error": Goal(TIME_ERROR),
            "max_memory_error": Goal(MEMORY_ERROR),
            "mismatches": Goal(0.0),
            "cases": Goal(least=6.0),
        },
        settings={
            "iterations": setting.iterations,
            "warm_up": setting.warm_up,
            "repeats": setting.repeats,
            "instruction_s": delays.instruction_s,
            "object_s": delays.object_s,
            "cores": os.cpu_count() or 1,
            "torch": torch.__version__,
        },
    )


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    chosen = tuple(case for case in CASES if not options.cases or case.name in options.cases)
    cases = drawn(options.seed, options.drawn) if options.drawn else chosen
    return run(Setting(cases=cases, iterations=options.iterations, repeats=options.repeats), progress)


def add_command(commands: Commands) -> None:
    """``python -m bench prediction``."""
    default = Setting()
    description = "what the planner predicts beside what workers then do: time, memory, requests (about 5 minutes)"
    command = add_bench(commands, "prediction", description, _run, default.repeats)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], metavar="NAME", default=[])
    which.add_argument("--drawn", type=at_least(1, int), metavar="COUNT", help="so many at random instead")
    command.add_argument("--seed", type=int, default=1, help="of those")
    command.add_argument("--iterations", type=at_least(1, int), default=default.iterations)
