"""``funcpipe init``: a commented job, with a small model and data set that it trains as they are."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.screen import Screen

EXAMPLE = """\
example:
  funcpipe init mymodel
  funcpipe plan mymodel/job.toml
  funcpipe run mymodel/manifest.json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "init",
        help="write a commented job file, a model and data to start from",
        description="Writes job.toml (commented), model.py and data.py. Never overwrites a file.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="where to (default: here)")
    parser.set_defaults(handler=init)


def init(args: argparse.Namespace, screen: "Screen") -> int:
    """Writes the files, or none when one of them is there."""
    from cli.files import write_text
    from planner.job_template import DATA_TEMPLATE, JOB_TEMPLATE, MODEL_TEMPLATE
    from runtime.errors import UserInputError

    files = {"job.toml": JOB_TEMPLATE, "model.py": MODEL_TEMPLATE, "data.py": DATA_TEMPLATE}
    folder: Path = args.folder
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise UserInputError(
            f"{folder / there[0]} exists, and init overwrites nothing. Name another folder: funcpipe init FOLDER."
        )
    for name, text in files.items():
        write_text(folder / name, text)
    job = folder / "job.toml"
    screen.result(
        {"folder": str(folder), "files": [str(folder / name) for name in files]},
        f"wrote {', '.join(files)} in {folder}\nnext: funcpipe plan {job}",
    )
    return 0
