"""A run's progress: a live display on a terminal, plain lines elsewhere; and how it ended, in words."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from cli.screen import Screen, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from launch.status import RunStatus
    from runtime.records import Failure


def duration(seconds: float) -> str:
    """'8 s', '2 min 05 s', '3 h 07 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def usd(amount: float) -> str:
    """An amount of money: cents where they say enough, else two significant digits."""
    return f"{amount:.2f} USD" if amount >= 1 else f"{amount:.2g} USD" if amount >= 1e-4 else f"{amount:.6f} USD"


def spending_line(budget_usd: float | None, attempt_at_most_usd: float) -> str:
    """What keeps a plan's runs from costing more, and by how much they may."""
    budget = "No budget_usd" if budget_usd is None else f"Budget: {usd(budget_usd)}"
    return f"{budget}; one attempt at a segment costs {usd(attempt_at_most_usd)} at worst"


def facts(status: "RunStatus") -> list[str]:
    """What a progress line tells besides iterations."""
    parts = [f"segment {status.segment + 1}/{status.segments}"]
    if status.attempt:
        parts.append(f"attempt {status.attempt + 1}")
    if status.loss is not None:
        parts.insert(0, f"loss {'~' if status.loss_is_approximate else ''}{status.loss:.4g}")
    parts.append("workers " + " ".join(f"{s.alive + s.finished}/{s.expected}" for s in status.stages))
    if status.failures:
        parts.append(f"{len(status.failures)} failed")
    if status.eta_s is not None:
        parts.append(f"ETA {duration(status.eta_s)}")
    parts.append(usd(status.usd_so_far))
    return parts


def plain_line(status: "RunStatus") -> str:
    """One line of progress for a file or a pipe."""
    return f"{status.run}: {status.iterations_done}/{status.iterations_total} iterations, {', '.join(facts(status))}"


def describe_failure(failure: "Failure") -> str:
    """Who failed, where in its work, and the traceback."""
    event = failure.event
    where = f"stage {event.stage}, replica {event.replica}"
    iteration = "before its first iteration" if failure.iteration is None else f"iteration {failure.iteration}"
    instruction = f", instruction {failure.instruction}" if failure.instruction else ""
    lines = [
        f"{where}, {iteration}{instruction} (segment {event.segment}, attempt {event.attempt}, {failure.kind}):",
        *(f"  {line}" for line in failure.error.splitlines()),
        *(f"  | {line}" for line in failure.traceback.rstrip().splitlines()),
    ]
    return printable("\n".join(lines))


def describe_saved(run: str, committed_iteration: int, iterations_total: int) -> str:
    """What of a run that did not end by itself is left, and how to get it."""
    if committed_iteration == 0:
        return "No iteration is saved: the first checkpoint comes at the end of a segment."
    return (
        f"{committed_iteration} of {iterations_total} iterations are saved; "
        f"`funcpipe export {run} -o weights.safetensors` gets their weights, --resume {run} goes on from there."
    )


def describe_end(status: "RunStatus") -> str:
    """How the run ended, and what of it is saved."""
    from launch.status import RunState

    saved = describe_saved(status.run, status.committed_iteration, status.iterations_total)
    if status.state is RunState.DONE:
        loss = "" if status.loss is None else f", last loss {status.loss:.4g}"
        return f"{status.run}: done, {status.iterations_total} iterations{loss}, {usd(status.usd_so_far)} of compute."
    if status.state is RunState.STOPPED:
        return f"{status.run}: {status.message or 'stopped'}. {saved}"
    lines = [f"{status.run}: failed. {saved}"]
    if status.failures:
        lines += [describe_failure(failure) for failure in status.failures]
    elif status.message:
        lines.append(printable(status.message))
    return "\n".join(lines)


class ProgressView:
    """Shows statuses one after the other; a context manager, since a live display must be put away again."""

    def __init__(self, screen: Screen) -> None:
        self._console = screen.progress_console
        self._live: Live | None = None
        self._last_line = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: "RunStatus") -> None:
        if self._live is not None:
            self._live.update(_display(status), refresh=True)
            return
        line = plain_line(status)
        # Time and money go on by themselves; only a change of the run itself is worth another line.
        what_changed = line.partition(", ETA")[0]
        if what_changed != self._last_line:
            self._last_line = what_changed
            self._console.print(printable(line), soft_wrap=True)


def _display(status: "RunStatus") -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(no_wrap=True, overflow="ellipsis", ratio=2)
    head.add_column(ratio=3)
    head.add_column(no_wrap=True, justify="right")
    head.add_row(
        Text(status.run, style="bold"),
        ProgressBar(total=status.iterations_total, completed=status.iterations_done),
        Text(f"{status.iterations_done}/{status.iterations_total}"),
    )
    lines = [head, Text("  " + "  ·  ".join(facts(status)), style="dim")]
    if status.failures:
        lines.append(Text(f"  {describe_failure(status.failures[0]).splitlines()[0]}", style="red"))
    return Group(*lines)
