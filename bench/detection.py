"""How soon a gang stops when one of its workers is killed, and how soon the next one begins.

8 workers in local processes. In one kind of run all are at work; in the other the first stage's are in a layer that
takes far longer than anybody may wait.
"""

import argparse
import os
import signal
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.manifests import SLOW_LAYERS, slow_manifest
from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from launch.local_gang import FIRST_BACK_OFF_S, LocalGang
from launch.staging import stage_run
from runtime import keys
from runtime.errors import FuncpipeError
from runtime.mailbox import OUTCOME_POLL_S

RUN = "bench"
STOPPED_GOAL_S = 10.0 + OUTCOME_POLL_S
RECOVERY_GOAL_S = 2.0
_LOOK_S = 0.005
_LONGEST_S = 120.0


@dataclass(frozen=True)
class Setting:
    """What is measured. The defaults are the project's goal."""

    layers: tuple[int, ...] = (1, 1, 1, 2)
    replicas: tuple[int, ...] = (2, 2, 2, 2)
    layer_s: float = 0.02
    long_layer_s: float = 600.0
    repeats: int = 3


@dataclass(frozen=True)
class _Detected:
    """Seconds from the kill to the end of the last other worker, and from there to the next gang's first claim."""

    stopped_s: float
    recovery_s: float


def _killed(setting: Setting, layer_s: float, folder: Path, victim: int) -> _Detected:
    """One run of which worker number ``victim`` is killed. Raises FuncpipeError when the gang does not get to work."""
    manifest = slow_manifest(
        layers=setting.layers, replicas=setting.replicas, seconds=layer_s, stall_timeout_s=2 * setting.long_layer_s
    )
    gang = LocalGang(manifest, SLOW_LAYERS, RUN, folder, threads=1)
    stage_run(manifest, SLOW_LAYERS, RUN, gang.artifacts)
    gang.start()
    try:
        first = keys.GangKeys(RUN, 0, 0)
        _await(gang, first.go)
        time.sleep(2 * OUTCOME_POLL_S)  # all are in their iterations, or as far in them as the first stage lets them
        pids = gang.worker_pids
        killed_at = time.monotonic()
        os.kill(pids[victim], signal.SIGKILL)
        others = [pid for number, pid in enumerate(pids) if number != victim]
        while any(map(_alive, others)):
            _look(killed_at, "the other workers to stop")
        stopped_at = time.monotonic()
        following = keys.GangKeys(RUN, 0, 1)
        claims = following.claim(0, 0).rpartition("/")[0]
        while not list(gang.artifacts.list(claims)):
            _look(stopped_at, "the next gang to begin")
        return _Detected(stopped_at - killed_at, time.monotonic() - stopped_at)
    finally:
        gang.stop("measured")
        gang.wait()


def _await(gang: LocalGang, key: str) -> None:
    begun = time.monotonic()
    while key not in gang.artifacts.list(key):
        if not gang.poll():
            raise FuncpipeError(f"the run ended: {gang.stop_reason}")
        _look(begun, key)


def _look(since: float, what: str) -> None:
    if time.monotonic() - since > _LONGEST_S:
        raise FuncpipeError(f"waited {_LONGEST_S:.0f} s in vain for {what}")
    time.sleep(_LOOK_S)


def _alive(pid: int) -> bool:
    """Whether it is there and has not ended; who has ended is still known until its parent has asked for it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z" if state.exists() else True
    except OSError:
        return False


def run(setting: Setting, progress: Progress) -> Report:
    """Raises FuncpipeError when a gang does not get to work, or does not stop."""
    workers, figures = sum(setting.replicas), {}
    for name, layer_s in (("", setting.layer_s), ("in_long_layer_", setting.long_layer_s)):
        found = []
        for repeat in range(setting.repeats):
            # Not one of those in the long layer, which are the ones to be stopped.
            victim = workers - 1 - repeat % (workers - setting.replicas[0])
            progress(f"{name or 'at work '}{repeat + 1} of {setting.repeats}: worker {victim} is killed ...")
            with tempfile.TemporaryDirectory(prefix="detection-") as folder:
                found.append(_killed(setting, layer_s, Path(folder), victim))
        figures[f"{name}stopped_s"] = max(each.stopped_s for each in found)
        figures[f"{name}stopped_median_s"] = statistics.median(each.stopped_s for each in found)
        figures[f"{name}recovery_s"] = max(each.recovery_s for each in found)
    goals = {f"{name}stopped_s": Goal(most=STOPPED_GOAL_S) for name in ("", "in_long_layer_")}
    goals |= {f"{name}recovery_s": Goal(most=FIRST_BACK_OFF_S + RECOVERY_GOAL_S) for name in ("", "in_long_layer_")}
    return Report("detection", figures, goals, {**asdict(setting), "workers": workers})


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    setting = Setting(repeats=options.repeats, long_layer_s=options.long_layer_s)
    return run(setting, progress)


def add_command(commands: Commands) -> None:
    """``python -m bench detection``."""
    default = Setting()
    description = "from the kill of one worker of 8 to the end of all others, and to the next gang (about 2 minutes)"
    command = add_bench(commands, "detection", description, _run, default.repeats)
    command.add_argument(
        "--long-layer-s", type=at_least(20, float), default=default.long_layer_s, metavar="S", help="of the second kind"
    )
