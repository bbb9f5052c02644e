"""``funcpipe plan``: a job becomes a manifest."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

    from cli.screen import Screen
    from runtime.manifest import Manifest

EXAMPLE = """\
example:
  funcpipe plan examples/digits/job.toml -o build/digits/manifest.json
"""


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
        help="aws-lambda, aws-lambda-scaled (raised network quota) or embedded (default: %(default)s)",
    )
    parser.set_defaults(handler=plan)


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
    manifest = make_plan(job, args.job, profile, platform, output)
    write_text(output, manifest.to_json())
    if manifest.predicted.gap > 0:
        screen.warn(f"the solver's time ran out: the plan may be {manifest.predicted.gap:.1%} worse than the best one")
    screen.result(
        {"manifest": str(output), "sha256": manifest.sha256, **manifest.model_dump(mode="json")}, _view(manifest)
    )
    screen.info(f"wrote {output}; next: funcpipe explain {output}, or funcpipe run {output}")
    return 0


def _view(manifest: "Manifest") -> "Group":
    from rich.console import Group
    from rich.table import Table

    from cli.progress import spending_line

    table = Table(title=f"{manifest.name} on {manifest.platform}: {manifest.workers} workers")
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
        f"{total.usd_total:.3g} USD\n{spending_line(spending.budget_usd, spending.segment_at_most_usd)}"
    )
    return Group(table, text)
