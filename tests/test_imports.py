"""The direction of imports in docs/architecture.md, read from the sources; and what importing the contract loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "runtime": set(),
    "planner": {"runtime"},
    "infra": {"runtime"},
    "launch": {"planner", "runtime"},
    "chaos": {"launch", "localaws", "runtime"},
    "cli": {"chaos", "launch", "planner", "runtime", "localaws"},
    "localaws": set(),
    "bench": {"launch", "localaws", "planner", "runtime"},
    "rehearsal": {"infra", "launch", "localaws", "runtime"},
    "app": {"infra", "runtime"},
}
"""Package (or module) -> packages of the project that it may import besides itself."""

CONTRACT = (
    "errors",
    "documents",
    "limits",
    "spec",
    "manifest",
    "prices",
    "records",
    "keys",
    "batches",
    "schedule",
    "schedule_check",
    "seeds",
    "pacing",
    "source",
    "log",
    "metrics",
    "synchronisation",
    "store",
    "store_urls",
    "store_directory",
    "store_s3",
    "store_wrappers",
    "store_memory",
    "store_retries",
    "store_faults",
    "arrivals",
    "outcome",
    "spending",
    "closing",
    "segment_end",
    "allowance",
    "process",
    "cold_start",
    "shard_sizes",
)
"""Modules of ``runtime`` that are read where there is no torch."""


def sources(package: str) -> list[Path]:
    return [ROOT / "app.py"] if package == "app" else sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package: str) -> None:
    forbidden = MAY_IMPORT.keys() - MAY_IMPORT[package] - {package} | {"tests", "examples"}
    files = sources(package)
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported(path)
        if name.split(".")[0] in forbidden
    ]
    assert not wrong


@pytest.mark.parametrize("module", CONTRACT)
def test_the_contract_is_closed_and_needs_no_torch(module: str) -> None:
    names = list(imported(ROOT / "runtime" / f"{module}.py"))
    assert not [name for name in names if name.split(".")[0] in ("torch", "numpy", "safetensors")]
    ours = {name.split(".")[1] for name in names if name.startswith("runtime.")}
    assert ours <= set(CONTRACT)


def test_nothing_unpickles_or_evaluates() -> None:
    forbidden = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    calls = {"eval", "exec", "torch.load", "torch.save"}
    for package in MAY_IMPORT:
        for path in sources(package):
            assert not [name for name in imported(path) if name.split(".")[0] in forbidden], path
            for node in ast.walk(ast.parse(path.read_text())):
                assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in calls), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "module", ["runtime.manifest", "runtime.records", "runtime.handler", "infra.training_stack", "app"]
)
def test_importing_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'numpy', 'boto3'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
