"""Executes a stage's schedule on three lanes, one iteration after the other.

The compute lane is the calling thread: a loop over the schedule's instructions with one method per kind. What it needs
from storage comes from ``runtime.prefetch``; what it produces is handed to the upload lane.
"""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from runtime.batches import MicroBatch, micro_batches
from runtime.codec import Bundle, narrowed, pack
from runtime.factories import TORCH_DTYPES, WIRE_DTYPES
from runtime.keys import GangKeys
from runtime.lanes import Lanes
from runtime.manifest import Manifest
from runtime.prefetch import Prefetch
from runtime.records import WorkerEvent
from runtime.scatter_reduce.contribution import Dense
from runtime.scatter_reduce.gradient_sum import GradientSum
from runtime.schedule import Instruction, Lane, Op, Program, worker_program
from runtime.shards import ShardReader
from runtime.stage_module import StageModule
from runtime.timeline import Recorder


class Executor:
    """One worker's part in the pipeline.

    Args:
        module: the stage's layers, trained in place.
        parameters: the stage's trainable ones.
        readers: by field ("input", "target"), of the samples that the worker needs.
        iterations: at most these will be executed, in order.
        certain: those before this one will be; it grows.
    """

    def __init__(
        self,
        manifest: Manifest,
        event: WorkerEvent,
        *,
        gang: GangKeys,
        lanes: Lanes,
        recorder: Recorder,
        module: StageModule,
        parameters: list[nn.Parameter],
        optimizer: torch.optim.Optimizer | None,
        readers: dict[str, ShardReader],
        iterations: range,
        certain: Callable[[], int],
    ) -> None:
        self._manifest, self._event, self._stage = manifest, event, manifest.stages[event.stage]
        self._is_first, self._is_last = event.stage == 0, event.stage == len(manifest.stages) - 1
        self._gang, self._lanes, self._recorder = gang, lanes, recorder
        self._module, self._optimizer = module, optimizer
        self._reduce = (
            GradientSum(
                lanes,
                gang,
                settings=self._stage.synchronisation,
                replica=event.replica,
                replicas=self._stage.replicas,
                parameters=parameters,
                encoding=Dense(WIRE_DTYPES[manifest.wire.gradients]),
            )
            if self._stage.replicas > 1 and parameters
            else None
        )
        self._prefetch = Prefetch(
            lanes,
            gang,
            readers=readers,
            dtype=TORCH_DTYPES[manifest.training.dtype],
            downloads=self._downloads(iterations),
            certain=certain,
        )
        self._held: dict[tuple[Op, int], Bundle] = {}
        self._loss = 0.0
        self.instruction: str | None = None
        """Under way, or the last one."""

    def iterate(self, iteration: int) -> float | None:
        """Executes one iteration; returns this replica's share of its loss on the last stage, else None.

        Raises:
            GangAborted, Stalled: another worker failed, or is too slow.
            Exception: whatever the user's model raises.
        """
        batches = self._batches(iteration)
        program = self._program(batches)
        last_backward = next((i for i in reversed(program) if i.op is Op.BACKWARD), None)
        self._loss = 0.0
        for instruction in program:
            self.instruction = str(instruction)
            if instruction == last_backward and self._reduce is not None:
                if not self._is_first:  # the pass ends with a gradient for the stage before; the sum lets it go first
                    self._lanes.announce()
                self._reduce.begin(iteration)
            self._execute(iteration, instruction, batches)
        return self._loss if self._is_last else None

    def left_behind(self, iteration: int) -> list[str]:
        """Objects that all replicas leave in the inbox after ``iteration``, the segment's last one."""
        return [] if self._reduce is None else self._reduce.left_behind(iteration)

    def _batches(self, iteration: int) -> list[MicroBatch]:
        training = self._manifest.training
        return micro_batches(
            iteration, self._manifest.dataset.train_samples, training.global_batch_size, training.micro_batch_size
        )

    def _program(self, batches: list[MicroBatch]) -> Program:
        event, manifest = self._event, self._manifest
        replicas = [stage.replicas for stage in manifest.stages]
        return worker_program(manifest.schedule, event.stage, event.replica, replicas, len(batches))

    def _downloads(self, iterations: range) -> Iterator[tuple[int, Instruction, MicroBatch]]:
        """What the download lane does over the whole segment, in order."""
        for iteration in iterations:
            batches = self._batches(iteration)
            for instruction in self._program(batches):
                if instruction.op.lane is Lane.DOWNLOAD and instruction.micro_batch is not None:
                    yield iteration, instruction, batches[instruction.micro_batch]

    def _execute(self, iteration: int, instruction: Instruction, batches: list[MicroBatch]) -> None:
        index = instruction.micro_batch
        match instruction.op:
            case Op.LOAD | Op.RECEIVE_ACTIVATION | Op.RECEIVE_GRADIENT:
                self._held[instruction.op, index] = self._prefetch.take(iteration, instruction)  # type: ignore[index]
            case Op.FORWARD:
                with self._recorder.computing(iteration, str(instruction)):
                    self._forward(iteration, batches[index])  # type: ignore[index]
            case Op.BACKWARD:
                with self._recorder.computing(iteration, str(instruction)):
                    self._backward(batches[index])  # type: ignore[index]
            case Op.SEND_ACTIVATION:
                self._send(iteration, instruction, self._event.stage + 1, self._gang.activation)
            case Op.SEND_GRADIENT:
                self._send(iteration, instruction, self._event.stage - 1, self._gang.gradient)
            case Op.REDUCE:
                if self._reduce is not None:
                    self._reduce(iteration)
            case Op.STEP:
                with self._recorder.computing(iteration, str(instruction)):
                    self._step()

    def _forward(self, iteration: int, batch: MicroBatch) -> None:
        samples = self._held.pop((Op.LOAD, batch.index), {})
        target = samples.get("target")
        received = pack(samples["input"]) if self._is_first else self._held.pop((Op.RECEIVE_ACTIVATION, batch.index))
        output = self._module.forward(iteration, batch, received, target)  # type: ignore[arg-type]
        if self._is_last:
            self._loss += output["loss"].item()  # type: ignore[union-attr]
        else:
            self._held[Op.SEND_ACTIVATION, batch.index] = output

    def _backward(self, batch: MicroBatch) -> None:
        gradients = None if self._is_last else self._held.pop((Op.RECEIVE_GRADIENT, batch.index))
        caught = self._module.backward(batch, gradients)
        if not self._is_first:
            self._held[Op.SEND_GRADIENT, batch.index] = caught

    def _send(self, iteration: int, instruction: Instruction, stage: int, name: Callable[[int, int], str]) -> None:
        index: int = instruction.micro_batch  # type: ignore[assignment]
        dtype = WIRE_DTYPES[self._manifest.wire.activations]
        bundle = {name: narrowed(value, dtype) for name, value in self._held.pop((instruction.op, index)).items()}
        self._lanes.send(iteration, str(instruction), stage, name(iteration, index), bundle)

    def _step(self) -> None:
        if self._optimizer is not None:
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
