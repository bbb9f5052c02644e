import subprocess
import sys
from pathlib import Path

import pytest

from planner import resident_memory

ROOT = Path(__file__).resolve().parents[2]
CONVOLVES = """
import torch
from planner.resident_memory import library_bytes
torch.set_num_threads(1)
linear, convolution = torch.nn.Linear(64, 64), torch.nn.Conv2d(3, 8, 3)
linear(torch.ones(8, 64)).sum().backward()
before = library_bytes()
convolution(torch.ones(4, 3, 16, 16)).sum().backward()
print(before, library_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what is resident of a file")
def test_a_convolution_brings_in_code_that_a_linear_layer_does_not() -> None:
    done = subprocess.run([sys.executable, "-c", CONVOLVES], capture_output=True, text=True, check=True, cwd=ROOT)
    before, after = map(int, done.stdout.split())
    assert 10 << 20 < before < after


def test_libraries_are_part_of_an_empty_workers_memory() -> None:
    empty = resident_memory.measure()
    assert 0 <= empty.library_bytes < empty.peak_bytes
