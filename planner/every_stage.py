"""Every stage that a plan may have between any two layers, as columns of numbers: ``cost_model`` for all at once.

Models of hundreds of layers have tens of thousands of intervals, and each has dozens of candidate stages. They are
computed here block by block, one for each number of replicas, memory size, way to sum and recomputation. Figures are
those of ``CostModel.stage`` and ``CostModel.memory``; what is known less exactly is never more than there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy

from planner.candidates import ways_to_sum
from planner.cost_model import CostModel
from planner.dominance import Column
from planner.job import Limits
from planner.pricing import BYTES_PER_GB, gb_seconds
from planner.stage_memory import HEAD_ROOM, MIB
from runtime.limits import LAMBDA_MAX_MEMORY_MB
from runtime.pacing import IN_FLIGHT, RANGE_BYTES, range_count
from runtime.schedule import ScheduleName
from runtime.synchronisation import Algorithm

SLACK = 1e-9
"""Relative, of memory: a candidate is not lost to rounding."""


@dataclass(frozen=True)
class Block:
    """Candidates of one memory size, number of replicas, way to sum and recomputation; a row each.

    Seconds are of ``StageCosts``' parts of these names. USD are per second of an iteration (``usd_per_s``), and per
    iteration (``request_usd``).
    """

    first: Column
    end: Column
    usd_per_s: float
    request_usd: Column
    forward_s: Column
    path_s: Column
    """Forward and backward."""
    forward_queue_s: Column
    backward_queue_s: Column
    closing_s: Column
    waiting_s: Column
    """Of the stage alone, as ``CostModel.waiting_s`` counts it where as many micro-batches are kept as fit."""
    turns: Column
    """Likewise: how often a micro-batch goes to the last stage and back, one after the other."""


class EveryStage:
    """One cost model under several schedules."""

    def __init__(
        self,
        model: CostModel,
        limits: Limits,
        degrees: Sequence[int],
        schedules: Sequence[ScheduleName],
    ) -> None:
        self._model, self._limits, self._degrees, self._schedules = model, limits, degrees, schedules
        profile = model.profile
        layers, count = profile.layers, model.layer_count
        self.boundaries = count + 1
        first, end = numpy.triu_indices(self.boundaries, k=1)
        self._first, self._end = first, end
        self._opens, self._closes = first == 0, end == count
        share = model.wire.activations.share(model.training.dtype)
        gradients = model.wire.gradients.share(model.training.dtype)

        def column(values: Sequence[float]) -> Column:
            return numpy.array(values, dtype=float)

        def between(name: str) -> Column:
            sums = column([0, *accumulate(getattr(layer, name) for layer in layers)])
            return sums[end] - sums[first]

        entering = column([profile.input_bytes, *(layer.output_bytes for layer in layers)])
        outputs = column([0, *(layer.output_bytes for layer in layers)])
        caught = column([0, *(layer.gradient_bytes for layer in layers)])
        inner = range(1, count)
        sent = column([0, *(model.activation_bytes(at) for at in inner), 0])
        back = column([0, *(model.returned_bytes(at) for at in inner), 0])
        sent_requests = column([0, *(range_count(model.activation_bytes(at)) for at in inner), 0])
        back_requests = column([0, *(range_count(model.returned_bytes(at)) for at in inner), 0])
        self._sent, self._back = sent, back
        self._passed_puts, self._passed_gets = (
            model.micro_batches * (back_requests[first] + sent_requests[end]),
            model.micro_batches * (sent_requests[first] + back_requests[end]),
        )
        self._passed_up = model.micro_batches * (back[first] + sent[end])
        self._passed_down = model.micro_batches * (sent[first] + back[end])
        self._trainable = between("trainable_parameter_bytes")
        self._exchanged = numpy.rint(self._trainable * gradients)
        self._widening = 1 / gradients
        self._steps = column([0, *accumulate(layer.step_s for layer in layers)])

        # What a stage holds: planner.stage_memory.
        copies = model.training.optimizer.state_copies
        buffers = between("buffer_bytes")
        weights = between("parameter_bytes") + buffers
        self._held = profile.base_bytes + weights + (1 + copies) * self._trainable
        self._held += profile.data_bytes * (self._opens.astype(float) + self._closes)
        self._buffers = buffers
        targets = numpy.where(self._closes, profile.target_bytes, 0)
        self._kept_inputs = entering[first] + targets
        shared = column([0, *(layer.shared_input_bytes for layer in layers[1:])])
        unkept = column([0, *(0 if layer.output_kept else layer.output_bytes for layer in layers)])
        self._kept = between("activation_bytes") + shared[first] + targets
        self._kept += numpy.where(self._closes, profile.loss_profile.activation_bytes, unkept[end])
        self._widest = self._largest(entering[:-1] + outputs[1:])
        saved = column(
            [
                2 * (layer.parameter_bytes + layer.buffer_bytes + copies * layer.trainable_parameter_bytes)
                for layer in layers
            ]
        )
        self._saved = self._largest(saved)
        every = sum(layer.parameter_bytes + layer.buffer_bytes for layer in layers)
        self._built = every - weights if profile.builds_whole_model else numpy.zeros(len(first))
        into = numpy.where(self._opens, 0, entering[first])
        out = numpy.where(self._closes, 0, outputs[end])
        returned = numpy.where(self._closes, 0, caught[end])
        caught_here = numpy.where(self._opens, 0, caught[first])
        forward, backward = (1 + share) * into + share * out, (1 + share) * (returned + caught_here)
        self._transfers = numpy.maximum(forward, backward)
        down = (1 + share) * numpy.maximum(into, returned)
        self._alternating = down + numpy.maximum(share * out, (1 + share) * caught_here)
        self._joined = numpy.where(share * numpy.maximum(into, returned) > RANGE_BYTES, IN_FLIGHT * RANGE_BYTES, 0)

    def _largest(self, values: Column) -> Column:
        """Of a figure of each layer, the largest of each interval's layers."""
        found = numpy.zeros((self.boundaries, self.boundaries))
        for first in range(len(values)):
            found[first, first + 1 :] = numpy.maximum.accumulate(values[first:])
        return found[self._first, self._end]

    def kept_at_most(self, memory_mb: int, replicas: int, algorithm: Algorithm, recompute: bool) -> Column:
        """Micro-batches that a worker can keep between forward and backward, at most all of its own; 0: none fits.

        Under GPipe alone either all or none.
        """
        model = self._model
        micro_batches = model.micro_batches_per_replica(replicas)
        room = memory_mb / (1 + HEAD_ROOM) * MIB * (1 + SLACK) - self._held
        again = self._buffers if recompute else 0
        room = room - again
        once = self._widest + self._joined
        if recompute:
            once = once + self._kept + self._kept_inputs
        each = self._kept_inputs if recompute else self._kept
        in_flight = min(IN_FLIGHT, micro_batches)
        fits = numpy.maximum(self._saved, self._summing(replicas, algorithm)) <= room
        fits &= self._built - again <= room
        kept = numpy.zeros(len(room))
        if set(self._schedules) - {ScheduleName.GPIPE}:
            left = room - once - in_flight * self._alternating + 1
            at_most = numpy.full(len(room), float(micro_batches))
            numpy.divide(left, each, out=at_most, where=each > 0)
            at_most = numpy.where(left < 0, 0, numpy.clip(numpy.floor(at_most), 0, micro_batches))
            least = numpy.minimum(numpy.where(self._closes, 1, 2), micro_batches)
            kept = numpy.where(at_most >= least, at_most, 0)
        if ScheduleName.GPIPE in self._schedules:
            needed = micro_batches * each + once + in_flight * self._transfers - 1
            kept = numpy.where(needed <= room, micro_batches, kept)
        return numpy.where(fits, kept, 0)

    def _summing(self, replicas: int, algorithm: Algorithm) -> Column:
        """``Exchange.held_bytes``, pieces being those of the fastest link."""
        if replicas == 1:
            return numpy.zeros(len(self._first))
        whole = numpy.rint(self._exchanged * self._widening)
        if algorithm is Algorithm.ALL_TO_ALL:
            return (2 + replicas - 1 + min(IN_FLIGHT, replicas - 1)) * whole
        if algorithm is not Algorithm.PIECE_PIPELINED:
            return 2 * whole
        fastest = self._model.exchange(0, 1, LAMBDA_MAX_MEMORY_MB, replicas)
        pieces = numpy.maximum(1, numpy.ceil(self._exchanged / (replicas * fastest.piece_bytes)))
        return whole + (4 * IN_FLIGHT + replicas - 1) * (whole / (replicas * pieces))

    def _summed(self, memory_mb: int, replicas: int, algorithm: Algorithm) -> tuple[Column, Column]:
        """Seconds and USD of summing gradients over replicas: ``Exchange``'s formulae, without rates of requests."""
        zero = numpy.zeros(len(self._first))
        if replicas == 1:
            return zero, zero
        n, some = replicas, self._model.exchange(0, 1, memory_mb, replicas)
        latency, whole = some.latency_s, self._exchanged / some.bandwidth
        pieces = numpy.ones(len(whole))
        if algorithm is Algorithm.PLAIN:
            seconds = 3 * whole - 2 * whole / n + 4 * latency
        elif algorithm is Algorithm.PIPELINED:
            seconds = 2 * whole + (2 + n) * latency
        elif algorithm is Algorithm.PIECE_PIPELINED:
            pieces = numpy.maximum(1, numpy.ceil(self._exchanged / (n * some.piece_bytes)))
            piece = whole / n / pieces
            paced = numpy.maximum(piece, (piece + latency) / IN_FLIGHT)
            seconds = 2 * (n - 1) * pieces * paced + 2 * piece + 4 * latency
        else:
            seconds = n * whole + (1 + -(-(n - 1) // IN_FLIGHT)) * latency
        all_to_all = algorithm is Algorithm.ALL_TO_ALL
        puts = n * pieces if all_to_all else n * n * pieces
        gets = n * (n - 1) * pieces * (1 if all_to_all else 2)
        down = (n * (n - 1) if all_to_all else 2 * (n - 1)) * self._exchanged
        prices = self._model.platform.storage_prices
        usd = puts * prices.usd_per_put + gets * prices.usd_per_get
        usd = usd + (n * self._exchanged * prices.usd_per_gb_up + down * prices.usd_per_gb_down) / BYTES_PER_GB
        return seconds, usd

    def blocks(self) -> Iterator[Block]:
        """All candidates that fit under one of the schedules; those left out another one betters in every respect."""
        prices = self._model.platform.storage_prices
        passed_usd = self._passed_puts * prices.usd_per_put + self._passed_gets * prices.usd_per_get
        passed_usd = (
            passed_usd
            + (self._passed_up * prices.usd_per_gb_up + self._passed_down * prices.usd_per_gb_down) / BYTES_PER_GB
        )
        for memory_mb in sorted(self._limits.memory_mb):
            for replicas in self._degrees:
                known: list[tuple[Column, Column, Column]] = []
                every = self._model.micro_batches_per_replica(replicas)
                for algorithm in ways_to_sum(self._limits, replicas):
                    seconds, usd = self._summed(memory_mb, replicas, algorithm)
                    kept = [
                        self.kept_at_most(memory_mb, replicas, algorithm, each) for each in self._limits.recomputations
                    ]
                    worth = numpy.ones(len(usd), dtype=bool)
                    for other_s, other_usd, other_kept in known:
                        worth &= (seconds < other_s) | (usd < other_usd) | (other_kept < every)
                    known.append((seconds, usd, kept[0]))
                    for recompute, held in zip(self._limits.recomputations, kept, strict=True):
                        rows = numpy.flatnonzero(worth & (held > 0))
                        worth = worth & ~(held >= every)  # what keeps everything need not compute it again
                        if len(rows):
                            yield self._block(rows, memory_mb, replicas, recompute, held, seconds, usd + passed_usd)

    def _block(
        self,
        rows: Column,
        memory_mb: int,
        replicas: int,
        recompute: bool,
        held: Column,
        summing_s: Column,
        usd: Column,
    ) -> Block:
        model, profile, platform = self._model, self._model.profile, self._model.platform
        first, end = self._first[rows], self._end[rows]
        opens, closes = self._opens[rows], self._closes[rows]
        vcpus = platform.vcpus(memory_mb)

        def seconds(name: str) -> Column:
            each = [profile.seconds_at(getattr(layer, name), memory_mb, vcpus) for layer in profile.layers]
            sums = numpy.array([0.0, *accumulate(each)])
            return sums[end] - sums[first]

        forward, backward = seconds("forward_s"), seconds("backward_s")
        loss = numpy.where(closes, profile.seconds_at(profile.loss_profile.seconds, memory_mb, vcpus), 0.0)
        backward = backward + loss + (forward + loss if recompute else 0.0)
        down, up = platform.bandwidth(memory_mb), platform.upload_bandwidth(memory_mb)
        get, put = platform.get_latency_s, platform.put_latency_s
        samples = numpy.where(opens, profile.input_bytes, 0) + numpy.where(closes, profile.target_bytes, 0)
        entering_s = (samples + self._sent[first]) / down
        leaving_s, returned_s = self._sent[end] / up, self._back[end] / down
        caught_s = self._back[first] / up
        inner_get, inner_put = numpy.where(opens, 0.0, get), numpy.where(closes, 0.0, put)
        outer_get, outer_put = numpy.where(closes, 0.0, get), numpy.where(opens, 0.0, put)

        def pace(link: Column, latency: Column) -> Column:
            return numpy.maximum(link, (link + latency) / IN_FLIGHT)

        forward_path = entering_s + inner_get + forward + leaving_s + inner_put
        backward_path = returned_s + outer_get + backward + caught_s + outer_put
        slowest = numpy.maximum(numpy.maximum(pace(entering_s, inner_get), forward), pace(leaving_s, inner_put))
        slowest_back = numpy.maximum(numpy.maximum(pace(returned_s, outer_get), backward), pace(caught_s, outer_put))
        micro_batches = model.micro_batches_per_replica(replicas)
        turns = numpy.ceil(micro_batches / held[rows])
        inner_s = forward + leaving_s + inner_put + returned_s + outer_get + backward
        outer_s = entering_s + inner_get + caught_s + outer_put
        billed_gb = replicas * (gb_seconds(memory_mb, 1.0) + model.tmp_worth_gb(model.ephemeral_storage_mb))
        return Block(
            first=first,
            end=end,
            usd_per_s=model.usd_per_gb_s * billed_gb,
            request_usd=usd[rows],
            forward_s=forward_path,
            path_s=forward_path + backward_path,
            forward_queue_s=(micro_batches - 1) * slowest,
            backward_queue_s=(micro_batches - 1) * slowest_back,
            closing_s=summing_s[rows] + (self._steps[end] - self._steps[first]) / min(1.0, vcpus),
            waiting_s=turns * inner_s + outer_s,
            turns=turns,
        )
