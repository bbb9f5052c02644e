"""``make train``: the digits example, on a local AWS, from its job file to the last deleted resource.

    local up ─► plan ─► cdk deploy ─► start, watch ─► report ─► cdk destroy ─► nothing left ─► local down

Every step is a command that a user would type; it is shown before it runs. Whatever this script has started it also
ends, after a failure and after Ctrl-C too, and then exits with a status other than 0.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from localaws import control  # noqa: E402  (found by the line above)
from localaws.inventory import inventory  # noqa: E402

FUNCPIPE = ROOT / ".venv" / "bin" / "funcpipe"
CDK = ("local", "exec", "--", "cdk")
JOB = Path("examples/digits/job.toml")
BUILD = Path("build/digits")
MANIFEST = BUILD / "manifest.json"
ASSEMBLY = BUILD / "cdk.out"
"""What ``cdk deploy`` has deployed; removing that needs no second synthesis."""


class StepFailed(Exception):
    """A command ended with a status other than 0."""


def main() -> int:
    os.chdir(ROOT)
    began = time.monotonic()
    already_running = control.status(ROOT) is not None
    status = 1
    try:
        step("Start a local AWS", "local", "up")
        train()
        status = 0
    except StepFailed as error:
        print(f"\ntrain: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ntrain: interrupted; cleaning up", file=sys.stderr)
        status = 130
    finally:
        if not already_running and control.status(ROOT) is not None:
            try:
                step("Stop the local AWS", "local", "down")
            except StepFailed as error:
                print(f"\ntrain: {error}", file=sys.stderr)
                status = status or 1
    print(f"\n{'Done' if status == 0 else 'Failed'} after {time.monotonic() - began:.0f} s.")
    return status


def train() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    run = f"digits-{time.strftime('%Y%m%d-%H%M%S')}"
    profile = BUILD / "profile.json"
    step("Measure the model's layers", "profile", JOB, "--output", profile)
    planning = ["--profile", profile, "--platform", "embedded", "--output", MANIFEST]
    step("Choose cuts, memory sizes and replicas", "plan", JOB, *planning)
    stack = f"funcpipe-{json.loads(MANIFEST.read_text())['name']}"
    failure: BaseException | None = None
    try:
        shutil.rmtree(ASSEMBLY, ignore_errors=True)
        context = ["-c", f"manifest={MANIFEST}", "-c", "packaging=zip", "--output", ASSEMBLY]
        step("Deploy the plan", *CDK, "deploy", *context, "--require-approval", "never")
        step("Train", "start", MANIFEST, "--local", "--run", run, "--wait")
        step("Account for it", "report", run, "--local")
    except BaseException as error:
        failure = error
        raise
    finally:
        if (ASSEMBLY / "manifest.json").exists():
            destroy(stack, failure)


def destroy(stack: str, failure: BaseException | None) -> None:
    """Removes the stack and shows that nothing is left. After ``failure``, problems here are only printed."""
    try:
        step("Remove the stack", *CDK, "destroy", "--app", ASSEMBLY, "--force")
        heading("What is left of the stack")
        emulator = control.status(ROOT)
        if emulator is None:
            raise StepFailed("the local AWS has died; see .funcpipe/local/emulator.log")
        left = inventory(stack, emulator.environment)
        for kind, names in left.items():
            print(f"  {kind:<16}{', '.join(names) or 'none'}")
        if any(left.values()):
            raise StepFailed("cdk destroy has left resources behind (above)")
    except StepFailed as error:
        if failure is None:
            raise
        print(f"\ntrain: {error}", file=sys.stderr)


def step(title: str, *arguments: str | Path) -> None:
    """Runs one ``funcpipe`` command. Raises StepFailed."""
    words = [str(argument) for argument in arguments]
    heading(title, "funcpipe " + " ".join(words))
    began = time.monotonic()
    process = subprocess.Popen([FUNCPIPE, *words])
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # The terminal has sent it to the command too, which may have something to put in order.
        process.wait()
        raise
    if status != 0:
        raise StepFailed(f"`funcpipe {' '.join(words)}` ended with status {status}")
    print(f"({time.monotonic() - began:.1f} s)", flush=True)


def heading(title: str, command: str = "") -> None:
    print(f"\n== {title}" + (f"\n$ {command}" if command else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
