"""``funcpipe profile``: measures a job's layers on this machine."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.screen import Screen
    from cli.tables import FittingTable
    from planner.job import Job
    from planner.profile_format import Profile

EXAMPLE = """\
example:
  funcpipe profile examples/digits/job.toml -o build/digits/profile.json
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
    parser.set_defaults(handler=profile)


def measure(job: "Job", job_path: Path, output: Path, screen: "Screen") -> "Profile":
    """Profiles the job and writes ``output``. What the user's factories print goes to stderr."""
    from cli.files import check_output, write_text
    from planner.profile import profile_job

    source = job.source_folder(job_path)
    check_output(output, source)
    screen.info(f"profiling {job.name}: each layer on {job.training.micro_batch_size} samples ...")
    with redirect_stdout(sys.stderr):
        measured = profile_job(job, source)
    write_text(output, measured.to_json())
    return measured


def profile(args: argparse.Namespace, screen: "Screen") -> int:
    from planner.job import load_job

    job = load_job(args.job)
    output: Path = args.output or args.job.parent / "profile.json"
    measured = measure(job, args.job, output, screen)
    document = {"profile": str(output), "sha256": measured.sha256, **measured.model_dump(mode="json")}
    screen.result(document, _table(measured))
    screen.info(f"wrote {output}; next: funcpipe plan {args.job} --profile {output}")
    return 0


def _table(measured: "Profile") -> "FittingTable":
    from cli.tables import FittingTable

    table = FittingTable(
        title=f"one micro-batch of {measured.micro_batch_size} samples, 1 thread; "
        f"a worker's base memory is {measured.base_bytes / 2**20:,.0f} MB"
    )
    table.add_column("layer")
    for heading in ("forward ms", "backward ms", "output kB", "kept kB", "parameters kB"):
        table.add_column(heading, justify="right")
    for index, layer in enumerate(measured.layers):
        table.add_row(
            f"{index} {layer.module}",
            f"{layer.forward_s[0] * 1e3:.2f}",
            f"{layer.backward_s[0] * 1e3:.2f}",
            f"{layer.output_bytes / 1024:,.1f}",
            f"{layer.activation_bytes / 1024:,.1f}",
            f"{layer.parameter_bytes / 1024:,.1f}",
        )
    return table
