"""``funcpipe compare``: the best plan beside what others would plan, on the same profile."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

    from cli.screen import Screen
    from planner.baselines import Impossible, Planned

EXAMPLE = """\
example:
  funcpipe compare examples/digits/job.toml --profile build/digits/profile.json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from cli.plan import add_asked

    parser = subparsers.add_parser(
        "compare",
        help="show the best plan beside LambdaML, HybridPS, TPDMP, FuncPipe as published, and EC2 instances",
        description="Plans every baseline on the job's profile and costs it by the same simulation. Nothing is run.",
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
    add_asked(parser)
    parser.set_defaults(handler=compare)


def compare(args: argparse.Namespace, screen: "Screen") -> int:
    from cli.plan import asked_of, load_planning
    from planner.baselines import find_baselines, planned, serverless_pays
    from planner.choice import choose

    job, profile, platform = load_planning(args)
    chosen = choose(job, profile, platform, asked_of(args))
    ours = planned("this plan", chosen.run)
    others = find_baselines(job, profile, platform)
    verdict = serverless_pays(ours, others)
    bound = job.limits.min_stages > 1 or job.limits.min_workers > 1
    document = {
        "job": job.name,
        "platform": platform.name,
        "ours": {**asdict(ours), "gap": chosen.gap},
        "baselines": [asdict(other) for other in others],
        "serverless_pays": verdict is None,
    }
    screen.result(document, _view(ours, others, verdict, bound))
    return 0


def _view(ours: "Planned", others: "list[Planned | Impossible]", verdict: str | None, bound: bool) -> "Group":
    from rich.console import Group

    from cli.tables import FittingTable
    from planner.baselines import Impossible

    table = FittingTable(title="the whole run, as predicted")
    table.add_column("plan")
    for heading in ("workers", "s/iteration", "run s", "USD", "time", "cost"):
        table.add_column(heading, justify="right")
    lines = []
    for way in [ours, *others]:
        if isinstance(way, Impossible):
            lines.append(f"{way.name}: impossible: {way.why}")
            continue
        table.add_row(
            way.name,
            str(way.workers),
            f"{way.iteration_s:.3g}",
            f"{way.total_s:,.0f}",
            f"{way.usd:.3g}",
            f"{way.total_s / ours.total_s:.2f}x",
            f"{way.usd / ours.usd:.2f}x" if ours.usd else "",
        )
        lines.append(f"{way.name}: {way.what}")
    if bound:
        lines.append("limits.min_stages and min_workers bind this plan, not the others")
    if verdict is not None:
        lines.append(verdict)
    return Group(table, *lines)
