"""``python -m bench``: lists what can be measured; ``python -m bench NAME [--json]`` measures it.

The exit status says only whether it ran: 0; 1 when it failed; 2 when the arguments cannot be used.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence

from bench import detection, merging, overhead, pipeline, planner, plans, prediction, scatter_reduce, synth
from runtime.errors import FuncpipeError

BENCHES = (scatter_reduce, pipeline, overhead, synth, planner, merging, plans, prediction, detection)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measurements; see bench/README.md.")
    commands = parser.add_subparsers(dest="bench", metavar="NAME")
    for bench in BENCHES:
        bench.add_command(commands)
    return parser


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside, too, a bench leaves nothing running
    sys.exit(main())
