"""What others would plan, on the same profile and costed by the same simulator.

``lambdaml``               pure data parallel: the whole model in each worker, plain scatter-reduce; a worker's local
                           batch goes through at once (Jiang et al., arXiv 2105.07806)
``lambdaml-accumulation``  the same with gradient accumulation: one micro-batch's activations at a time
``hybrid-ps``              the same workers, which send gradients to and fetch weights from a parameter server on an EC2
                           instance, the best of ours, priced for the whole run (Cirrus; "HybridPS" in FuncPipe's paper)
``tpdmp``                  the partition of highest throughput at one memory size for all, then replicated
``funcpipe``               FuncPipe as published (arXiv 2204.13561): one degree for all stages, GPipe, pipelined
                           scatter-reduce, cuts and memory sizes chosen together
``vm-NAME``                no serverless: one EC2 instance with gradient accumulation

Each baseline takes the best of its own choices by the job's objective, within the job's limits of memory, replicas
and concurrency; limits that shape the pipeline (numbers of stages, least workers) are not asked of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import nsmallest
from itertools import combinations

from planner.candidates import Candidates
from planner.choice import Run, run_of, with_limits
from planner.forecast import Forecast
from planner.job import Job, Objective
from planner.platforms import Platform
from planner.pricing import VIRTUAL_MACHINES, VirtualMachine, bill, virtual_machine
from planner.problem import Problem, replica_choices
from planner.profile_format import Profile
from planner.solver import solve
from planner.stage_costs import StageCosts
from planner.stage_memory import HEAD_ROOM
from planner.variants import cost_model, job_problem
from runtime.batches import total_iterations
from runtime.errors import UserInputError
from runtime.schedule import ScheduleName
from runtime.synchronisation import Algorithm

SIMULATED = 20
"""Of a baseline's own choices so many are simulated, the best by the closed form."""
VM_START_UP_S = 60.0
"""Assumed, not measured: boot and imports; also what EC2 bills at least."""


@dataclass(frozen=True)
class Planned:
    """One way to train the job. Seconds and USD of iterations and of the whole run."""

    name: str
    what: str
    """Its choice, for the reader."""
    workers: int
    iteration_s: float
    iteration_usd: float
    total_s: float
    usd: float

    def beats(self, other: "Planned") -> bool:
        """Whether it is no slower and no dearer."""
        return self.total_s <= other.total_s and self.usd <= other.usd


@dataclass(frozen=True)
class Impossible:
    """A baseline that cannot train the job, and why."""

    name: str
    why: str


def planned(name: str, run: Run, server: VirtualMachine | None = None) -> Planned:
    """A forecast run as one way to train, ``server`` being billed as long as it lasts."""
    stages, forecast = run.stages, run.forecast
    what = " | ".join(f"{c.end - c.first} layers {c.memory_mb} MB x {c.replicas}" for c in stages)
    iteration_usd, usd = forecast.usd_per_iteration, run.usd
    if server is not None:
        what = f"{what}, server {server.name}"
        iteration_usd += _machine_usd(server, forecast.iteration_s)
        usd += _machine_usd(server, max(run.total_s, VM_START_UP_S))
    return Planned(name, what, forecast.workers, forecast.iteration_s, iteration_usd, run.total_s, usd)


def _machine_usd(machine: VirtualMachine, seconds: float) -> float:
    return bill([virtual_machine(machine, seconds)]).total_usd


def find_baselines(job: Job, profile: Profile, platform: Platform) -> list[Planned | Impossible]:
    """Every baseline, in the order of the module's docstring."""
    free = with_limits(job, min_stages=1, min_workers=1)
    return [*_Serverless(free, profile, platform).all(), *(_on_machine(free, profile, m) for m in VIRTUAL_MACHINES)]


def published_runs(job: Job, profile: Profile, platform: Platform, objectives: Sequence[Objective]) -> list[Run]:
    """The baseline ``funcpipe`` of ``find_baselines`` by several objectives instead of the job's; those that exist."""
    free = with_limits(job, min_stages=1, min_workers=1)
    found = _Serverless(free, profile, platform)
    runs = [found.published_run(objective) for objective in objectives]
    return [run for run in runs if run is not None]


