"""Measures a job's model by running its layers on real micro-batches of its real data: bytes, times, and their growth.

``layer_passes`` runs, ``pass_times`` repeats and takes medians, ``size_fit`` draws lines over micro-batch sizes; here
they become a profile.
"""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from planner import resident_memory
from planner.job import Job
from planner.kept_tensors import KeptTensors
from planner.layer_figures import LayerProfile, LossPerSample, LossProfile, PerSample, Sizes
from planner.layer_passes import Boundary, LayerPasses
from planner.pass_times import Column, cores, measure_column, slopes_of, threads_set
from planner.profile_format import PROFILE_VERSION, Profile
from planner.profile_function import MicroBatch, Task
from planner.rounding import significant
from planner.size_fit import Fit, default_sizes, fit, held_out_size
from runtime.dataset import Dataset, load_dataset
from runtime.errors import FuncpipeError, UserInputError
from runtime.factories import TORCH_DTYPES, build_layers, build_loss, build_model, build_optimizer
from runtime.limits import LAMBDA_MAX_VCPUS, LAMBDA_MEMORY_PER_VCPU_MB
from runtime.manifest import DatasetFacts
from runtime.shard_sizes import CACHED_SHARDS, SHARD_BYTES
from runtime.source import source_sha256

MAX_FIT_ERROR = 0.2
"""Share of the times (or bytes) at the held-out size by which lines may be off, unless the user says otherwise."""


