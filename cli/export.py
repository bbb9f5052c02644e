"""``funcpipe export``: a run's trained weights as one safetensors file."""

import argparse
from pathlib import Path

from cli.runs import add_local_option, add_run_argument, opened_run, source_of
from cli.screen import Screen

EXAMPLE = """\
example: get the weights, then load them in plain PyTorch
  funcpipe export first -o weights.safetensors
  python -c "from safetensors.torch import load_file; model.load_state_dict(load_file('weights.safetensors'))"
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "export",
        help="write a run's trained weights to a file",
        description="Write the last checkpoint's weights as one safetensors file, under the names of the model's "
        "state_dict. Works while the run goes on, too.",
        epilog=EXAMPLE,
    )
    add_run_argument(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("weights.safetensors"),
        metavar="FILE",
        help="file to write or replace (default: weights.safetensors)",
    )
    add_local_option(parser)
    parser.set_defaults(handler=export)


def export(args: argparse.Namespace, screen: Screen) -> int:
    with opened_run(args) as (entry, store):
        from cli.files import check_output
        from launch.export import export_weights
        from launch.run_records import RunRecords

        check_output(args.output, source_of(entry, RunRecords(store, entry.run).manifest))
        exported = export_weights(store, entry.run, args.output)
    screen.result(
        {"run": entry.run, **exported.to_dict()},
        f"{exported.path}: {exported.tensors} tensors, {exported.parameters:,} numbers, {exported.bytes:,} bytes, "
        f"as of iteration {exported.iteration} of run {entry.run}",
    )
    return 0
