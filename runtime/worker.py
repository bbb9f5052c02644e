"""One worker: a replica of a stage, for one segment: from the last commit, through its iterations, to the next one."""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from runtime import keys
from runtime.barrier import meet
from runtime.checkpoint import load_layers, read_commit, save_layers, write_commit
from runtime.errors import FuncpipeError
from runtime.executor import Executor
from runtime.factories import build_layers, build_loss, build_optimizer
from runtime.lanes import Lanes
from runtime.mailbox import Mailbox
from runtime.manifest import Manifest
from runtime.metrics import IterationDone
from runtime.records import Commit, Progress, ShardIndex, WorkerEvent, WorkerSummary
from runtime.shards import ShardReader
from runtime.stage_module import StageModule
from runtime.store import Store
from runtime.store_wrappers import TrafficCounter
from runtime.timeline import Recorder

PROGRESS_INTERVAL_S = 1.0
"""A PUT of 5e-6 USD a second and worker at most: less than a hundredth of the worker's own price."""
CHECKPOINT_SHARE = 0.05
"""Part of the functions' timeout that is kept for the checkpoint, the summary and the commit."""
LAST_WORDS_SHARE = 0.02
"""Part of its life time before the end of which a waiting worker gives up, so that it can tell what it waited for."""
LONGEST_ITERATIONS = 1.5
"""An iteration is begun only while this many of the longest one so far would fit."""
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage reports bytes on macOS, KiB on Linux


@dataclass(frozen=True)
class Invocation:
    """The surroundings of one worker: where its stores and sources are, and how long it may live."""

    event: WorkerEvent
    manifest: Manifest
    inboxes: dict[int, Store]
    artifacts: Store
    source: Path
    counter: TrafficCounter
    request_id: str
    started_at: float
    remaining_s: Callable[[], float]
    observe: Callable[[IterationDone], None] = lambda done: None
    """Called after each iteration, on the computing thread."""


