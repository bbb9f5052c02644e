"""The workers of a gang end before the same iteration, whenever the leader decides: over all interleavings.

Drawn, of the rule's proof: stage 0's replica 1 begins i at the earliest when the leader has begun i-1, and the worker
behind it, in a stage that sums nothing, when the leader has begun i-2.
"""

import pytest

from runtime.segment_end import LEAD
from tests.protocol import ends
from tests.protocol.checker import explore, stranded
from tests.protocol.ends import Rules

KEPT = LEAD - 1
"""What the runtime takes for certain after a question (``FollowersEnd``)."""


@pytest.mark.parametrize("sums", [(True, True), (True, False), (False, True)])
def test_all_end_before_the_same_iteration(sums: tuple[bool, bool]) -> None:
    rules = Rules(LEAD, KEPT, sums)
    found = explore(ends.start(rules), lambda state: ends.steps(state, rules), lambda state: ends.wrong(state, rules))
    assert found.wrong is None, found.trace
    assert any(state.end is not None for state in found.came_from)
    assert stranded(found.came_from, lambda state: ends.steps(state, rules), ends.ended) is None


def test_taking_one_iteration_more_for_certain_is_found_out() -> None:
    rules = Rules(LEAD, KEPT + 1, (True, False))
    found = explore(ends.start(rules), lambda state: ends.steps(state, rules), lambda state: ends.wrong(state, rules))
    assert found.wrong == f"iteration {LEAD} was begun, and the end was {LEAD}"


def test_a_lead_of_two_with_the_certainty_of_three_is_found_out() -> None:
    rules = Rules(2, 2, (True, False))
    found = explore(ends.start(rules), lambda state: ends.steps(state, rules), lambda state: ends.wrong(state, rules))
    assert found.wrong is not None and found.trace[-1].endswith("begins 2")
