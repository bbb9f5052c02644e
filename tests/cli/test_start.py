"""``funcpipe start``, and watching and stopping what it started, against fakes of the AWS services."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

import launch.deployment
import launch.killing
import launch.staging
import runtime.store_urls
from cli.main import main
from runtime import keys
from runtime.manifest import load_manifest
from runtime.outcome import read_commit
from runtime.records import Abort
from runtime.store_directory import DirectoryStore
from tests.cli.project import write_training_project

MACHINE = "arn:aws:states:eu-west-1:000000000000:stateMachine:Workflow"
BEGAN = datetime(2027, 1, 1, tzinfo=UTC)


class Aws:
    """One account: its stack, and the executions of its state machine."""

    def __init__(self, manifest_sha256: str) -> None:
        self.stacks = {"funcpipe-example": manifest_sha256}
        self.executions: dict[str, dict[str, Any]] = {}
        self.concurrency = {"stage-0": 1, "stage-1": 1, "bucket-emptier": 7}
        self.interrupt_before_start = False
        self.interrupt_after_start = False
        self.down = False

    def client(self, service: str) -> "Aws":
        assert service in ("cloudformation", "stepfunctions", "lambda")
        return self

    def get_paginator(self, operation: str) -> "Aws":
        assert operation == "list_stack_resources"
        return self

    def paginate(self, StackName: str) -> list[dict[str, Any]]:
        found = [{"ResourceType": "AWS::Lambda::Function", "PhysicalResourceId": name} for name in self.concurrency]
        return [{"StackResourceSummaries": found}]

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:
        stage = FunctionName.removeprefix("stage-")
        variables = {} if stage == FunctionName else {"FUNCPIPE_STAGE": stage}
        return {"FunctionName": FunctionName, "MemorySize": 1024, "Environment": {"Variables": variables}}

    def get_function_concurrency(self, FunctionName: str) -> dict[str, Any]:
        return {"ReservedConcurrentExecutions": self.concurrency[FunctionName]}

    def put_function_concurrency(self, FunctionName: str, ReservedConcurrentExecutions: int) -> dict[str, Any]:
        self.concurrency[FunctionName] = ReservedConcurrentExecutions
        return {}

    def _refuse(self, operation: str, code: str, message: str = "") -> ClientError:
        return ClientError({"Error": {"Code": code, "Message": message}}, operation)

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if StackName not in self.stacks:
            raise self._refuse("DescribeStacks", "ValidationError", f"Stack with id {StackName} does not exist")
        outputs = {
            "ArtifactBucket": "artifacts",
            "StateMachineArn": MACHINE,
            "ManifestSha256": self.stacks[StackName],
        }
        listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": listed}]}

    def start_execution(self, stateMachineArn: str, name: str, input: str) -> dict[str, Any]:
        if self.interrupt_before_start:
            raise KeyboardInterrupt
        arn = f"{stateMachineArn.replace('stateMachine', 'execution')}:{name}"
        if arn in self.executions:
            raise self._refuse("StartExecution", "ExecutionAlreadyExists")
        self.executions[arn] = {"status": "RUNNING", "input": json.loads(input), "startDate": BEGAN}
        if self.interrupt_after_start:
            raise KeyboardInterrupt
        return {"executionArn": arn}

    def list_executions(self, stateMachineArn: str, statusFilter: str, maxResults: int) -> dict[str, Any]:
        found = [arn for arn, execution in self.executions.items() if execution["status"] == statusFilter]
        return {"executions": [{"name": arn.rpartition(":")[2]} for arn in found[:maxResults]]}

    def describe_execution(self, executionArn: str) -> dict[str, Any]:
        if self.down:
            raise self._refuse("DescribeExecution", "ServiceUnavailable", "try later")
        if executionArn not in self.executions:
            raise self._refuse("DescribeExecution", "ExecutionDoesNotExist")
        return self.executions[executionArn]

    def stop_execution(self, executionArn: str, error: str, cause: str) -> dict[str, Any]:
        self.executions[executionArn] |= {"status": "ABORTED", "error": error, "cause": cause, "stopDate": BEGAN}
        return {}


@pytest.fixture
def aws(tmp_path, monkeypatch) -> Aws:
    """An account with the stack of ``p/manifest.json``; its bucket is a folder."""
    monkeypatch.chdir(tmp_path)
    path = write_training_project(tmp_path / "p", segment_iterations=2)
    account = Aws(load_manifest(path).sha256)
    monkeypatch.setattr(launch.deployment, "client", account.client)
    monkeypatch.setattr(launch.killing, "client", account.client)
    monkeypatch.setattr(
        runtime.store_urls, "open_store", lambda url: DirectoryStore(tmp_path / url.removeprefix("s3://"))
    )
    return account


def bucket(tmp_path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "artifacts")


def arn(run: str) -> str:
    return f"{MACHINE.replace('stateMachine', 'execution')}:{run}"


def test_start_stages_and_starts_and_says_what_next(aws, tmp_path, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    shown = capsys.readouterr().out
    assert "funcpipe watch first" in shown and "funcpipe stop first" in shown
    assert aws.executions[arn("first")]["input"] == {
        "run": "first",
        "segment": 0,
        "attempt": 0,
        "commit": "initial",
    }
    assert bucket(tmp_path).get(keys.manifest("first")) == (tmp_path / "p" / "manifest.json").read_bytes()
    assert bucket(tmp_path).get(keys.commit("first", "initial"))


def test_start_with_json_tells_where_the_run_is(aws, capsys):
    assert main(["start", "p/manifest.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["execution_arn"] == arn(told["run"]) and told["artifacts"] == "s3://artifacts"


def test_a_stack_that_is_not_deployed_exits_2(aws, capsys):
    aws.stacks.clear()
    assert main(["start", "p/manifest.json"]) == 2
    assert "npx cdk deploy -c manifest=p/manifest.json" in capsys.readouterr().err


def test_a_stack_of_another_plan_exits_2(aws, capsys):
    aws.stacks["funcpipe-example"] = "0" * 64
    assert main(["start", "p/manifest.json", "--json"]) == 2
    assert "deployed from another manifest" in json.loads(capsys.readouterr().out)["error"]


def test_a_run_id_is_used_once(aws, tmp_path, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    assert main(["start", "p/manifest.json", "--run", "first"]) == 2
    assert "'first' has been used" in capsys.readouterr().err
    # Another project folder does not know the run, but the bucket does.
    (tmp_path / ".funcpipe" / "runs" / "first.json").unlink()
    aws.executions.clear()
    assert main(["start", "p/manifest.json", "--run", "first"]) == 2
    assert "'first' is used already" in capsys.readouterr().err


def test_one_run_at_a_time_on_a_stack(aws, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    assert main(["start", "p/manifest.json", "--run", "second"]) == 2
    message = capsys.readouterr().err
    assert "busy with run 'first'" in message and "funcpipe stop first" in message and "-c stack=" in message
    assert main(["watch", "second"]) == 2, "it was not begun"
    assert main(["stop", "first"]) == 0
    assert main(["start", "p/manifest.json", "--run", "second"]) == 0


def test_an_execution_of_that_name_exits_2_and_leaves_no_run(aws, capsys):
    aws.executions[arn("first")] = {"status": "SUCCEEDED", "startDate": BEGAN}
    assert main(["start", "p/manifest.json", "--run", "first"]) == 2
    assert "'first' has been used on stack" in capsys.readouterr().err
    assert main(["watch", "first"]) == 2


def test_ctrl_c_while_staging_says_that_nothing_runs(aws, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch.staging, "stage_run", interrupt)
    assert main(["start", "p/manifest.json", "--run", "first"]) == 130
    assert "run first was NOT started" in capsys.readouterr().err
    assert aws.executions == {}
    assert main(["watch", "first"]) == 2


def test_ctrl_c_before_the_execution_exists_says_so(aws, capsys):
    aws.interrupt_before_start = True
    assert main(["start", "p/manifest.json", "--run", "first"]) == 130
    assert "run first was NOT started" in capsys.readouterr().err
    assert main(["watch", "first"]) == 2


def test_ctrl_c_after_the_execution_exists_says_that_it_goes_on(aws, capsys):
    aws.interrupt_after_start = True
    assert main(["start", "p/manifest.json", "--run", "first", "--json"]) == 130
    error = json.loads(capsys.readouterr().out)["error"]
    assert "run first WAS started and goes on" in error and "funcpipe stop first" in error
    assert main(["stop", "first"]) == 0
    assert aws.executions[arn("first")]["status"] == "ABORTED"


def test_ctrl_c_when_aws_does_not_answer_keeps_the_run_known(aws, capsys):
    aws.interrupt_after_start, aws.down = True, True
    assert main(["start", "p/manifest.json", "--run", "first"]) == 130
    message = capsys.readouterr().err
    assert "run first may have been started" in message and "ServiceUnavailable" in message
    aws.down = False
    assert main(["stop", "first"]) == 0


def test_stop_ends_the_execution_and_tells_the_workers(aws, tmp_path, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    capsys.readouterr()
    assert main(["stop", "first", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "run": "first",
        "stopped": True,
        "committed_iteration": 0,
        "iterations_total": 4,
    }
    assert aws.executions[arn("first")]["status"] == "ABORTED"
    marker = Abort.model_validate_json(bucket(tmp_path).get(keys.GangKeys("first", 0, 0).outcome))
    assert marker.reason == "stopped"
    assert main(["stop", "first"]) == 0
    assert "had ended already" in capsys.readouterr().out
    assert main(["watch", "first"]) == 1
    assert "first: stopped by `funcpipe stop`. No iteration is saved" in capsys.readouterr().out


def test_stop_with_kill_closes_the_functions_until_the_next_start(aws, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    assert main(["stop", "first", "--kill"]) == 0
    assert aws.concurrency == {"stage-0": 0, "stage-1": 0, "bucket-emptier": 7}
    assert "Its functions' concurrency is 0 until the next `funcpipe start`" in capsys.readouterr().out
    assert main(["start", "p/manifest.json", "--run", "second"]) == 0
    assert aws.concurrency == {"stage-0": 1, "stage-1": 1, "bucket-emptier": 7}
    assert "its functions, which `funcpipe stop --kill` had closed, are open again" in capsys.readouterr().err


def test_stop_with_save_only_asks(aws, tmp_path, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    assert main(["stop", "first", "--save"]) == 0
    assert "asked to end after a checkpoint" in capsys.readouterr().out
    assert aws.executions[arn("first")]["status"] == "RUNNING"
    assert bucket(tmp_path).get(keys.stop("first"))


def test_a_stopped_run_is_resumed_as_a_new_one(aws, tmp_path, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    assert main(["run", "p/manifest.json", "--resume", "first"]) == 2
    assert "run 'first' is still at work" in capsys.readouterr().err
    assert main(["stop", "first"]) == 0
    assert main(["start", "p/manifest.json", "--run", "second", "--resume", "first"]) == 0
    assert read_commit(bucket(tmp_path), "second", keys.INITIAL).resumed_from == "first"
    assert main(["run", "p/manifest.json", "--resume", "nobody"]) == 2
    assert "no run 'nobody' is known" in capsys.readouterr().err


def test_a_failure_that_left_no_record_shows_the_executions_cause(aws, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    aws.executions[arn("first")] |= {"status": "FAILED", "error": "Lambda.Unknown", "cause": "out of memory"}
    assert main(["watch", "first"]) == 1
    assert "execution FAILED: Lambda.Unknown: out of memory" in capsys.readouterr().out


def test_start_and_wait_watches_to_the_end(aws, monkeypatch, capsys):
    start = launch.deployment.start_execution

    def start_and_time_out(*args, **kwargs):
        arn = start(*args, **kwargs)
        aws.executions[arn] |= {"status": "TIMED_OUT"}
        return arn

    monkeypatch.setattr(launch.deployment, "start_execution", start_and_time_out)
    assert main(["start", "p/manifest.json", "--run", "first", "--wait", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "failed"


def test_local_without_the_embedded_aws_exits_2(aws, capsys):
    assert main(["start", "p/manifest.json", "--local"]) == 2
    assert "funcpipe local up" in capsys.readouterr().err


def test_local_does_not_fit_a_run_on_an_account(aws, capsys):
    assert main(["start", "p/manifest.json", "--run", "first"]) == 0
    assert main(["watch", "first", "--local"]) == 2
    assert "trains on an AWS account" in capsys.readouterr().err
