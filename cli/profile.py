"""``funcpipe profile``: measures a job's layers on this machine."""

import argparse
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.numbers import positive
from runtime.errors import UserInputError

if TYPE_CHECKING:
    from rich.console import Group

    from cli.screen import Screen
    from cli.tables import FittingTable
    from planner.job import Job
    from planner.profile import Elsewhere
    from planner.profile_format import Profile

EXAMPLE = """\
example:
  funcpipe profile examples/digits/job.toml -o build/digits/profile.json
  funcpipe profile job.toml --micro-batch-sizes 1,4,16 --max-fit-error 0.1
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "profile",
        help="measure each layer of a job's model by running it",
        description="Runs each layer of the model forward and backward on a micro-batch of the job's own data.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", type=Path, metavar="JOB", help="job file (TOML)")
    parser.add_argument("-o", "--output", type=Path, help="profile to write (default: profile.json beside the job)")
    parser.add_argument(
        "--micro-batch-sizes",
        metavar="N,N,...",
        help="sizes to fit lines over, with the job's own; `own`: that alone (default: half, one and two times it)",
    )
    parser.add_argument(
        "--max-fit-error",
        metavar="SHARE",
        help="refuse lines that miss what was measured at a size held out by more (default: 0.2)",
    )
    parser.add_argument(
        "--threads",
        metavar="N,N,...",
        help="thread counts, from 1 up (default: 1, 2, 4 and as many as there are cores, up to 6, a function's vCPUs)",
    )
    parser.add_argument(
        "--on",
        choices=["here", "aws"],
        default="here",
        help="aws: on functions of a stack that is made for it and deleted again (default: here)",
    )
    parser.add_argument(
        "--memory-mb",
        metavar="N,N,...",
        help="with --on aws: memory sizes to measure at (default: the job's limits.memory_mb)",
    )
    parser.add_argument("--local", action="store_true", help="with --on aws: on the local AWS (`funcpipe local up`)")
    parser.set_defaults(handler=profile)


def _counts(option: str, text: str | None) -> list[int] | None:
    """Ascending positive numbers. Raises UserInputError when ``text`` lists anything else."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) <= 1_000_000 for part in parts):
        raise UserInputError(f"{option} lists positive whole numbers (given: {text}). For example: {option} 1,2,4")
    return sorted({int(part) for part in parts})


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``profile_job``. Raises UserInputError when one cannot be used."""
    if args.on == "here" and (args.local or args.memory_mb):
        raise UserInputError("--local and --memory-mb belong to --on aws. Add that, or leave them out.")
    options: dict[str, Any] = {"threads": _counts("--threads", args.threads)}
    if options["threads"] and options["threads"][0] != 1:
        raise UserInputError(
            f"--threads must begin with 1, which all other speeds are told by (given: {args.threads}). "
            f"For example: --threads 1,{args.threads}"
        )
    own = args.micro_batch_sizes == "own"
    options["micro_batch_sizes"] = [] if own else _counts("--micro-batch-sizes", args.micro_batch_sizes)
    if args.max_fit_error is not None:
        options["max_fit_error"] = positive("--max-fit-error", args.max_fit_error, "0.1")
    return options


def _on_aws(args: argparse.Namespace, job: "Job", screen: "Screen") -> "Elsewhere":
    """What has functions measure. Raises UserInputError when an option cannot be used."""
    from launch.profiling import measure_on_aws
    from runtime.limits import LAMBDA_MAX_MEMORY_MB, LAMBDA_MIN_MEMORY_MB

    memory_mb = _counts("--memory-mb", args.memory_mb) or sorted(job.limits.memory_mb)
    if wrong := [size for size in memory_mb if not LAMBDA_MIN_MEMORY_MB <= size <= LAMBDA_MAX_MEMORY_MB]:
        raise UserInputError(
            f"--memory-mb lists sizes from {LAMBDA_MIN_MEMORY_MB} to {LAMBDA_MAX_MEMORY_MB:,} (given: {wrong[0]})."
        )
    source = job.source_folder(args.job)
    return lambda task, largest: measure_on_aws(
        job,
        source,
        task,
        largest,
        memory_mb=memory_mb,
        packaging="zip" if args.local else "image",
        say=screen.info,
        at_once=1 if args.local else None,  # the local AWS's functions share this machine's cores
    )


def measure(job: "Job", job_path: Path, output: Path, screen: "Screen", **options: Any) -> "Profile":
    """Profiles the job and writes ``output``; ``options`` are ``profile_job``'s. What the user's factories print goes
    to stderr."""
    from cli.files import check_output, write_text
    from planner.profile import profile_job

    source = job.source_folder(job_path)
    check_output(output, source)
    screen.info(f"profiling {job.name}: each layer on {job.training.micro_batch_size} samples ...")
    with redirect_stdout(sys.stderr):
        measured = profile_job(job, source, **options)
    write_text(output, measured.to_json())
    return measured


def profile(args: argparse.Namespace, screen: "Screen") -> int:
    from cli.runs import aws_environment
    from planner.job import load_job

    options = _options(args)
    job = load_job(args.job)
    if args.on == "aws":
        options["elsewhere"] = _on_aws(args, job, screen)
    output: Path = args.output or args.job.parent / "profile.json"
    with aws_environment(args.local) if args.on == "aws" else nullcontext():
        measured = measure(job, args.job, output, screen, **options)
    document = {"profile": str(output), "sha256": measured.sha256, **measured.document()}
    screen.result(document, _view(measured))
    screen.info(f"wrote {output}; next: funcpipe plan {args.job} --profile {output}")
    return 0


def _view(measured: "Profile") -> "Group":
    from rich.console import Group

    return Group(_table(measured), *_summary(measured))


def _columns(measured: "Profile") -> list[str]:
    """What each figure of a list was measured with."""
    if measured.memory_mb is not None:
        return [f"at {size:,} MB" for size in measured.memory_mb]
    return ["with 1 thread" if count == 1 else f"with {count} threads" for count in measured.threads]


def _summary(measured: "Profile") -> list[str]:
    whole = [
        sum(layer.forward_s[at] + layer.backward_s[at] for layer in measured.layers) + measured.loss_profile.seconds[at]
        for at in range(len(measured.threads))
    ]
    lines = [
        "all layers and the loss: "
        + ", ".join(f"{seconds * 1e3:.4g} ms {way}" for seconds, way in zip(whole, _columns(measured), strict=True)),
        f"a worker's base memory is {(measured.base_bytes + measured.library_bytes) / 2**20:,.0f} MB"
        + (f", the peak while profiling {measured.peak_bytes / 2**20:,.0f} MB" if measured.peak_bytes else ""),
    ]
    sizes = measured.sizes
    if sizes is None:
        lines.append(f"holds for micro-batches of {measured.micro_batch_size} samples only")
    else:
        lines.append(
            f"holds for micro-batches of {sizes.measured[0]} to {sizes.measured[-1]} samples: lines miss those of "
            f"{sizes.held_out}, held out, by {sizes.time_error:.1%} of the time and {sizes.bytes_error:.1%} of bytes"
        )
    return lines


def _milliseconds(seconds: float, spread: "list[float] | None") -> str:
    shown = f"{seconds * 1e3:.2f}"
    return shown if spread is None else f"{shown} ± {spread[0] * 1e3:.2f}"


def _table(measured: "Profile") -> "FittingTable":
    from cli.tables import FittingTable

    table = FittingTable(title=f"one micro-batch of {measured.micro_batch_size} samples, {_columns(measured)[0]}")
    table.add_column("layer")
    for heading in ("forward ms", "backward ms", "output kB", "kept kB", "parameters kB"):
        table.add_column(heading, justify="right")
    for index, layer in enumerate(measured.layers):
        table.add_row(
            f"{index} {layer.module}",
            _milliseconds(layer.forward_s[0], layer.forward_iqr_s),
            _milliseconds(layer.backward_s[0], layer.backward_iqr_s),
            f"{layer.output_bytes / 1024:,.1f}",
            f"{layer.activation_bytes / 1024:,.1f}",
            f"{layer.parameter_bytes / 1024:,.1f}",
        )
    return table
