from rich.console import Console

from cli.tables import FittingTable


def drawn(width: int) -> list[str]:
    table = FittingTable(title="two stages")
    for heading in ("stage", "layers", "memory MB", "binding"):
        table.add_column(heading)
    table.add_row("0", "0-2", "1,769", "synchronise")
    table.add_row("1", "3", "", "upload")
    console = Console(width=width, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_columns_that_fit_are_a_table():
    lines = drawn(60)
    assert lines[0].strip() == "two stages"
    assert lines[-3].split("│")[1:5] == [" 0     ", " 0-2    ", " 1,769     ", " synchronise "]


def test_headings_may_wrap_between_words():
    lines = drawn(42)
    assert any("memory" in line and "MB" not in line for line in lines)
    assert any("synchronise" in line for line in lines)


def test_columns_that_do_not_fit_become_lists_without_empty_entries():
    assert drawn(30) == [
        "two stages",
        "stage  0",
        "  layers     0-2",
        "  memory MB  1,769",
        "  binding    synchronise",
        "stage  1",
        "  layers     3",
        "  binding    upload",
    ]


def test_no_line_is_wider_than_the_screen():
    assert all(len(line) <= 30 for line in drawn(30))
