"""How eagerly a worker talks to storage. The worker obeys these figures and the planner predicts with them."""

IN_FLIGHT = 4
"""Objects on their way per direction, so that latency hides; bounded, so that memory is."""

RANGE_BYTES = 16 << 20
"""Activations and gradients above this are sent in ranges of so many bytes, each an object of its own: they pass over
several connections, and go down while later ones go up. At 75 MiB/s a PUT of a range costs half of what a worker of
1,769 MB costs meanwhile; smaller ranges would hide little more."""

FIRST_PAUSE_S = 0.002
"""From the start of a GET to that of the next one of a key that is not there yet, where nothing is known of when it
comes."""
LONGEST_PAUSE_S = 0.1
PAUSE_GROWTH = 1.25
"""From one to the next. What one stage is late by, all that wait for it are: in replays of 24 plans, iterations were 5%
longer with 2.0 and 3% with 1.5, for 4% and 2% fewer looks in vain."""
LATEST = 0.05
"""Where a wait is so long that this share of it is more than the longest pause, a pause may last that share."""

FIRST_LOOKS = 32
"""In the first iteration the first pause is this part of the iteration that was planned, but not less than the first of
those above."""
SECOND_LOOK_SHARE, SECOND_PAUSE_SHARE = 0.25, 0.125
"""In the second iteration the wait is guessed to be the first one, or the planned iteration, if that is shorter. These
parts of it pass until the first GET, and from one GET to the next. The first wait holds what was done for the first
time, and how much later other workers started. What a worker is late by then becomes part of others' waits, who learn
it. So all workers look early in the same iteration, and learn how long they wait if nobody is late."""

REMEMBERED = 8
"""Waits for the same object of earlier iterations that the next wait for it is judged by."""
RECENT = 4
"""Of the remembered waits, as many as say from when to when to look closely; the longest of them does not count."""
LOOK_PRICE_S = 0.01
"""With waits that spread over W, looks begin at the shortest and pauses last √(LOOK_PRICE_S·W), or W if that is less.
Were one worker's delay all that counted, looks and delays together would cost least at 0.028, as on Lambda a GET costs
as much as 14 ms of a worker of 1,769 MB. Whole gangs wait, so less is right: in those replays
iterations were 3% longer with 0.045."""
CLOCK_SHARE = 0.1
"""Of what looks say that a sender's clock is off by, in the mean of it."""
ANSWER_SHARE = 0.1
"""Of the newest look in vain, in the mean of how long a store takes to answer."""
CLOSE_LOOKS = 3
"""But no more looks than this from the earliest to the latest of those waits."""
CLOSE_SHARE = 0.03
"""Of the wait, the shortest of those pauses: waits that were all alike do not say that the next one will be, too."""
LOOK_SHARE = 0.8
"""Of the remembered waits for an object that follows another, sorted, the one at this share passes until the first GET.
"""
PAUSE_SHARE = 0.15
"""Of that wait, until the second one, if the waits do not differ by more."""
LOOKS_IN_VAIN = 1.9
LOOKS_IN_VAIN_FOLLOWING = 0.25
"""GETs that find nothing in the steady state, per object that had to be awaited: the first of a series, and one that
follows another of it. That is what the rules above give on average over waits that vary little and much
(tests/runtime/test_arrivals.py). Of objects that are there already there are none."""


def range_count(payload_bytes: int) -> int:
    """Objects that a bundle of so many tensor bytes is sent as."""
    return max(1, -(-payload_bytes // RANGE_BYTES))
