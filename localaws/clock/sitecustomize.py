"""A wall clock that is wrong, for function processes that the emulator's faults give one. Python imports it by itself.

``time.time`` and ``time.time_ns`` are LOCALAWS_CLOCK_SHIFT_S ahead; clocks that only go forward are as they are.
"""

import os
import time

_SHIFT_S = float(os.environ.get("LOCALAWS_CLOCK_SHIFT_S", "0"))
_true_time, _true_time_ns = time.time, time.time_ns

time.time = lambda: _true_time() + _SHIFT_S
time.time_ns = lambda: _true_time_ns() + int(_SHIFT_S * 1e9)
