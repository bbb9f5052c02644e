"""How old this process is: what AWS bills for an environment's start-up, which ends before any of our code can look."""

import os
import time
from pathlib import Path


def age_s() -> float:
    """Seconds since the process was started; since now where the system does not tell (no /proc)."""
    try:
        # proc_pid_stat(5): field 22, counted after the command's name, which may hold anything but ends with ")".
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
