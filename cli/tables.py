"""Tables that stay readable in a narrow terminal: where the columns do not fit, each row becomes a short list.

stage │ layers │ memory MB         stage  0
──────┼────────┼──────────           layers     0-2
0     │ 0-2    │     1,769           memory MB  1,769
"""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Column, Table
from rich.text import Text


def _widths(column: Column) -> tuple[int, int]:
    """Of its longest word, and of its longest text."""
    texts = [str(text) for text in (column.header, *column.cells)]
    return max(cell_len(word) for text in texts for word in (text.split() or [""])), max(map(cell_len, texts))


class FittingTable(Table):
    """A table of texts. Columns give way down to their longest word; where that is too wide, lists are drawn."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [_widths(column) for column in self.columns]
        between = self._extra_width + 2 * len(widths)
        spare = options.max_width - between - sum(shortest for shortest, _ in widths)
        if spare < 0:
            yield Group(*self._lists())
            return
        for column, (shortest, longest) in zip(self.columns, widths, strict=True):
            column.width = shortest + min(spare, longest - shortest)
            spare -= column.width - shortest
        yield from super().__rich_console__(console, options)

    def _lists(self) -> Iterator[RenderableType]:
        if self.title is not None:
            yield Text(str(self.title), style=self.title_style or "table.title")
        first, *others = self.columns
        heads = [f"  {column.header}" for column in others]
        for key, *values in zip(*(column.cells for column in self.columns), strict=True):
            yield Text(f"{first.header}  {key}" if first.header else str(key), style="bold")
            entries = Table.grid(padding=(0, 2))
            entries.add_column(min_width=max(map(cell_len, heads)))
            entries.add_column(overflow="fold")
            for head, value in zip(heads, values, strict=True):
                if value:
                    entries.add_row(head, value)
            yield entries
