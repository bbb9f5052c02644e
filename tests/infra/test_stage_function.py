"""The functions carry the plan's figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.limits import LAMBDA_ENVIRONMENT_BYTES
from tests.infra.synthesis import Synthesised, synthesise, text


def test_one_function_per_stage_as_planned(stack: Synthesised) -> None:
    assert len(stack.functions) == len(stack.manifest.stages)
    for stage, properties in zip(stack.manifest.stages, stack.functions, strict=True):
        assert properties["MemorySize"] == stage.memory_mb
        assert properties["ReservedConcurrentExecutions"] == stage.replicas
        assert properties["EphemeralStorage"] == {"Size": stage.ephemeral_storage_mb}
        assert properties["Timeout"] == stack.manifest.segment.timeout_s
        assert properties["Architectures"] == [stack.manifest.architecture.value]
        assert properties["Handler"] == "runtime.handler.handler"
        assert properties["Runtime"] == "python3.11"
        assert stage.layers_label in properties["Description"]


def test_a_worker_is_never_run_again_alone_nor_later(stack: Synthesised) -> None:
    """Nobody invokes workers asynchronously; who does finds the event dropped after a minute, and no queue to fill."""
    configured = {
        (properties["FunctionName"]["Ref"], alias_of(properties["Qualifier"])): (
            properties["MaximumRetryAttempts"],
            properties["MaximumEventAgeInSeconds"],
            "DestinationConfig" in properties,
        )
        for properties in stack.resources("AWS::Lambda::EventInvokeConfig").values()
    }
    aliases = stack.resources("AWS::Lambda::Alias")
    invoked = [(aliases[alias]["FunctionName"]["Ref"], alias) for alias in stack.aliases]
    assert configured == dict.fromkeys(invoked, (0, 60, False)), "of the aliases, which are what is invoked"
    assert not [properties for properties in stack.functions if "DeadLetterConfig" in properties]


def alias_of(qualifier: dict[str, Any]) -> str:
    """The alias whose name is taken from the end of its ARN."""
    position, split = qualifier["Fn::Select"]
    separator, arn = split["Fn::Split"]
    assert (position, separator) == (7, ":"), "arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME:ALIAS"
    return text(arn)


def test_an_alias_is_of_the_published_version_which_goes_with_the_stack(stack: Synthesised) -> None:
    functions, versions = stack.resources("AWS::Lambda::Function"), stack.resources("AWS::Lambda::Version")
    aliases = stack.resources("AWS::Lambda::Alias")
    assert len(stack.aliases) == len(versions) == len(stack.manifest.stages)
    for alias, function in zip(stack.aliases, stack.functions, strict=True):
        version, attribute = aliases[alias]["FunctionVersion"]["Fn::GetAtt"]
        assert attribute == "Version"
        assert aliases[alias]["FunctionName"] == versions[version]["FunctionName"]
        assert functions[aliases[alias]["FunctionName"]["Ref"]] == function
        for key in (alias, version):
            assert stack.template["Resources"][key].get("DeletionPolicy") in (None, "Delete")


def published(stack: Synthesised) -> list[str]:
    aliases = stack.resources("AWS::Lambda::Alias")
    return [aliases[alias]["FunctionVersion"]["Fn::GetAtt"][0] for alias in stack.aliases]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"memory_mb": [1024, 2048]}, [False, True]),
        ({"timeout_s": 880}, [True, True]),
        ({"architecture": "arm64"}, [True, True]),
        ({"replicas": [2, 1]}, [False, False]),
    ],
)
def test_a_function_is_published_again_when_it_has_changed(
    tmp_path: Path, changed: dict[str, Any], again: list[bool]
) -> None:
    """CloudFormation publishes only where the version's logical id is new. Reserved concurrency is of no version."""
    before = synthesise(tmp_path / "before", stages=2, memory_mb=1024)
    after = synthesise(tmp_path / "after", **{"stages": 2, "memory_mb": 1024, **changed})
    assert [old != new for old, new in zip(published(before), published(after), strict=True)] == again
    assert before.aliases == after.aliases


def test_functions_are_published_again_when_the_code_has_changed(tmp_path: Path) -> None:
    before = synthesise(tmp_path, stages=2)
    (tmp_path / "source" / "another.py").write_text("more = 1\n")
    after = synthesise(tmp_path, stages=2)
    assert not set(published(before)) & set(published(after))


def test_the_environment_is_far_from_lambdas_limit_and_names_no_secret(stack: Synthesised) -> None:
    allowed = {"STAGE", "SOURCE", "LOG_LEVEL", "ARTIFACTS_URL", "INBOX_URLS"}
    for properties in stack.functions:
        environment = stack.environment(properties)
        assert environment.keys() == {f"FUNCPIPE_{name}" for name in allowed}
        # Bucket names are given at deployment and have at most 63 characters; here are their logical ids.
        buckets = 63 * (1 + environment["FUNCPIPE_INBOX_URLS"].count("s3://"))
        assert len(json.dumps(environment)) + buckets <= LAMBDA_ENVIRONMENT_BYTES


def test_description_of_a_stage_with_very_many_layers_is_cut(tmp_path) -> None:
    stack = synthesise(tmp_path, layers=[300])
    assert len(stack.functions[0]["Description"]) == 256
