"""What the operating system says of other processes: whether one is still the same, and its memory.

Linux answers from /proc; elsewhere (macOS) ``ps`` is asked.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress

_LINUX = sys.platform.startswith("linux")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def start_time(pid: int) -> str | None:
    """When process ``pid`` started, as text that differs between two processes that had the same id.

    None when there is no such process, or it has ended and only awaits being reaped.
    """
    if _LINUX:
        try:
            with open(f"/proc/{pid}/stat") as file:
                # The command's name, in parentheses, may hold anything; fields are counted from its end.
                fields = file.read().rpartition(")")[2].split()
            with open("/proc/sys/kernel/random/boot_id") as file:
                boot = file.read().strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    words = _ps(pid, "stat=,lstart=").split()
    return None if not words or words[0].startswith("Z") else " ".join(words[1:])


def resident_bytes(pid: int) -> int:
    """Resident memory of ``pid`` and its descendants now; 0 when it has ended."""
    if not _LINUX:
        return sum(_resident_by_ps(pid))
    total, todo = 0, [pid]
    while todo:
        process = todo.pop()
        try:
            with open(f"/proc/{process}/statm") as file:
                total += int(file.read().split()[1]) * _PAGE_BYTES
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/children") as file:
                    todo += [int(child) for child in file.read().split()]
        except OSError:
            continue  # it ended while it was looked at
    return total


def peak_resident_bytes(pid: int) -> int:
    """The most memory that ``pid`` alone was ever resident with, where the system keeps account of it; else 0."""
    if not _LINUX:
        return 0
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def kill_group(group: int) -> None:
    """Ends every process of a process group at once; nothing happens when there is none."""
    signal_group(group, signal.SIGKILL)


def signal_group(group: int, number: int) -> None:
    """Sends a signal to every process of a process group; nothing happens when there is none."""
    # macOS answers EPERM for a group whose only members await being reaped.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _ps(pid: int, columns: str) -> str:
    done = subprocess.run(["ps", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _resident_by_ps(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=False)
    rows = [tuple(int(word) for word in line.split()) for line in listing.stdout.splitlines()]
    wanted, found = {pid}, -1
    while len(wanted) != found:
        found = len(wanted)
        wanted |= {process for process, parent, _ in rows if parent in wanted}
    return [kib * 1024 for process, _, kib in rows if process in wanted]
