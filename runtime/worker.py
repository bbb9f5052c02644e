"""One worker: a replica of a stage, for one segment: from a commit, through its iterations, to the next one."""

import math
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from runtime import keys, warm
from runtime.allowance import MARGIN_SHARE
from runtime.barrier import LEADER, meet
from runtime.checkpoint import Diverged, load_layers, save_layers
from runtime.executor import Executor
from runtime.factories import build_layers, build_loss, build_optimizer
from runtime.hard_stop import HardStop
from runtime.lanes import Lanes
from runtime.leader import Leader
from runtime.mailbox import Mailbox
from runtime.manifest import Manifest
from runtime.metrics import IterationDone
from runtime.outcome import read_commit
from runtime.records import End, EndReason, Progress, Ready, ShardIndex, WorkerEvent, WorkerSummary
from runtime.segment_end import FollowersEnd, SegmentEnd
from runtime.shards import ShardReader
from runtime.stage_module import StageModule
from runtime.store import KeyNotFound, Store
from runtime.store_wrappers import TrafficCounter
from runtime.timeline import Recorder

PROGRESS_INTERVAL_S = 1.0
"""A PUT of 5e-6 USD a second and worker at most: less than a hundredth of the worker's own price."""
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
    init_s: float = 0.0
    """Billed before ``started_at``: the start-up of a new environment."""
    began: float = field(default_factory=time.monotonic)
    """``started_at`` by the clock that only goes forward: the other one may be set at any time."""
    observe: Callable[[IterationDone], None] = lambda done: None
    """Called after each iteration, on the computing thread."""
    end: Callable[[BaseException], None] | None = None
    """Tells of a worker that has to stop and does not, and ends its process; None where a process must not be ended."""
    in_sequence: bool = False
    """Lanes wait for one another: as ``runtime.lanes.Lanes``."""
    hold: warm.Hold = warm.PROCESS
    """What the environment holds from segment to segment."""

    @property
    def elapsed_s(self) -> float:
        """Since ``started_at``."""
        return time.monotonic() - self.began


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
            deadline=time.monotonic() + (1 - MARGIN_SHARE) * invocation.remaining_s(),
        )
        self._recorder = Recorder(event.stage, event.replica)
        self.lanes = Lanes(
            self._mailbox, self._recorder, event.stage, manifest.predicted.iteration_s, invocation.in_sequence
        )
        self._hard_stop: HardStop | None = None
        if invocation.end is not None:
            self._hard_stop = HardStop(self._mailbox.check, self.lanes.fail, invocation.end)
        self._leader: Leader | None = None
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
        """Trains the segment, which ends when the gang's leader says so.

        Raises:
            GangAborted, Stalled: another worker failed, or is too slow.
            Diverged: the loss or a parameter is not finite.
            FuncpipeError: an iteration does not fit into the worker's life time; a checkpoint is damaged.
            Exception: whatever the user's model raises.
        """
        if self._hard_stop is not None:
            self._hard_stop.start()
        try:
            summary = self._run()
        finally:
            self.lanes.close()
            self._spare()
        self._invocation.hold.keep(warm.Held(self._identity, self._layers, self._optimizer))
        return summary

    def _run(self) -> WorkerSummary:
        self._position = (None, "start")
        self._base = read_commit(self._invocation.artifacts, self._event.run, self._event.commit)
        if (self._event.stage, self._event.replica) == LEADER:
            self._leader = Leader(
                self._mailbox,
                self._manifest,
                self._event,
                self._base,
                counter=self._invocation.counter,
                background=self.lanes.background,
            )
        self._load()
        self._report(self._base.iteration)
        self._position = (None, "barrier")
        own = (self._event.stage, self._event.replica)
        self._go = meet(self._mailbox, own, self._ready(), self._manifest.places, self._leader and self._leader.plan)
        self._end = self._segment_end()
        self._build_executor()
        iteration = self._base.iteration
        while self._end.includes(iteration):
            self._iterate(iteration)
            iteration += 1
        self._position = (None, "checkpoint")
        self.lanes.drain()
        return self._finish(iteration)

    def _spare(self) -> None:
        if self._hard_stop is not None:
            self._hard_stop.stop()

    def _iterate(self, iteration: int) -> None:
        self._mailbox.check()
        begun = time.monotonic()  # the wall clock may be set meanwhile
        self._position = (iteration, None)
        loss = self._executor.iterate(iteration)
        if loss is not None:
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss of iteration {iteration} is {loss}. The last checkpoint, of {self._base.iteration} "
                    "iterations, is good; a smaller learning rate may help."
                )
            self._losses.append(loss)
        self._iteration_ends.append(time.time())
        seconds = time.monotonic() - begun
        if self._leader is not None:
            self._leader.allowance.observe(seconds)
        self._report(iteration + 1)
        self._tell(iteration, seconds)

    # -- before the first iteration ---------------------------------------------------------------------------------

    def _load(self) -> None:
        training, source, stage = self._manifest.training, self._invocation.source, self._stage
        self._identity = warm.identity(self._manifest, self._event.stage)
        held = self._invocation.hold.take(self._identity)
        if held is not None:
            self._layers, self._optimizer = held.layers, held.optimizer
        else:
            self._layers, _ = build_layers(
                self._manifest.model, source, stage.first_layer, stage.end_layer, training.seed, training.dtype
            )
            self._optimizer = build_optimizer(training.optimizer, self._layers.parameters())
        run, artifacts, first = self._event.run, self._invocation.artifacts, stage.first_layer
        load_layers(artifacts, run, self._base, self._layers, first, self._optimizer, filled=held is not None)
        self._data = self._readers()

    def _build_executor(self) -> None:
        training = self._manifest.training
        module = StageModule(
            self._layers,
            first_layer=self._stage.first_layer,
            seed=training.seed,
            loss=build_loss(training.loss, self._invocation.source) if self._is_last else None,
            is_first=self._is_first,
            recompute=self._stage.recompute,
        )
        self._executor = Executor(
            self._manifest,
            self._event,
            gang=self.gang,
            lanes=self.lanes,
            recorder=self._recorder,
            module=module,
            parameters=[p for p in self._layers.parameters() if p.requires_grad],
            optimizer=self._optimizer,
            readers=self._data,
            iterations=range(self._base.iteration, self._end.limit),
            certain=lambda: self._end.certain,
        )

    def _readers(self) -> dict[str, ShardReader]:
        """Of the samples that this worker needs: inputs on the first stage, targets on the last."""
        artifacts, seed = self._invocation.artifacts, self._manifest.training.seed
        fields = ["input"] * self._is_first + ["target"] * self._is_last
        if not fields:
            return {}
        index = ShardIndex.model_validate_json(artifacts.get(keys.data_index(self._manifest.dataset.sha256)))
        return {field: ShardReader(store=artifacts, index=index, field=field, seed=seed) for field in fields}

    # -- the segment's end -----------------------------------------------------------------------------------------

    def _ready(self) -> Ready:
        invocation = self._invocation
        return Ready(
            at=time.time(),
            remaining_s=invocation.remaining_s(),
            billed_s=invocation.init_s + invocation.elapsed_s,
        )

    def _known_limit(self) -> tuple[int, EndReason]:
        """Where the segment ends at the latest, as far as everybody knows when it begins."""
        first, longest = self._base.iteration, self._manifest.segment.max_iterations
        limit = min(self._manifest.iterations, first + longest if longest else self._manifest.iterations)
        if self._go.end is not None and self._go.end.iteration < limit:
            return self._go.end.iteration, self._go.end.reason
        return limit, EndReason.FINISHED if limit == self._manifest.iterations else EndReason.TIME

    def _segment_end(self) -> SegmentEnd:
        limit, at_limit = self._known_limit()
        if self._leader is not None:
            return self._leader.segment_end(limit, at_limit)

        def look() -> End | None:
            try:
                return End.model_validate_json(bytes(self._invocation.artifacts.get(self.gang.end)))
            except KeyNotFound:
                return None

        return FollowersEnd(self._base.iteration, limit, at_limit, ask=lambda: self.lanes.background(look))

    # -- around the iterations -------------------------------------------------------------------------------------

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

    def _tell(self, iteration: int, seconds: float) -> None:
        first = self._base.iteration
        expected = min(self._end.limit, first + self._manifest.segment.iterations) - first
        self._invocation.observe(
            IterationDone(
                iteration=iteration,
                seconds=seconds,
                loss=self._losses[-1] * self._stage.replicas if self._losses else None,
                segment_share=min(1.0, (iteration + 1 - first) / expected),
                spent_usd=self._leader.allowance.spent_usd if self._leader else None,
            )
        )

    # -- after the last iteration ----------------------------------------------------------------------------------

    def _finish(self, end: int) -> WorkerSummary:
        """Checkpoint, then summary, then (on the leader) the commit: each only after what it rests on."""
        artifacts, event = self._invocation.artifacts, self._event
        files: dict[int, str] = {}
        begun = time.monotonic()
        if event.replica == 0:
            files = save_layers(
                artifacts,
                event.run,
                self.gang.generation,
                self._layers,
                self._stage.first_layer,
                self._optimizer,
                before=self._base.layers,
            )
        checkpoint_s = time.monotonic() - begun
        timeline = "[" + ",\n".join(item.model_dump_json() for item in self._recorder.events) + "]\n"
        artifacts.put(self.gang.timeline(event.stage, event.replica), timeline.encode())
        if event.replica == 0:
            for replica in range(1, self._stage.replicas):
                self._mailbox.wait(artifacts, self.gang.summary(event.stage, replica))
            if end > self._base.iteration:
                for name in self._executor.left_behind(end - 1):  # all replicas are done: nobody reads these now
                    self._mailbox.discard(name)
            for attempt in range(event.attempt):  # what aborted gangs have sent and nobody has read
                self._mailbox.sweep(keys.GangKeys(event.run, event.segment, attempt).inbox_prefix)
        summary = self._summarise(end, files, checkpoint_s)
        artifacts.put(self.gang.summary(event.stage, event.replica), summary.model_dump_json().encode())
        if self._leader is not None:
            self._position = (None, "commit")
            self._spare()  # what it waits for looks by itself, and its own commit must not end it while it sweeps
            self._leader.commit(summary, self._end.reason)
        return summary

    def _summarise(self, end: int, files: dict[int, str], checkpoint_s: float) -> WorkerSummary:
        return WorkerSummary(
            event=self._event,
            started_at=self._invocation.started_at,
            ended_at=self._invocation.started_at + self._invocation.elapsed_s,
            first_iteration=self._base.iteration,
            end_iteration=end,
            init_s=self._invocation.init_s,
            iteration_ends=self._iteration_ends,
            losses=self._losses,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / 2**20,
            traffic=self._invocation.counter.traffic,
            request_id=self._invocation.request_id,
            checkpoint={str(index): name for index, name in files.items()},
            checkpoint_s=checkpoint_s,
        )
