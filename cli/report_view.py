"""A run's report as tables for people."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.progress import describe_failure, duration
from cli.tables import FittingTable

if TYPE_CHECKING:
    from launch.report import Report


def quantity_of_bytes(count: float) -> str:
    """'812 B', '3.4 MB', '1.2 GB' (decimal)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f} s" if value < 10 else duration(value)


def _megabytes(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f}"


def _usd(value: float) -> str:
    return f"{value:.6f}" if value >= 5e-7 else f"{value:.1e}"


def _table(title: str, *columns: str, right: tuple[int, ...] = ()) -> FittingTable:
    table = FittingTable(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left", overflow="fold")
    return table


def _overview(report: "Report") -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for name, value in _overview_rows(report):
        table.add_row(Text(name), Text(value))
    return table


def _overview_rows(report: "Report") -> list[tuple[str, str]]:
    timing, traffic = report.timing, report.traffic
    rows = [
        ("run", f"{report.run} ({report.state.value})"),
        ("iterations", f"{report.iterations_done} of {report.iterations_total}, {report.committed_iteration} saved"),
    ]
    if report.evaluation is None:
        rows.append(("held-out data", f"not evaluated: {report.evaluation_note}"))
    else:
        if report.evaluation.accuracy is not None:
            rows.append(("test accuracy", f"{report.evaluation.accuracy:.4f} on {report.evaluation.samples} samples"))
        rows.append(("test loss", f"{report.evaluation.loss:.4f}"))
    if report.training_loss is not None:
        rows.append(("training loss", f"{report.training_loss:.4f} in the last iteration"))
    moved = f"{quantity_of_bytes(traffic.bytes_up)} up, {quantity_of_bytes(traffic.bytes_down)} down"
    fetched = traffic.gets - traffic.empty_gets
    objects = f"{traffic.puts:,} put, {fetched:,} fetched, {traffic.deletes:,} deleted"
    return [
        *rows,
        ("wall time", "not measured" if timing.wall_s is None else duration(timing.wall_s)),
        ("time per iteration", _seconds(timing.measured_iteration_s)),
        ("predicted", f"{_seconds(timing.predicted_iteration_s)} on {report.platform}"),
        ("start-up of a segment", _seconds(timing.start_up_s)),
        ("objects", f"{objects}; {traffic.empty_gets:,} looks in vain"),
        ("bytes moved", moved),
    ]


def _memory(report: "Report") -> FittingTable:
    table = _table(
        "Memory per worker, MB", "stage", "layers", "replicas", "predicted", "measured", "size", right=(2, 3, 4, 5)
    )
    for stage in report.memory:
        table.add_row(
            str(stage.stage),
            stage.layers.partition(" ")[2],
            str(stage.replicas),
            _megabytes(stage.predicted_mb),
            _megabytes(stage.measured_mb),
            f"{stage.memory_mb:,}",
        )
    return table


def _bill(report: "Report") -> FittingTable:
    title = "Cost" if report.kind == "aws" else "The same run on AWS would have cost"
    table = _table(
        f"{title} (list prices of {report.region})", "item", "quantity", "unit price", "USD", right=(1, 2, 3)
    )
    for line in report.bill.lines:
        table.add_row(line.item, f"{line.quantity:,.6g} {line.unit}", f"{line.unit_usd:.4g}", _usd(line.usd))
    table.add_row("total", "", "", f"{report.bill.total_usd:.6f}", style="bold")
    return table


def report_tables(report: "Report") -> RenderableType:
    """The whole report, to be printed."""
    parts: list[RenderableType] = [_overview(report), Text(), _memory(report), Text(), _bill(report)]
    parts.append(Text(f"computed from: {report.bill_basis}."))
    if report.failures:
        parts += [Text(), Text("Failures", style="bold")]
        parts += [Text(describe_failure(failure)) for failure in report.failures]
    elif report.message:
        parts += [Text(), Text(f"ended: {report.message}")]
    return Group(*parts)
