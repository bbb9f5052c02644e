"""``funcpipe plan``: a job becomes a manifest."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from cli.numbers import positive

if TYPE_CHECKING:
    from rich.console import Group

    from cli.screen import Screen
    from planner.choice import Asked
    from planner.job import Job
    from planner.platforms import Platform
    from planner.profile_format import Profile
    from runtime.manifest import Manifest, Prediction

EXAMPLE = """\
example:
  funcpipe plan examples/digits/job.toml -o build/digits/manifest.json
  funcpipe plan job.toml --profile profile.json --deadline 2h --optimize cost
"""


PLATFORM_HELP = (
    "aws-lambda, aws-lambda-scaled (raised network quota), aws-lambda-express, embedded, local, or a file that "
    "`funcpipe calibrate` wrote (default: %(default)s)"
)
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "plan",
        help="choose cuts, memory sizes and replicas; write the manifest",
        description="Chooses the best plan for a job. Profiles the model first when no profile is given.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", type=Path, metavar="JOB", help="job file (TOML)")
    parser.add_argument("-o", "--output", type=Path, help="manifest to write (default: manifest.json beside the job)")
    parser.add_argument(
        "--profile", type=Path, help="measured before (default: measure now, write profile.json beside the manifest)"
    )
    parser.add_argument(
        "--platform",
        default="aws-lambda",
        metavar="NAME|FILE",
        help=PLATFORM_HELP,
    )
    add_asked(parser)
    parser.set_defaults(handler=plan)


def add_asked(parser: argparse.ArgumentParser) -> None:
    """The options for what a whole run may take and cost."""
    parser.add_argument("--deadline", metavar="TIME", help="of the whole run: seconds, or 90s, 45m, 2h, 1h30m")
    parser.add_argument("--budget", metavar="USD", help="of the whole run")
    parser.add_argument(
        "--optimize",
        choices=["time", "cost", "balanced"],
        help="instead of the job's objective (default with --deadline: cost; with --budget alone: time)",
    )
    parser.add_argument("--max-concurrency", metavar="N", type=int, help="instead of the job's limits.max_concurrency")


def load_planning(args: argparse.Namespace) -> "tuple[Job, Profile, Platform]":
    """Job (with ``--max-concurrency``), profile and platform of a command that plans without writing a manifest.

    Raises:
        UserInputError: one of them cannot be used, or the profile is of something else.
    """
    from planner.choice import with_limits
    from planner.job import load_job
    from planner.plan import check_profile
    from planner.platforms import find_platform
    from planner.profile_format import load_profile
    from runtime.source import source_sha256

    job = load_job(args.job)
    platform = find_platform(args.platform)
    profile = load_profile(args.profile or args.job.parent / "profile.json")
    check_profile(job, profile, source_sha256(job.source_folder(args.job)))
    if args.max_concurrency is not None:
        job = with_limits(job, max_concurrency=args.max_concurrency)
    return job, profile, platform


def asked_of(args: argparse.Namespace) -> "Asked":
    """What the options say. Raises UserInputError when they are not positive numbers."""
    from planner.choice import Asked, Optimize

    return Asked(
        deadline_s=None if args.deadline is None else _seconds(args.deadline),
        budget_usd=None if args.budget is None else positive("--budget", args.budget, "5"),
        optimize=None if args.optimize is None else Optimize(args.optimize),
    )


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None or not text.strip():
        return positive("--deadline", text, "2h")
    seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))
    return positive("--deadline", str(seconds), "2h")


def plan(args: argparse.Namespace, screen: "Screen") -> int:
    from cli.files import check_output, write_text
    from cli.profile import measure
    from planner.job import load_job
    from planner.plan import make_plan
    from planner.platforms import find_platform
    from planner.profile_format import load_profile

    job = load_job(args.job)
    platform = find_platform(args.platform)
    output: Path = args.output or args.job.parent / "manifest.json"
    check_output(output, job.source_folder(args.job))
    if args.profile is not None:
        profile = load_profile(args.profile)
    else:
        profile = measure(job, args.job, output.parent / "profile.json", screen)
    manifest = make_plan(
        job, args.job, profile, platform, output, asked=asked_of(args), max_concurrency=args.max_concurrency
    )
    write_text(output, manifest.to_json())
    if platform.warning:
        screen.warn(platform.warning)
    if manifest.predicted.gap > 0 and not asked_of(args).anything:
        screen.warn(f"the solver's time ran out: the plan may be {manifest.predicted.gap:.1%} worse than the best one")
    screen.result(
        {"manifest": str(output), "sha256": manifest.sha256, **manifest.model_dump(mode="json")}, _view(manifest)
    )
    screen.info(f"wrote {output}; next: funcpipe explain {output}, or funcpipe run {output}")
    return 0


BETTER = {
    "objective": "better by the job's objective",
    "usd": "cheaper",
    "seconds": "faster",
    "usd_times_seconds": "better by USD times seconds",
}
"""What a plan with less of a manifest's ``predicted.quantity`` is."""


def merging_line(predicted: "Prediction") -> str:
    """What merging layers may have cost; nothing where none were merged, or it is not known."""
    if not predicted.merging_loss:
        return ""
    return (
        "layers were merged for the search: by the planner's closed form a plan with other cuts is at most "
        f"{predicted.merging_loss:.1%} {BETTER[predicted.quantity]}\n"
    )


def _view(manifest: "Manifest") -> "Group":
    from rich.console import Group

    from cli.progress import spending_line
    from cli.tables import FittingTable

    table = FittingTable(title=f"{manifest.name} on {manifest.platform}: {manifest.workers} workers")
    table.add_column("stage")
    table.add_column("layers")
    for heading in ("memory MB", "replicas", "compute s", "down s", "up s", "sync s", "peak MB"):
        table.add_column(heading, justify="right")
    for index, stage in enumerate(manifest.stages):
        predicted = stage.predicted
        table.add_row(
            str(index),
            stage.layers_label.removeprefix("layers ").removeprefix("layer "),
            f"{stage.memory_mb:,}",
            str(stage.replicas),
            f"{predicted.compute_s:.3g}",
            f"{predicted.download_s:.3g}",
            f"{predicted.upload_s:.3g}",
            f"{predicted.synchronise_s:.3g}",
            f"{predicted.memory_mb:,.0f}",
        )
    total, spending = manifest.predicted, manifest.spending
    text = (
        f"predicted: {total.iteration_s:.3g} s and {total.usd_per_iteration:.3g} USD per iteration; "
        f"{manifest.iterations} iterations in {manifest.segments} segment(s): {total.total_s:,.0f} s, "
        f"{total.usd_total:.3g} USD\n{merging_line(total)}"
        f"{spending_line(spending.budget_usd, spending.segment_at_most_usd)}"
    )
    return Group(table, text)
