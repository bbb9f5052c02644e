"""The functions carry the plan's figures."""

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


def test_a_worker_is_never_run_again_alone(stack: Synthesised) -> None:
    retries = {
        properties["FunctionName"]["Ref"]: properties["MaximumRetryAttempts"]
        for properties in stack.resources("AWS::Lambda::EventInvokeConfig").values()
    }
    functions = {k for k, p in stack.resources("AWS::Lambda::Function").items() if "Environment" in p}
    assert retries == dict.fromkeys(functions, 0)


def test_description_of_a_stage_with_very_many_layers_is_cut(tmp_path) -> None:
    stack = synthesise(tmp_path, layers=[300])
    assert len(stack.functions[0]["Description"]) == 256
