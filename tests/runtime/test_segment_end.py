"""All workers of a gang end at the same iteration, however the leader decides and however late answers come."""

from concurrent.futures import Future

from hypothesis import given
from hypothesis import strategies as st

from runtime.records import End, EndReason
from runtime.segment_end import LEAD, FollowersEnd, LeadersEnd

FINISHED, TIME = EndReason.FINISHED, EndReason.TIME


class Leader:
    def __init__(self, first, limit, allowed):
        self.told: list[End] = []
        self.allowed = allowed
        self.end = LeadersEnd(first, limit, FINISHED, allowance=lambda: (self.allowed, TIME), tell=self.told.append)


def answered(end):
    future: Future = Future()
    future.set_result(end)
    return future


def test_the_leader_goes_on_to_the_limit_while_there_is_time():
    leader = Leader(3, 20, allowed=LEAD + 1)
    assert [i for i in range(3, 22) if leader.end.includes(i)] == list(range(3, 20))
    assert leader.told == [] and leader.end.reason is FINISHED


def test_the_leader_ends_lead_iterations_after_time_is_short():
    leader = Leader(3, 40, allowed=100)
    assert all(leader.end.includes(i) for i in range(3, 10))
    leader.allowed = LEAD
    assert [i for i in range(10, 40) if leader.end.includes(i)] == list(range(10, 10 + LEAD))
    assert leader.told == [End(iteration=10 + LEAD, reason=TIME)], "once"
    assert (leader.end.limit, leader.end.reason) == (10 + LEAD, TIME)


def test_no_end_is_told_that_would_not_come_before_the_limit():
    leader = Leader(0, LEAD, allowed=0)
    assert [i for i in range(10) if leader.end.includes(i)] == list(range(LEAD))
    assert leader.told == [] and leader.end.reason is FINISHED


def test_the_first_iterations_are_certain_without_asking():
    follower = FollowersEnd(7, 100, FINISHED, ask=Future)
    assert follower.certain == 7 + LEAD
    assert all(follower.includes(i) for i in range(7, 7 + LEAD)), "an answer that does not come holds nobody up so far"


def test_an_answer_that_there_is_no_end_makes_more_iterations_certain():
    follower = FollowersEnd(0, 100, FINISHED, ask=lambda: answered(None))
    for iteration in range(20):
        assert follower.includes(iteration)
        assert iteration < follower.certain
    assert follower.certain == 18 + LEAD - 1, "the answer to the question before the last one"


def test_a_follower_that_is_told_ends_there():
    asked: list[int] = []

    def ask():
        asked.append(1)
        return answered(End(iteration=5, reason=TIME) if len(asked) > 2 else None)

    follower = FollowersEnd(0, 100, FINISHED, ask=ask)
    assert [i for i in range(8) if follower.includes(i)] == [0, 1, 2, 3, 4]
    assert (follower.limit, follower.certain, follower.reason) == (5, 5, TIME)
    assert len(asked) == 3, "who knows asks no more"


@given(st.data())
def test_everybody_ends_at_the_same_iteration(data):
    """A gang by its rules of order alone: who begins i + 2 does so after the leader has begun i."""
    limit, workers = data.draw(st.integers(1, 25), label="limit"), 3
    short_at = data.draw(st.integers(0, 25), label="time is short at")
    told: list[End] = []
    leader = LeadersEnd(0, limit, FINISHED, allowance=lambda: (0 if at[0] >= short_at else 100, TIME), tell=told.append)
    followers = [FollowersEnd(0, limit, FINISHED, ask=lambda: Question(told, data.draw)) for _ in range(workers)]
    at, ended = [0] * (workers + 1), [False] * (workers + 1)
    while not all(ended):
        movable = [
            who
            for who in range(workers + 1)
            if not ended[who] and (who == 0 or ended[0] or at[who] < at[0] + 2) and at[who] <= min(at) + 2
        ]
        who = data.draw(st.sampled_from(movable), label="who")
        end = leader if who == 0 else followers[who - 1]
        if end.includes(at[who]):
            assert at[who] < end.certain
            at[who] += 1
        else:
            ended[who] = True
    assert len(set(at)) == 1, "all have done the same iterations"
    assert at[0] == (told[0].iteration if told else limit)


class Question(Future):
    """Sees what is told at the moment it is asked; is answered at once, or only when somebody waits for it."""

    def __init__(self, told, draw):
        super().__init__()
        self.set_result(told[0] if told else None)
        self.early = draw(st.booleans(), label="answered early")

    def done(self):
        return self.early
