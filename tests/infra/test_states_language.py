"""The synthesised state machine before a validator of Amazon States Language: emulators accept any definition."""

from typing import Any

from statelint.linter import Linter

from tests.infra.synthesis import Synthesised, walk


def problems(definition: dict[str, Any]) -> list[str]:
    for value in walk(definition):
        # The language asks for a number; statelint for one written with a point, which CDK's JSON does not have.
        if isinstance(value, dict) and isinstance(value.get("BackoffRate"), int):
            value["BackoffRate"] = float(value["BackoffRate"])
    return Linter.validate(definition)


def test_statelint_finds_nothing(stack: Synthesised) -> None:
    assert problems(stack.state_machine) == []


def test_statelint_looks_into_every_branch(three_stages: Synthesised) -> None:
    definition = three_stages.state_machine
    (parallel,) = [state for state in definition["States"].values() if state["Type"] == "Parallel"]
    for index, branch in enumerate(parallel["Branches"]):
        (state,) = branch["States"].values()
        del state["End"]
        state["Next"] = f"Nowhere {index}"
    found = "\n".join(problems(definition))
    for index in range(len(parallel["Branches"])):
        assert f"Nowhere {index}" in found
