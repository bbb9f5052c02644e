"""Resident memory of a worker process that holds nothing yet: run as a process of its own, prints bytes.

It imports what the handler imports, makes a client for storage, and trains one tiny layer, so that all that loads on
first use is loaded. Of torch's libraries, as of all files, only what runs is resident: a convolution brings in code
that a tiny linear layer does not.
"""

import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import FuncpipeError

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage reports bytes on macOS, KiB on Linux
TIMEOUT_S = 180.0


def peak_bytes() -> int:
    """Peak resident memory of this process since it began to run its own program.

    Linux's getrusage also counts the parent's memory at the moment of the fork, so /proc comes first.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def forget_peak() -> None:
    """Lets ``peak_bytes`` count from now on, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return


_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ ")
_LIBRARIES = "/torch/lib/"


def library_bytes() -> int:
    """Resident bytes of torch's libraries in this process; 0 where the system does not tell (other than Linux)."""
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return 0
    kib, of_torch = 0, False
    for line in lines:
        if _MAPPING.match(line):
            of_torch = _LIBRARIES in line
        elif of_torch and line.startswith("Rss:"):
            kib += int(line.split()[1])
    return kib * 1024


@dataclass(frozen=True)
class Empty:
    """Of a process that holds nothing: its peak, and torch's libraries in it; bytes."""

    peak_bytes: int
    library_bytes: int


def measure() -> Empty:
    """Starts the process and returns its figures. Raises FuncpipeError when it fails."""
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise FuncpipeError(f"measuring a worker's base memory took more than {TIMEOUT_S:.0f} s; try again") from None
    if done.returncode != 0 or not re.fullmatch(r"\d+ \d+\n", done.stdout):
        raise FuncpipeError(f"measuring a worker's base memory failed (exit {done.returncode}): {done.stderr[-2000:]}")
    return Empty(*map(int, done.stdout.split()))


def _main() -> None:
    import boto3
    import torch

    import runtime.handler
    import runtime.worker  # noqa: F401 - what a worker imports, at once and on its first event

    boto3.client("s3", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
    torch.set_num_threads(1)
    layer = torch.nn.Linear(64, 64)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(8, 64)).sum().backward()
    optimizer.step()
    print(peak_bytes(), library_bytes())


if __name__ == "__main__":
    _main()
