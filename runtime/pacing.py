"""How eagerly a worker talks to storage. The worker obeys these figures and the planner predicts with them."""

IN_FLIGHT = 4
"""Objects on their way per direction, so that latency hides; bounded, so that memory is."""

FIRST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.1
"""Between GETs of a key that is not there yet: short beside a storage request's own 27 ms (S3, read median)."""
PAUSE_GROWTH = 1.5
FIRST_LOOK = 0.8
"""Part of the wait for the same object of the iteration before that passes until the first GET: most of the GETs that
would find nothing are not made, and an object that comes sooner makes the next wait shorter."""
