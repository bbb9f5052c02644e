"""``funcpipe frontier``: how fast and how cheap a job can be trained, as a table, JSON and a picture."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

    from cli.screen import Screen
    from planner.choice import Choices

EXAMPLE = """\
example:
  funcpipe frontier examples/digits/job.toml --profile build/digits/profile.json --plot frontier.svg
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "frontier",
        help="show the plans that no other is both faster and cheaper than",
        description="Finds the cost/time frontier of a job. Nothing is run.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", type=Path, metavar="JOB", help="job file (TOML)")
    parser.add_argument("--profile", type=Path, help="default: profile.json beside the job")
    parser.add_argument(
        "--platform",
        default="aws-lambda",
        metavar="NAME|FILE",
        help="as for `funcpipe plan` (default: %(default)s)",
    )
    parser.add_argument("--max-concurrency", metavar="N", type=int, help="instead of the job's limits.max_concurrency")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="also draw it, with the baselines")
    parser.set_defaults(handler=frontier)


def frontier(args: argparse.Namespace, screen: "Screen") -> int:
    from cli.files import check_output, write_text
    from cli.plan import load_planning
    from planner.baselines import Planned, find_baselines, planned
    from planner.choice import find_choices
    from planner.plot import Mark, frontier_svg
    from planner.variants import job_problems

    job, profile, platform = load_planning(args)
    if args.plot is not None:
        check_output(args.plot, job.source_folder(args.job))
    choices = find_choices(job, job_problems(job, profile, platform))
    if args.plot is not None:
        others = [way for way in find_baselines(job, profile, platform) if isinstance(way, Planned)]
        picture = frontier_svg(
            f"{job.name} on {platform.name}",
            [Mark(run.total_s, run.usd) for run in choices.runs],
            [Mark(way.total_s, way.usd, way.name) for way in others],
        )
        write_text(args.plot, picture)
    points = [
        {
            "total_s": run.total_s,
            "usd": run.usd,
            "iteration_s": run.forecast.iteration_s,
            "segments": run.segments,
            "workers": run.forecast.workers,
            "stages": planned("", run).what,
        }
        for run in choices.runs
    ]
    document = {"job": job.name, "platform": platform.name, "tolerance": choices.tolerance, "points": points}
    screen.result(document, _view(job.name, choices))
    if args.plot is not None:
        screen.info(f"wrote {args.plot}")
    return 0


def _view(name: str, choices: "Choices") -> "Group":
    from rich.console import Group

    from cli.tables import FittingTable
    from planner.baselines import planned
    from planner.choice import duration_text

    table = FittingTable(title=f"{name}: from fast to cheap")
    for heading in ("time", "USD", "s/iteration", "workers"):
        table.add_column(heading, justify="right")
    table.add_column("stages")
    for run in choices.runs:
        table.add_row(
            duration_text(run.total_s),
            f"{run.usd:.3g}",
            f"{run.forecast.iteration_s:.3g}",
            str(run.forecast.workers),
            planned("", run).what,
        )
    proof = "The search ran out of time: better plans may exist."
    if math.isfinite(choices.tolerance):
        most = f"{choices.tolerance:.1%}"
        proof = f"By the planner's closed form no other plan is more than {most} faster and cheaper at once."
    return Group(table, proof, "Times and USD are of the whole run, by simulation.")
