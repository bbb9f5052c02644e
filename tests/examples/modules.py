"""The examples' modules, each under a name of its own: both examples have a ``model`` and a ``data``."""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@cache
def load(example: str, module: str) -> ModuleType:
    """``examples/EXAMPLE/MODULE.py``, imported once."""
    spec = importlib.util.spec_from_file_location(f"{example}_{module}", EXAMPLES / example / f"{module}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
