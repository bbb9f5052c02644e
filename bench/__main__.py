"""``python -m bench``: lists what can be measured; ``python -m bench NAME [--json]`` measures it.

The exit status says only whether it ran: 0; 1 when it failed; 2 when the arguments cannot be used.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from bench import scatter_reduce, synth
from bench.report import Report
from runtime.errors import FuncpipeError

Progress = Callable[[str], None]


def _scatter_reduce(options: argparse.Namespace, progress: Progress) -> Report:
    setting = scatter_reduce.Setting(
        replicas=tuple(options.replicas),
        gradient_mib=options.mib,
        mib_s=options.mib_s,
        latency_s=options.latency_ms / 1000,
        repeats=options.repeats,
    )
    return scatter_reduce.run(setting, progress)


def _synth(options: argparse.Namespace, progress: Progress) -> Report:
    setting = synth.Setting(stages=tuple(options.stages), replicas=options.replicas, repeats=options.repeats)
    return synth.run(setting, progress)


def _at_least(least: float, kind: type[int] | type[float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least:g} (given: {text})")
        return value

    convert.__name__ = kind.__name__
    return convert


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measurements of the runtime; see bench/README.md."
    )
    commands = parser.add_subparsers(dest="bench", metavar="NAME")
    default = scatter_reduce.Setting()
    command = commands.add_parser(
        "scatter-reduce",
        help="ways to sum gradients over replicas, beside their formulae and the bound (about 5 minutes)",
        epilog="example: python -m bench scatter-reduce --json > scatter-reduce.json",
    )
    command.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
    command.add_argument("--replicas", type=_at_least(2, int), nargs="+", default=list(default.replicas), metavar="N")
    command.add_argument(
        "--mib", type=_at_least(0.25, float), default=default.gradient_mib, help="gradients of a replica, MiB"
    )
    command.add_argument(
        "--mib-s", type=_at_least(0.1, float), default=default.mib_s, help="of a link in each direction, MiB/s"
    )
    command.add_argument(
        "--latency-ms", type=_at_least(0, float), default=default.latency_s * 1000, help="of a request, ms"
    )
    command.add_argument(
        "--repeats", type=_at_least(1, int), default=default.repeats, help="of which medians are taken"
    )
    command.set_defaults(run=_scatter_reduce)
    _add_synth(commands)
    return parser


def _add_synth(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    default = synth.Setting()
    command = commands.add_parser(
        "synth",
        help="`cdk synth` by number of stages (about a minute)",
        epilog="example: python -m bench synth --json > synth.json",
    )
    command.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
    command.add_argument("--stages", type=_at_least(1, int), nargs="+", default=list(default.stages), metavar="N")
    command.add_argument("--replicas", type=_at_least(1, int), default=default.replicas, help="of each stage")
    command.add_argument(
        "--repeats", type=_at_least(1, int), default=default.repeats, help="of which medians are taken"
    )
    command.set_defaults(run=_synth)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one bench; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.bench is None:
        parser.print_help()
        return 0
    try:
        report = options.run(options, lambda text: print(text, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    except (FuncpipeError, AssertionError) as error:
        print(f"bench {options.bench}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report.to_dict(), indent=2) if options.json else "\n".join(report.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
