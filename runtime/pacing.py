"""How eagerly a worker talks to storage. The worker obeys these figures and the planner predicts with them."""

IN_FLIGHT = 4
"""Objects on their way per direction, so that latency hides; bounded, so that memory is."""

RANGE_BYTES = 16 << 20
"""Activations and gradients above this are sent in ranges of so many bytes, each an object of its own: they pass over
several connections, and go down while later ones go up. At 75 MiB/s a PUT of a range costs half of what a worker of
1,769 MB costs meanwhile; smaller ranges would hide little more."""

FIRST_PAUSE_S = 0.002
"""Between the first two GETs of a key that is not there yet, where nothing is known of when it comes."""
LONGEST_PAUSE_S = 0.1
PAUSE_GROWTH = 2.0
LATEST = 0.05
"""Where a wait is so long that this share of it is more than the longest pause, a pause may last that share."""

FIRST_LOOKS = 64
"""In the first iteration the first pause is this part of the iteration that was planned, within the two above."""
SLOWED = 0.25
"""In the second one this part of the first one's wait passes until the first GET: that one was slower, as memory is
allocated and libraries are loaded in it."""

REMEMBERED = 8
"""Waits for the same object of earlier iterations that the next wait for it is judged by."""
LOOK_SHARE = 5 / 7
"""Of the remembered waits, sorted, the one at this share passes until the first GET: 2 of 7 looks may be in vain. On
Lambda a GET costs as much as 14 ms of a worker of 1,769 MB, so a look in vain is worth a delay."""
SOONER = 0.04
"""Whoever finds an object at the first look learns only that it was there by then, and looks by this share of the wait
sooner the next time; by twice the share the time after that, and so on, until a look is in vain."""
SOONER_DOUBLINGS = 3
FORGETTING = 4
"""After so many first looks in a row that were not in vain, which chance does to 1 in 4, older waits are forgotten."""
LOOKS_IN_VAIN = 0.5
"""GETs that find nothing, per object that had to be awaited, in the steady state: what the rule above gives on average
over waits that vary little and much (tests/runtime/test_arrivals.py). Of objects that are there already there are none.
"""


def range_count(payload_bytes: int) -> int:
    """Objects that a bundle of so many tensor bytes is sent as."""
    return max(1, -(-payload_bytes // RANGE_BYTES))
