"""The functions carry the plan's figures."""

import json

from runtime.limits import LAMBDA_ENVIRONMENT_BYTES
from tests.infra.synthesis import Synthesised, synthesise


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
        properties["FunctionName"]["Ref"]: (
            properties["MaximumRetryAttempts"],
            properties["MaximumEventAgeInSeconds"],
            "DestinationConfig" in properties,
        )
        for properties in stack.resources("AWS::Lambda::EventInvokeConfig").values()
    }
    functions = {k: p for k, p in stack.resources("AWS::Lambda::Function").items() if "Environment" in p}
    assert configured == dict.fromkeys(functions, (0, 60, False))
    assert not [properties for properties in functions.values() if "DeadLetterConfig" in properties]


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
