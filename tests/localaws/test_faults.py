"""Which requests and invocations a rule strikes."""

import json
from dataclasses import asdict

import pytest

from localaws.faults import Action, Faults, Rule


def test_a_rule_strikes_the_match_of_its_number_and_no_other() -> None:
    faults = Faults()
    faults.arm([Rule(Action.KILL, "*/run/*/activation/*", "PUT", nth=2)])
    struck = [
        faults.request(method, path) is not None
        for method, path in [
            ("PUT", "/inbox/run/0/gradient/1"),
            ("PUT", "/inbox/run/0/activation/1"),
            ("GET", "/inbox/run/0/activation/1"),
            ("PUT", "/inbox/run/0/activation/2"),
            ("PUT", "/inbox/run/0/activation/3"),
        ]
    ]
    assert struck == [False, False, False, True, False]
    assert [hit["path"] for hit in faults.report()["hits"]] == ["/inbox/run/0/activation/2"]


def test_several_matches_from_a_number_on() -> None:
    faults = Faults()
    faults.arm([Rule(Action.THROTTLE, "*stage-1*", nth=2, times=2)])
    assert [faults.start("arn:stage-1:live") is not None for _ in range(5)] == [False, True, True, False, False]
    assert faults.run("stage-1") is None and faults.request("INVOKE", "stage-1") is None, "of starts only"


def test_a_share_of_requests_follows_from_seed_and_path_and_count() -> None:
    rule = Rule(Action.FAIL, "*", "GET", share=0.25, seed=3)
    paths = [f"/bucket/{number % 400}" for number in range(2_000)]

    def struck(rule: Rule, order: list[str]) -> list[tuple[str, int]]:
        faults, asked, hits = Faults(), dict.fromkeys(order, 0), []
        faults.arm([rule])
        for path in order:
            asked[path] += 1
            if faults.request("GET", path):
                hits.append((path, asked[path]))
        return sorted(hits)

    first = struck(rule, paths)
    assert 400 < len(first) < 600
    assert struck(rule, paths[::-1]) == first, "whichever worker came first"
    assert struck(Rule(**{**asdict(rule), "seed": 4}), paths) != first


def test_arming_forgets_what_was_before() -> None:
    faults = Faults()
    faults.arm([Rule(Action.REFUSE, "*")])
    assert faults.armed and faults.request("GET", "/a") is not None
    faults.written("/a", 200)
    faults.arm([])
    assert not faults.armed and faults.request("GET", "/a") is None
    assert faults.report() == {"hits": [], "writes": []}


def test_an_orphans_time_comes_with_the_request_that_it_waits_for() -> None:
    faults = Faults()
    faults.arm([Rule(Action.ORPHAN, "*/commit", "PUT", nth=1, until="*/001/claims/*")])
    assert faults.request("PUT", "/b/commit") is not None
    arrived = faults.orphaned("*/001/claims/*")
    faults.request("PUT", "/b/000/claims/0")
    assert not arrived.is_set()
    faults.request("PUT", "/b/001/claims/0")
    assert arrived.is_set()


def test_a_rule_survives_json() -> None:
    rule = Rule(Action.HALT, "*/x", "PUT", nth=1, seconds=2.0, answered=True)
    assert Rule.parse(json.loads(json.dumps(asdict(rule)))) == rule


@pytest.mark.parametrize(
    "document", ["kill", {"action": "kill"}, {"path": "*"}, {"action": "melt", "path": "*"}, {"path": "*", "how": 1}]
)
def test_what_is_no_rule_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="not a rule: "):
        Rule.parse(document)
