"""``funcpipe explain``: why a plan is as it is, and what it costs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

    from cli.screen import Screen
    from cli.tables import FittingTable
    from planner.explain import Explanation, NextPlan
    from planner.pricing import Bill

EXAMPLE = """\
example:
  funcpipe explain build/digits/manifest.json --job examples/digits/job.toml
  funcpipe explain manifest.json --markdown > comment.md   # for a pull request
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "explain",
        help="show what binds each stage, memory by item, the bill, the next best plan",
        description="Explains a manifest from the profile and the job that it was made from.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="as `funcpipe plan` wrote it")
    parser.add_argument("--profile", type=Path, help="default: profile.json beside the manifest")
    parser.add_argument("--job", type=Path, help="also search for the next best plan (default: job.toml beside it)")
    parser.add_argument("--platform", metavar="FILE", help="the plan's platform, where that is a file")
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a pull request")
    parser.set_defaults(handler=explain)


def explain(args: argparse.Namespace, screen: "Screen") -> int:
    from cli.explain_markdown import markdown
    from planner.explain import explain as explain_plan
    from planner.job import load_job
    from planner.platforms import find_platform
    from planner.profile_format import load_profile
    from runtime.manifest import load_manifest

    manifest = load_manifest(args.manifest)
    profile = load_profile(args.profile or args.manifest.parent / "profile.json")
    beside = args.manifest.parent / "job.toml"
    job = None
    if args.job is not None:
        job = load_job(args.job)
    elif beside.exists() and (found := load_job(beside)).sha256 == manifest.hashes.job:
        job = found
    platform = None if args.platform is None else find_platform(args.platform)
    if job is not None:
        screen.info("searching for the next best plan ...")
    explanation = explain_plan(manifest, profile, job, platform)
    screen.result(explanation.to_dict(), markdown(explanation) if args.markdown else _view(explanation))
    return 0


def _view(explanation: "Explanation") -> "Group":
    from rich.console import Group

    from cli.progress import spending_line

    parts: list[object] = [_lanes(explanation), _memory(explanation)]
    slowest = explanation.stages[explanation.slowest_stage]
    parts.append(
        f"The slowest lane is {slowest.binding} of stage {slowest.index}. An iteration takes "
        f"{explanation.iteration_s:.3g} s by simulation; {explanation.iterations} of them in {explanation.segments} "
        f"segment(s), each with {explanation.segment_overhead_s:.0f} s of start-up and checkpoint, "
        f"{explanation.total_s:,.0f} s. "
        f"{spending_line(explanation.budget_usd, explanation.attempt_at_most_usd)}.\n"
    )
    parts += [_bill("one iteration", explanation.iteration_bill), _bill("the run", explanation.run_bill)]
    parts.append(f"{proven(explanation)}\n")
    parts.append(_next(explanation.next_best) if explanation.next_best else explanation.next_best_note)
    return Group(*parts)  # type: ignore[arg-type]


def _lanes(explanation: "Explanation") -> "FittingTable":
    from cli.tables import FittingTable

    table = FittingTable(title=f"{explanation.name} on {explanation.platform}: seconds per iteration and worker")
    for heading in ("stage", "layers"):
        table.add_column(heading)
    for heading in ("memory MB", "replicas", "download", "compute", "upload", "synchronise"):
        table.add_column(heading, justify="right")
    table.add_column("summed by")
    table.add_column("binding")
    for stage in explanation.stages:
        table.add_row(
            str(stage.index),
            stage.layers.removeprefix("layers ").removeprefix("layer "),
            f"{stage.memory_mb:,}",
            str(stage.replicas),
            *(f"{seconds:.3g}" for seconds in stage.lanes_s.values()),
            stage.algorithm.replace("_", "-"),
            stage.binding,
        )
    return table


def _memory(explanation: "Explanation") -> "FittingTable":
    from cli.tables import FittingTable

    table = FittingTable(title="memory of one worker, MB")
    table.add_column("item")
    for stage in explanation.stages:
        table.add_column(f"stage {stage.index}", justify="right")
    for item in explanation.stages[0].memory_items_mb:
        table.add_row(item, *(f"{stage.memory_items_mb[item]:,.1f}" for stage in explanation.stages))
    table.add_section()
    table.add_row("predicted peak", *(f"{stage.predicted_mb:,.0f}" for stage in explanation.stages))
    table.add_row(
        f"with {explanation.head_room:.0%} head-room", *(f"{stage.needed_mb:,.0f}" for stage in explanation.stages)
    )
    table.add_row("memory size", *(f"{stage.memory_mb:,}" for stage in explanation.stages))
    return table


def _bill(what: str, bill: "Bill") -> "FittingTable":
    from cli.tables import FittingTable

    table = FittingTable(title=f"{what}: {bill.total_usd:.3g} USD")
    table.add_column("item")
    for heading in ("quantity", "unit", "USD per unit", "USD"):
        table.add_column(heading, justify="right")
    for line in bill.lines:
        table.add_row(line.item, f"{line.quantity:,.4g}", line.unit, f"{line.unit_usd:.4g}", f"{line.usd:.3g}")
    return table


def proven(explanation: "Explanation") -> str:
    """How much better other plans may be."""
    from cli.plan import BETTER

    loss = explanation.merging_loss
    text = f"Proven: no other plan that was searched for is better by more than {explanation.gap:.1%}"
    if loss:
        text += f"; layers were merged for that, and with other cuts none is more than {loss:.1%} "
        text += BETTER[explanation.quantity]
    elif loss is None:
        text += "; what merging layers may have cost is not known"
    return f"{text}."


def _next(plan: "NextPlan") -> str:
    worse = plan.objective / plan.chosen_objective - 1 if plan.chosen_objective else 0.0
    other = (
        f"The next best plan is {worse:.2%} worse"
        if worse >= 0
        else f"By the job's own objective another plan is {-worse:.2%} better (this one was asked for otherwise),"
    )
    proof = "" if plan.gap == 0 else f" (the search was cut short; a better one may exist, by {plan.gap:.1%} at most)"
    return (
        f"{other} by the closed form that the solver uses{proof}:\n  "
        + "\n  ".join(plan.stages)
        + f"\n  {plan.iteration_s:.3g} s and {plan.usd_per_iteration:.3g} USD per iteration, "
        f"objective {plan.objective:.4g} (chosen plan: {plan.chosen_objective:.4g})"
    )
