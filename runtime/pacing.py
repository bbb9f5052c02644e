"""How eagerly a worker talks to storage. The worker obeys these figures and the planner predicts with them."""

IN_FLIGHT = 4
"""Objects on their way per direction, so that latency hides; bounded, so that memory is."""

FIRST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.1
"""Between GETs of a key that is not there yet: short beside a storage request's own 27 ms (S3, read median)."""
PAUSE_GROWTH = 1.5