class Worker:
    """``run`` does all; ``position`` tells where it was when it failed."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        event, manifest = invocation.event, invocation.manifest
        self._event, self._manifest = event, manifest
        self._stage = manifest.stages[event.stage]
        self._is_first, self._is_last = event.stage == 0, event.stage == len(manifest.stages) - 1
        self.gang = keys.GangKeys(event.run, event.segment, event.attempt)
        self._position: tuple[int | None, str | None] = (None, None)
        self._mailbox = Mailbox(
            stage=event.stage,
            inboxes=invocation.inboxes,
            artifacts=invocation.artifacts,
            gang=self.gang,
            stall_timeout_s=manifest.segment.stall_timeout_s,
            deadline=time.monotonic() + (1 - LAST_WORDS_SHARE) * invocation.remaining_s(),
        )
        self._recorder = Recorder(event.stage, event.replica)
        self.lanes = Lanes(self._mailbox, self._recorder, event.stage, manifest.predicted.iteration_s)
        self._losses: list[float] = []
        self._iteration_ends: list[float] = []
        self._progress: Future[object] | None = None
        self._reported_at = 0.0

    @property
    def position(self) -> tuple[int | None, str | None]:
        """The iteration, and the instruction or what else was under way."""
        iteration, instruction = self._position
        return iteration, self._executor.instruction if iteration is not None else instruction

    def run(self) -> WorkerSummary:
        """Trains the segment's iterations.

        Raises:
            GangAborted, Stalled: another worker failed, or is too slow.
            FuncpipeError: the segment does not fit into the worker's life time; a checkpoint is damaged.
            Exception: whatever the user's model raises.
        """
        try:
            return self._run()
        finally:
            self.lanes.close()

    def _run(self) -> WorkerSummary:
        iterations = self._manifest.segment_range(self._event.segment)
        self._prepare(iterations)
        self._report(iterations.start)
        self._position = (None, "barrier")
        meet(self._mailbox, (self._event.stage, self._event.replica), self._manifest.places)
        for iteration in iterations:
            self._check_life_time(iteration)
            begun = time.time()
            self._position = (iteration, None)
            loss = self._executor.iterate(iteration)
            if loss is not None:
                self._losses.append(loss)
            self._iteration_ends.append(time.time())
            self._report(iteration + 1)
            self._tell(iteration, self._iteration_ends[-1] - begun, iterations)
        self._position = (None, "checkpoint")
        self.lanes.drain()
        return self._finish(iterations)

    # -- before the first iteration ---------------------------------------------------------------------------------

    def _prepare(self, iterations: range) -> None:
        training, event, source = self._manifest.training, self._event, self._invocation.source
        artifacts, stage = self._invocation.artifacts, self._stage
        self._position = (None, "start")
        commit = read_commit(artifacts, event.run, event.segment)
        self._layers, _ = build_layers(
            self._manifest.model, source, stage.first_layer, stage.end_layer, training.seed, training.dtype
        )
        self._optimizer = build_optimizer(training.optimizer, self._layers.parameters())
        load_layers(artifacts, commit, self._layers, stage.first_layer, self._optimizer)
        module = StageModule(
            self._layers,
            first_layer=stage.first_layer,
            seed=training.seed,
            loss=build_loss(training.loss, source) if self._is_last else None,
            is_first=self._is_first,
            recompute=stage.recompute,
        )
        self._executor = Executor(
            self._manifest,
            event,
            gang=self.gang,
            lanes=self.lanes,
            recorder=self._recorder,
            module=module,
            parameters=[p for p in self._layers.parameters() if p.requires_grad],
            optimizer=self._optimizer,
            readers=self._readers(),
            iterations=iterations,
        )

    def _readers(self) -> dict[str, ShardReader]:
        """Of the samples that this worker needs: inputs on the first stage, targets on the last."""
        artifacts, seed = self._invocation.artifacts, self._manifest.training.seed
        fields = ["input"] * self._is_first + ["target"] * self._is_last
        if not fields:
            return {}
        index = ShardIndex.model_validate_json(artifacts.get(keys.data_index(self._manifest.dataset.sha256)))
        return {field: ShardReader(store=artifacts, index=index, field=field, seed=seed) for field in fields}

    # -- around the iterations -------------------------------------------------------------------------------------

    def _check_life_time(self, iteration: int) -> None:
        self._mailbox.check()
        remaining, ends = self._invocation.remaining_s(), self._iteration_ends
        longest = max((end - begin for begin, end in pairwise(ends)), default=0.0)
        needed = LONGEST_ITERATIONS * longest + CHECKPOINT_SHARE * self._manifest.segment.timeout_s
        if remaining < needed:
            raise FuncpipeError(
                f"segment {self._event.segment} does not fit into the function's life time: {remaining:.1f} s are left "
                f"before iteration {iteration}, and one iteration and the checkpoint may need {needed:.1f} s "
                f"(timeout_s: {self._manifest.segment.timeout_s}). Plan again with a smaller "
                f"limits.max_segment_iterations (now {self._manifest.segment.iterations})."
            )

    def _report(self, done: int) -> None:
        now = time.time()
        if now - self._reported_at < PROGRESS_INTERVAL_S or (self._progress and not self._progress.done()):
            return
        self._reported_at = now
        event = self._event
        progress = Progress(
            stage=event.stage,
            replica=event.replica,
            segment=event.segment,
            attempt=event.attempt,
            iteration=done,
            loss=self._losses[-1] if self._losses else None,
            started_at=self._invocation.started_at,
            updated_at=now,
        )
        key, body = self.gang.progress(event.stage, event.replica), progress.model_dump_json().encode()
        self._progress = self.lanes.background(lambda: self._invocation.artifacts.put(key, body))

    def _tell(self, iteration: int, seconds: float, iterations: range) -> None:
        self._invocation.observe(
            IterationDone(
                iteration=iteration,
                seconds=seconds,
                loss=self._losses[-1] * self._stage.replicas if self._losses else None,
                segment_share=(iteration + 1 - iterations.start) / len(iterations),
            )
        )

    def _finish(self, iterations: range) -> WorkerSummary:
        """Checkpoint, then summary, then (on the gang's first worker) the commit: each only after what it rests on."""
        artifacts, event = self._invocation.artifacts, self._event
        digests: dict[int, str] = {}
        if event.replica == 0:
            prefix = self.gang.checkpoint_prefix
            digests = save_layers(artifacts, prefix, self._layers, self._stage.first_layer, self._optimizer)
        timeline = "[" + ",\n".join(item.model_dump_json() for item in self._recorder.events) + "]\n"
        artifacts.put(self.gang.timeline(event.stage, event.replica), timeline.encode())
        if event.replica != 0:
            return self._summarise(iterations, {})
        for replica in range(1, self._stage.replicas):
            self._mailbox.wait(artifacts, self.gang.summary(event.stage, replica))
        if iterations:
            for name in self._executor.left_behind(iterations[-1]):  # all replicas are done: nobody reads these now
                self._mailbox.discard(name)
        summary = self._summarise(iterations, digests)
        if event.stage == 0:
            self._commit(iterations, summary)
        return summary

    def _summarise(self, iterations: range, digests: dict[int, str]) -> WorkerSummary:
        event = self._event
        summary = WorkerSummary(
            event=event,
            started_at=self._invocation.started_at,
            ended_at=time.time(),
            first_iteration=iterations.start,
            end_iteration=iterations.stop,
            iteration_ends=self._iteration_ends,
            losses=self._losses,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / 2**20,
            traffic=self._invocation.counter.traffic,
            request_id=self._invocation.request_id,
            checkpoint={str(index): digest for index, digest in digests.items()},
        )
        key = self.gang.summary(event.stage, event.replica)
        self._invocation.artifacts.put(key, summary.model_dump_json().encode())
        return summary

    def _commit(self, iterations: range, own: WorkerSummary) -> None:
        digests = dict(own.checkpoint)
        for stage in range(1, len(self._manifest.stages)):
            data = self._mailbox.wait(self._invocation.artifacts, self.gang.summary(stage, 0)).data
            digests |= WorkerSummary.model_validate_json(data).checkpoint
        commit = Commit(
            number=self._event.segment + 1,
            iteration=iterations.stop,
            prefix=self.gang.checkpoint_prefix,
            layers=[digests[str(index)] for index in range(self._manifest.layer_count)],
        )
        write_commit(self._invocation.artifacts, self._event.run, commit)
