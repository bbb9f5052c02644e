"""``python -m bench.profiles [MODEL ...]``: measures the models' profiles on this machine and writes them here.

The machine should do nothing else. One model takes one to five minutes on two cores, and up to 5 GB.
"""

import argparse
import json
import sys
from datetime import UTC, datetime

from bench.profiles import MEASURED, MODELS, SOURCE, job_of, measured, profile_path
from bench.report import machine
from planner.profile import profile_job
from runtime.errors import FuncpipeError


def main() -> int:
    """Measures; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.profiles", description="Measures the profiles of bench plans."
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"all, if none is named: {', '.join(MODELS)}")
    names = parser.parse_args().models or list(MODELS)
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"there is no model {unknown[0]!r}; choose of: {', '.join(MODELS)}")
    for name in names:
        about = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
        try:
            profile = profile_job(job_of(name), SOURCE, micro_batch_sizes=[])
        except FuncpipeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        profile_path(name).write_text(profile.to_json())
        known = measured() | {name: about}
        MEASURED.write_text(json.dumps({name: known[name] for name in MODELS if name in known}, indent=2) + "\n")
        seconds = [sum(layer.forward_s[0] + layer.backward_s[0] for layer in profile.layers)]
        print(f"{name}: {len(profile.layers)} layers, {seconds[0]:.2f} s with one thread")
    return 0


if __name__ == "__main__":
    sys.exit(main())