class _Serverless:
    """The baselines made of functions."""

    def __init__(self, job: Job, profile: Profile, platform: Platform) -> None:
        self._job, self._profile, self._platform = job, profile, platform
        self._model = cost_model(job, profile, platform)
        self._degrees = replica_choices(job.limits, self._model.micro_batches)
        published = with_limits(job, synchronisation=[Algorithm.PIPELINED], recompute=False)
        self._problem = Problem(self._model, job.objective, job.limits, (), Candidates.none(self._model))
        """Of no candidates, where no stage of some layer fits."""
        with suppress(UserInputError):
            self._problem = job_problem(published, profile, platform)

    def all(self) -> Iterator[Planned | Impossible]:
        whole = "no memory size holds the whole model in one worker"
        yield self._best("lambdaml", self._data_parallel(kept=None), f"{whole} with its whole local batch")
        yield self._best("lambdaml-accumulation", self._data_parallel(kept=1), whole)
        yield self._hybrid(whole)
        yield self._best("tpdmp", self._throughput_optimal(), "no partition fits one memory size for all stages")
        objective = self._job.objective
        yield self._best("funcpipe", self._one_degree(objective), "no partition fits with one degree for all stages")

    def published_run(self, objective: Objective) -> Run | None:
        """FuncPipe's plan by an objective of its own."""
        return self._best_run(self._one_degree(objective), objective)

    def _runs(self, plans: Iterator[Sequence[StageCosts]]) -> Iterator[Run]:
        for stages in plans:
            try:
                forecast = Forecast(
                    self._model,
                    tuple(stages),
                    self._profile.dataset,
                    ScheduleName.GPIPE,
                    self._job.package.architecture,
                )
                yield run_of(self._job, forecast)
            except UserInputError:  # an iteration outlives the functions
                continue

    def _best(self, name: str, plans: Iterator[Sequence[StageCosts]], otherwise: str) -> Planned | Impossible:
        run = self._best_run(plans, self._job.objective)
        return Impossible(name, otherwise) if run is None else planned(name, run)

    def _best_run(self, plans: Iterator[Sequence[StageCosts]], by: Objective) -> Run | None:
        likely = nsmallest(SIMULATED, plans, key=lambda stages: self._closed_form(stages, by))
        runs = self._runs(iter(likely))
        return min(runs, key=lambda run: by.usd_weight * run.usd + by.time_weight * run.total_s, default=None)

    def _closed_form(self, stages: Sequence[StageCosts], by: Objective) -> float:
        """A plan's objective, without start-up and checkpoints."""
        iteration_s = self._problem.iteration_s(stages)
        return by.usd_weight * self._model.usd(stages, iteration_s) + by.time_weight * iteration_s

    def _best_of(self, ways: Sequence[Planned], otherwise: Impossible) -> Planned | Impossible:
        by = self._job.objective
        return min(ways, key=lambda way: by.usd_weight * way.usd + by.time_weight * way.total_s, default=otherwise)

    def _data_parallel(self, kept: int | None) -> Iterator[tuple[StageCosts]]:
        """One stage of everything; ``kept`` as ``CostModel.memory``'s."""
        layers = self._model.layer_count
        for degree in self._degrees:
            needed = self._model.memory(0, layers, degree, Algorithm.PLAIN, kept=kept).needed_mb
            for memory_mb in self._job.limits.memory_mb:
                if needed <= memory_mb:
                    yield (self._model.stage(0, layers, memory_mb, degree, Algorithm.PLAIN),)

    def _hybrid(self, otherwise: str) -> Planned | Impossible:
        """Gradients to the server and weights from it; its network is shared by all workers."""
        ways = []
        for server in VIRTUAL_MACHINES:
            plans = ((self._at_server(stages[0], server),) for stages in self._data_parallel(kept=1))
            ways += [planned("hybrid-ps", run, server) for run in self._runs(plans)]
        return self._best_of(ways, Impossible("hybrid-ps", otherwise))

    def _at_server(self, costs: StageCosts, server: VirtualMachine) -> StageCosts:
        sent = self._model.exchange(0, costs.end, costs.memory_mb, costs.replicas)
        pace = min(sent.bandwidth, server.bytes_per_s / costs.replicas)
        exchanged_s = 2 * (sent.gradient_bytes / pace + sent.latency_s)
        if costs.replicas == 1:  # has no one to wait for, so that only its step closes an iteration
            return replace(costs, step_s=exchanged_s + costs.step_s)
        return replace(costs, puts=0, gets=0, bytes_up=0, bytes_down=0, request_usd=0.0, synchronise_s=exchanged_s)

    def _one_degree(self, objective: Objective) -> Iterator[Sequence[StageCosts]]:
        for degree in self._degrees:
            same = self._problem.candidates.only(self._problem.candidates.replicas == degree)
            if not same:
                continue
            try:
                found = solve([replace(self._problem, candidates=same, objective=objective)])
            except UserInputError:  # nothing fits with this degree
                continue
            if found is not None:
                yield found.stages

    def _throughput_optimal(self) -> Iterator[Sequence[StageCosts]]:
        """For each memory size, degree and number of stages, the partition whose slowest stage is fastest."""
        model, limits = self._model, self._job.limits
        for degree in self._degrees:
            for memory_mb in limits.memory_mb:
                fitting = self._fitting(memory_mb, degree)
                best: dict[int, tuple[float, tuple[StageCosts, ...]]] = {0: (0.0, ())}
                for _ in range(min(limits.max_stages, limits.max_concurrency // degree, model.layer_count)):
                    longer: dict[int, tuple[float, tuple[StageCosts, ...]]] = {}
                    for c in fitting:
                        if c.first in best:
                            slowest = max(best[c.first][0], c.forward.slowest_s + c.backward.slowest_s)
                            if c.end not in longer or slowest < longer[c.end][0]:
                                longer[c.end] = (slowest, (*best[c.first][1], c))
                    best = longer
                    if model.layer_count in best:
                        yield best[model.layer_count][1]

    def _fitting(self, memory_mb: int, degree: int) -> list[StageCosts]:
        """Stages between the boundaries that may be cut at, those first that begin first."""
        model = self._model
        return [
            model.stage(first, end, memory_mb, degree)
            for first, end in combinations(self._problem.boundaries, 2)
            if model.memory(first, end, degree).needed_mb <= memory_mb
        ]


def _on_machine(job: Job, profile: Profile, machine: VirtualMachine) -> Planned | Impossible:
    """All micro-batches one after the other, by the time that the profile's cores scale to the machine's vCPUs."""
    name = f"vm-{machine.name}"
    alone = Platform(
        name="vm",
        bandwidth_points=((0, machine.bytes_per_s),),
        get_latency_s=0.0,
        put_latency_s=0.0,
        start_up_s=VM_START_UP_S,
        memory_per_vcpu_mb=machine.memory_mb / machine.vcpus,
        max_vcpus=machine.vcpus,
        shared_cores=False,
    )
    model = cost_model(job, profile, alone)
    needed = model.memory(0, model.layer_count, 1, kept=1)
    if needed.needed_mb > machine.memory_mb:
        why = f"needs {needed.predicted_mb:,.0f} MB and {HEAD_ROOM:.0%} head-room, it has {machine.memory_mb:,} MB"
        return Impossible(name, why)
    costs = model.stage(0, model.layer_count, machine.memory_mb, 1)
    iteration_s = costs.micro_batches * (costs.forward.compute_s + costs.backward.compute_s) + costs.step_s
    training = job.training
    iterations = total_iterations(
        profile.dataset.train_samples, training.global_batch_size, training.epochs, training.iterations
    )
    total_s = VM_START_UP_S + iterations * iteration_s
    what = f"{machine.vcpus} vCPUs, {machine.usd_per_hour:g} USD/h"
    usd = _machine_usd(machine, total_s)
    return Planned(name, what, 1, iteration_s, _machine_usd(machine, iteration_s), total_s, usd)


def serverless_pays(ours: Planned, others: Sequence[Planned | Impossible]) -> str | None:
    """None where a function-based plan is worth it; else a sentence that says which instance is better, and by what."""
    machines = [other for other in others if isinstance(other, Planned) and other.name.startswith("vm-")]
    better = [machine for machine in machines if machine.beats(ours)]
    if not better:
        return None
    best = min(better, key=lambda machine: machine.usd * machine.total_s)
    return (
        f"Serverless does not pay here: {best.name.removeprefix('vm-')} is predicted to take {best.total_s:,.0f} s and "
        f"{best.usd:.3g} USD, this plan {ours.total_s:,.0f} s and {ours.usd:.3g} USD."
    )