def _micro_batch(dataset: Dataset, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The first samples, as a worker gets them: in memory of their own, as what autograd keeps of a view is counted as
    all that it is a view of."""
    pair = (dataset.train_inputs[:size].clone(), dataset.train_targets[:size].clone())
    inputs, targets = (tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in pair)
    return inputs, targets


def _nbytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _cached_shards_bytes(dataset: Dataset) -> int:
    """What a shard reader holds at most: the cached shards, and one on its way."""
    largest = max(_nbytes([dataset.train_inputs]), _nbytes([dataset.train_targets]))
    return min(2 * largest, (CACHED_SHARDS + 1) * SHARD_BYTES)


def thread_counts(most: int) -> list[int]:
    """Those to measure on ``most`` cores: powers of two, and as many as there are, up to a function's vCPUs."""
    most = min(most, LAMBDA_MAX_VCPUS)
    return sorted({1, 2, 4, most} & set(range(1, most + 1)))


def sizes_to_measure(job: Job, train_samples: int, asked: Sequence[int] | None) -> tuple[list[int], int | None]:
    """The micro-batch sizes that lines are fitted to, and the one held out; the latter None: the job's size alone.

    Raises:
        UserInputError: a size asked for is not positive, or there are not so many samples; no size lies in between.
    """
    own = min(job.training.micro_batch_size, train_samples)
    most = min(job.training.global_batch_size, train_samples)
    if own < job.training.micro_batch_size:  # what is measured is the whole data set, called a micro-batch
        return [own], None
    if asked is None:
        sizes = default_sizes(own, most)
        held_out = held_out_size(sizes)
        return (sizes, held_out) if held_out is not None else ([own], None)
    if wrong := [size for size in asked if not 1 <= size <= most]:
        raise UserInputError(
            f"a micro-batch has at least 1 sample and at most as many as a global batch and the data set (asked for: "
            f"{wrong[0]}, training.global_batch_size: {job.training.global_batch_size}, training samples: "
            f"{train_samples}). Correct --micro-batch-sizes."
        )
    sizes = sorted({*asked, own})
    held_out = held_out_size(sizes)
    if len(sizes) > 1 and held_out is None:
        raise UserInputError(
            f"between two of the micro-batch sizes there must be room for one that the line is judged by (sizes: "
            f"{', '.join(map(str, sizes))}). For example: --micro-batch-sizes {sizes[0]},{2 * sizes[-1]}"
        )
    return sizes, held_out


Elsewhere = Callable[[Task, MicroBatch], tuple[list[int], list[Column]]]
"""Given what to measure and the largest micro-batch: memory sizes in ascending order, and a column for each."""


def _steps(memory_mb: Sequence[int] | None, columns: Sequence[Column]) -> list[float]:
    """Seconds of the optimiser's step by layer, on one whole vCPU."""
    if memory_mb is None:
        return columns[0].step_s
    whole = [at for at, size in enumerate(memory_mb) if size >= LAMBDA_MEMORY_PER_VCPU_MB]
    at = whole[0] if whole else len(columns) - 1
    share = min(1.0, memory_mb[at] / LAMBDA_MEMORY_PER_VCPU_MB)
    return [seconds * share for seconds in columns[at].step_s]


def profile_job(
    job: Job,
    folder: Path,
    *,
    micro_batch_sizes: Sequence[int] | None = None,
    threads: Sequence[int] | None = None,
    max_fit_error: float = MAX_FIT_ERROR,
    elsewhere: Elsewhere | None = None,
) -> Profile:
    """Measures the job's model in this process; takes seconds to minutes.

    Args:
        folder: the package's source folder.
        micro_batch_sizes: sizes to fit lines to besides the job's own; by default half and twice that. An empty list:
            the job's own alone, of which ``Profile.at`` then knows no other.
        threads: thread counts, from 1 upwards; by default 1, 2, 4 and as many as there are cores, up to 6.
        max_fit_error: by how much, as a share, lines may miss what was measured at the size held out.
        elsewhere: what measures times instead of this process; bytes are counted here.

    Raises:
        UserInputError: a factory cannot be called, or a layer or the loss fails on the data; sizes as above.
        FuncpipeError: the base memory of a worker cannot be measured; the lines are off by more than allowed.
    """
    training = job.training
    dataset = load_dataset(job.data, folder)
    sizes, held_out = sizes_to_measure(job, dataset.train_samples, micro_batch_sizes)
    own = min(training.micro_batch_size, dataset.train_samples)
    _, only_own_layers = build_layers(job.model, folder, 0, 1, training.seed, training.dtype)
    model = build_model(job.model, folder, training.seed, training.dtype)
    loss = build_loss(training.loss, folder)
    by_size = {}
    for size in sorted({*sizes, *([] if held_out is None else [held_out])}):
        inputs, targets = _micro_batch(dataset, size, TORCH_DTYPES[training.dtype])
        by_size[size] = LayerPasses(model, loss, inputs, targets, training.seed)
    passes = by_size[own]

    with threads_set(1):
        resident_memory.forget_peak()
        seen = {own: passes.boundaries()}
        peak_bytes = resident_memory.peak_bytes()
        seen |= {size: each.boundaries() for size, each in by_size.items() if size != own}
    memory_mb = None
    if elsewhere is not None:
        task = Task(sizes=list(by_size), own=own, held_out=held_out, max_fit_error=max_fit_error)
        memory_mb, columns = elsewhere(task, by_size[max(by_size)].micro_batch)
    else:

        def measured(count: int, left_out: int | None) -> Column:
            return measure_column(
                count, by_size, own, left_out, max_fit_error, lambda each: build_optimizer(training.optimizer, each)
            )

        counts = threads or thread_counts(cores())
        # How times grow is measured with one thread: with as many as there are cores, whatever else runs meets all.
        columns = [measured(counts[0], held_out), *(measured(count, None) for count in counts[1:])]
    steps = _steps(memory_mb, columns)

    bytes_fit = None
    if held_out is not None:
        bytes_fit = fit(own, held_out, {size: _kept(*each) for size, each in seen.items()})
        check_fits(bytes_fit, columns, held_out, max_fit_error, passes.names)
    layers, loss_profile = _layers(passes, seen[own], columns, steps, bytes_fit)
    empty = resident_memory.measure()
    own_inputs, own_targets = passes.micro_batch
    return Profile(
        schema_version=PROFILE_VERSION,
        model=job.model,
        data=job.data,
        loss=training.loss,
        optimizer=training.optimizer,
        dtype=training.dtype,
        micro_batch_size=training.micro_batch_size,
        source_sha256=source_sha256(folder),
        dataset=DatasetFacts(
            train_samples=dataset.train_samples, test_samples=dataset.test_samples, sha256=dataset.sha256
        ),
        host=f"{platform.machine()}, torch {torch.__version__}" if memory_mb is None else "AWS Lambda",
        host_cores=cores(),
        threads=[column.threads for column in columns],
        memory_mb=memory_mb,
        base_bytes=empty.peak_bytes,
        library_bytes=max(0, resident_memory.library_bytes() - empty.library_bytes),
        peak_bytes=peak_bytes,
        builds_whole_model=not only_own_layers,
        data_bytes=_cached_shards_bytes(dataset),
        input_bytes=_nbytes([own_inputs]),
        target_bytes=_nbytes([own_targets]),
        layers=layers,
        loss_profile=loss_profile,
        sizes=None if bytes_fit is None or held_out is None else _sizes(sizes, held_out, bytes_fit, columns),
    )


def _kept(boundaries: Sequence[Boundary], tensors: KeptTensors) -> dict[str, list[float]]:
    """One size's bytes, as ``planner.size_fit`` takes them; the loss counts as one more layer."""
    return {
        "output_bytes": [boundary.output_payload for boundary in boundaries],
        "gradient_bytes": [boundary.gradient_payload for boundary in boundaries],
        "activation_bytes": [tensors.first_kept_bytes(layer) for layer in range(len(boundaries) + 1)],
        "shared_input_bytes": [tensors.shared_input_bytes(layer) for layer in range(len(boundaries))],
    }


def check_fits(
    bytes_fit: Fit, columns: Sequence[Column], held_out: int, max_fit_error: float, names: Sequence[str]
) -> None:
    """Raises FuncpipeError where lines miss what was measured at the held-out size by more than allowed."""
    worst = max(columns, key=lambda column: column.fit_error)
    for what, error, misfit in (
        ("bytes", bytes_fit.errors["bytes"], bytes_fit.worst["bytes"]),
        ("times", worst.fit_error, worst.misfit),
    ):
        if error <= max_fit_error:
            continue
        assert misfit is not None, "where sizes were measured, one is off by most"
        place = f"{misfit.name} of layer {misfit.layer} ({names[misfit.layer]})" if misfit.layer < len(names) else ""
        if misfit.name == "loss_s" or not place:
            place = "the loss"
        scale, shown = (1e3, "ms") if what == "times" else (1 / 1024, "kB")
        quiet = " Measure on a machine that does nothing else, or with" if what == "times" else " Measure with"
        command = "`funcpipe profile JOB --micro-batch-sizes own`"
        raise FuncpipeError(
            f"lines over the micro-batch size do not tell the {what} of {held_out} samples, which were held out "
            f"(off by: {error:.1%}, allowed: {max_fit_error:.1%}); most in {place}: "
            f"{misfit.by_line * scale:.4g} {shown} by its line, {misfit.measured * scale:.4g} {shown} measured."
            f"{quiet} {command} (the job's alone), or allow more with its --max-fit-error."
        )


def _sizes(sizes: list[int], held_out: int, bytes_fit: Fit, columns: Sequence[Column]) -> Sizes:
    return Sizes(
        measured=sizes,
        held_out=held_out,
        time_error=max(column.fit_error for column in columns),
        bytes_error=significant(bytes_fit.errors["bytes"]),
    )


def _layers(
    passes: LayerPasses,
    seen: tuple[Sequence[Boundary], KeptTensors],
    columns: Sequence[Column],
    steps: Sequence[float],
    bytes_fit: Fit | None,
) -> tuple[list[LayerProfile], LossProfile]:
    boundaries, kept = seen
    slopes = slopes_of(columns) if bytes_fit else {}
    layers = []
    for index, (layer, boundary) in enumerate(zip(passes.layers, boundaries, strict=True)):
        per_sample = bytes_fit and PerSample(
            forward_s=slopes["forward_s"][index],
            backward_s=slopes["backward_s"][index],
            **{name: significant(row[index]) for name, row in bytes_fit.per_sample.items()},
        )
        layers.append(
            LayerProfile(
                module=passes.names[index],
                forward_s=[column.forward_s[index] for column in columns],
                backward_s=[column.backward_s[index] for column in columns],
                forward_iqr_s=[column.forward_iqr_s[index] for column in columns],
                backward_iqr_s=[column.backward_iqr_s[index] for column in columns],
                step_s=significant(steps[index]),
                output_bytes=boundary.output_bytes,
                gradient_bytes=boundary.gradient_bytes,
                activation_bytes=kept.first_kept_bytes(index),
                shared_input_bytes=kept.shared_input_bytes(index),
                output_kept=kept.output_kept(index),
                parameter_bytes=_nbytes(layer.parameters()),
                trainable_parameter_bytes=_nbytes(p for p in layer.parameters() if p.requires_grad),
                buffer_bytes=_nbytes(layer.buffers()),
                per_sample=per_sample,
            )
        )
    loss = LossProfile(
        seconds=[column.loss_s for column in columns],
        activation_bytes=kept.first_kept_bytes(len(layers)),
        per_sample=bytes_fit
        and LossPerSample(
            seconds=slopes["loss_s"][0],
            activation_bytes=significant(bytes_fit.per_sample["activation_bytes"][-1]),
        ),
    )
    return layers, loss
