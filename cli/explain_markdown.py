"""The account of a plan as Markdown, for the pull request that brings it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cli.explain import proven
from cli.progress import spending_line

if TYPE_CHECKING:
    from planner.explain import Explanation, NextPlan
    from planner.pricing import Bill


def markdown(explanation: "Explanation") -> str:
    """GitHub's Markdown: the plan and its cost in sight, the details folded."""
    bill = explanation.run_bill
    slowest = explanation.stages[explanation.slowest_stage]
    return "\n".join(
        [
            f"### Plan of `{explanation.name}` on {explanation.platform}",
            "",
            f"**{bill.total_usd:.3g} USD and {explanation.total_s:,.0f} s** for {explanation.iterations} iterations of "
            f"{explanation.iteration_s:.3g} s in {explanation.segments} segment(s), as predicted. "
            f"Slowest: {slowest.binding} of stage {slowest.index}. "
            f"{spending_line(explanation.budget_usd, explanation.attempt_at_most_usd)}.",
            "",
            *_stages(explanation),
            "",
            proven(explanation),
            "",
            *_folded("Bill of the run", _bill(bill)),
            *_folded("Memory of one worker, MB", _memory(explanation)),
            *_folded("Next best plan", _next(explanation)),
        ]
    )


def _stages(explanation: "Explanation") -> list[str]:
    headings = ["stage", "layers", "memory MB", "replicas", "download s", "compute s", "upload s", "synchronise s"]
    rows = [
        [
            str(stage.index),
            stage.layers.removeprefix("layers ").removeprefix("layer "),
            f"{stage.memory_mb:,}",
            str(stage.replicas),
            *(f"**{s:.3g}**" if lane == stage.binding else f"{s:.3g}" for lane, s in stage.lanes_s.items()),
        ]
        for stage in explanation.stages
    ]
    return _table(headings, rows)


def _memory(explanation: "Explanation") -> list[str]:
    stages = explanation.stages
    rows = [[item, *(f"{stage.memory_items_mb[item]:,.1f}" for stage in stages)] for item in stages[0].memory_items_mb]
    rows.append(["predicted peak", *(f"{stage.predicted_mb:,.0f}" for stage in stages)])
    rows.append(
        [f"with {explanation.head_room:.0%} head-room", *(f"{stage.needed_mb:,.0f}" for stage in stages)],
    )
    rows.append(["memory size", *(f"{stage.memory_mb:,}" for stage in stages)])
    return _table(["item", *(f"stage {stage.index}" for stage in stages)], rows)


def _bill(bill: "Bill") -> list[str]:
    rows = [
        [line.item, f"{line.quantity:,.4g}", line.unit, f"{line.unit_usd:.4g}", f"{line.usd:.3g}"]
        for line in bill.lines
    ]
    return _table(
        ["item", "quantity", "unit", "USD per unit", "USD"], [*rows, ["total", "", "", "", f"**{bill.total_usd:.3g}**"]]
    )


def _next(explanation: "Explanation") -> list[str]:
    plan: NextPlan | None = explanation.next_best
    if plan is None:
        return [explanation.next_best_note]
    return [
        *(f"- {stage}" for stage in plan.stages),
        "",
        f"{plan.iteration_s:.3g} s and {plan.usd_per_iteration:.3g} USD per iteration by the closed form; objective "
        f"{plan.objective:.4g}, of the chosen plan {plan.chosen_objective:.4g}.",
    ]


def _folded(title: str, lines: Iterable[str]) -> list[str]:
    # GitHub reads Markdown inside HTML only after an empty line.
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>", ""]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    rule = [":--", *["--:"] * (len(headings) - 1)]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (headings, rule, *rows)]
