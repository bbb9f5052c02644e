"""Seconds of `cdk synth` by number of stages, from the command to the assembly: the CDK command, jsii, app, template.

Zip packaging: an image adds the Dockerfile and nothing to be built before the deployment.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.manifests import NO_BUDGET
from bench.options import Commands, Progress, add_bench, at_least
from bench.report import Goal, Report
from runtime.errors import FuncpipeError
from runtime.limits import LAMBDA_ACCOUNT_CONCURRENCY, LAMBDA_UNRESERVED_CONCURRENCY
from runtime.manifest import SCHEMA_VERSION, Manifest, parse_manifest
from runtime.source import source_sha256

ROOT = Path(__file__).resolve().parent.parent
GOALS = {12: Goal(15.0)}
"""By number of stages, seconds."""


@dataclass(frozen=True)
class Setting:
    """What is measured. The defaults are the project's goal."""

    stages: tuple[int, ...] = (1, 3, 12, 60)
    replicas: int = 2
    repeats: int = 3


def run(setting: Setting, progress: Progress) -> Report:
    """Measures; takes about a minute with the defaults.

    Raises:
        FuncpipeError: the CDK command is not there, or failed.
    """
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="funcpipe-bench-") as folder:
        project = Path(folder)
        (project / "source").mkdir()
        (project / "source" / "model.py").write_text("def build():\n    raise NotImplementedError\n")
        for stages in setting.stages:
            progress(f"{stages} stages ...")
            path = project / f"manifest-{stages}.json"
            path.write_text(_manifest(stages, setting.replicas, source_sha256(project / "source")).to_json())
            assembly = project / f"cdk.out-{stages}"
            figures[f"synth_{stages}_stages_s"] = statistics.median(
                _synthesise(path, assembly) for _ in range(setting.repeats)
            )
            (template,) = assembly.glob("*.template.json")
            figures[f"synth_{stages}_stages_resources"] = len(json.loads(template.read_text())["Resources"])
            figures[f"synth_{stages}_stages_template_bytes"] = template.stat().st_size
    goals = {f"synth_{stages}_stages_s": goal for stages, goal in GOALS.items() if stages in setting.stages}
    return Report("synth", figures, goals, asdict(setting))


def _synthesise(manifest: Path, assembly: Path) -> float:
    command = ROOT / "node_modules" / ".bin" / "cdk"
    if not command.exists():
        raise FuncpipeError(f"{command} is not there. Run `make setup`.")
    context = ["-c", f"manifest={manifest}", "-c", "packaging=zip"]
    began = time.perf_counter()
    done = subprocess.run(
        [command, "synth", "--quiet", "--app", f'"{sys.executable}" app.py', "--output", str(assembly), *context],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise FuncpipeError(f"cdk synth failed with exit status {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


def _manifest(stages: int, replicas: int, source: str) -> Manifest:
    """A plan of that many stages of two layers each, with nothing predicted."""
    none: dict[str, Any] = dict.fromkeys(("compute_s", "upload_s", "download_s", "synchronise_s", "memory_mb"), 0.0)
    whole = ("iteration_s", "total_s", "usd_per_iteration", "usd_total", "objective", "gap")
    document = {
        "schema_version": SCHEMA_VERSION,
        "name": f"synth-{stages}",
        "model": {"factory": "model:build", "args": {}},
        "data": {"factory": "model:build", "args": {}},
        "dataset": {"train_samples": 64, "test_samples": 0, "sha256": "0" * 64},
        "training": {
            "loss": "cross_entropy",
            "optimizer": {"name": "sgd", "lr": 0.1},
            "global_batch_size": 64,
            "micro_batch_size": 8,
            "iterations": 1,
            "seed": 0,
        },
        "iterations": 1,
        "schedule": "gpipe",
        "platform": "aws-lambda",
        "architecture": "x86_64",
        "max_concurrency": LAMBDA_ACCOUNT_CONCURRENCY - LAMBDA_UNRESERVED_CONCURRENCY,
        "stages": [
            {
                "first_layer": 2 * index,
                "end_layer": 2 * index + 2,
                "modules": ["Linear", "ReLU"],
                "memory_mb": 1769,
                "replicas": replicas,
                "predicted": {**none, "usd_per_iteration": 0.0},
            }
            for index in range(stages)
        ],
        "segment": {"iterations": 1, "timeout_s": 900, "stall_timeout_s": 120.0, "checkpoint_s": 0.0},
        "spending": NO_BUDGET,
        "package": {"source": "source"},
        "on_destroy": "delete",
        "predicted": dict.fromkeys(whole, 0.0),
        "hashes": {"job": "0" * 64, "profile": "0" * 64, "source": source},
    }
    return parse_manifest(json.dumps(document), "bench")


def _run(options: argparse.Namespace, progress: Progress) -> Report:
    return run(Setting(tuple(options.stages), options.replicas, options.repeats), progress)


def add_command(commands: Commands) -> None:
    """``python -m bench synth``."""
    default = Setting()
    description = "`cdk synth` by number of stages (about a minute)"
    command = add_bench(commands, "synth", description, _run, default.repeats)
    command.add_argument("--stages", type=at_least(1, int), nargs="+", default=list(default.stages), metavar="N")
    command.add_argument("--replicas", type=at_least(1, int), default=default.replicas, help="of each stage")
