"""A training of the tests' own that lives on the session's emulator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from infra.stage_function import ALIAS
from launch.deployment import stage_functions
from localaws.inventory import inventory
from runtime.manifest import load_manifest
from tests.cli.project import write_training_project
from tests.conftest import RunningEmulator
from tests.embedded.cdk import cdk
from tests.localaws.waiting import wait_until

EVERYTHING = ("packaging=zip", "monitoring=on", "tracing=on", "budget_usd=1")


class Project:
    """A small training in a folder, deployed from assemblies.

    Args:
        context: of the CDK app, besides the manifest.
        plan: options of its manifest.
    """

    def __init__(
        self, emulator: RunningEmulator, folder: Path, *, context: Sequence[str] = EVERYTHING, **plan: Any
    ) -> None:
        self.emulator, self.folder, self._context = emulator, folder, context
        self.name = f"job{uuid4().hex[:8]}"
        self.stack = f"funcpipe-{self.name}"
        self.manifest = write_training_project(folder, name=self.name, **plan)
        self.first = self.synthesise()

    def synthesise(self) -> Path:
        """The assembly of the manifest as it is."""
        app = self.folder / f"cdk-{uuid4().hex[:8]}"
        given = [word for pair in (f"manifest={self.manifest}", *self._context) for word in ("-c", pair)]
        cdk(self.emulator, "synth", *given, "--output", app, "--quiet", "--strict")
        return app

    def with_more_memory(self) -> Path:
        """The assembly of the plan with another memory size of one stage."""
        plan = load_manifest(self.manifest)
        second = plan.stages[1].model_copy(update={"memory_mb": 1_536})
        self.manifest.write_text(plan.model_copy(update={"stages": [plan.stages[0], second]}).to_json())
        return self.synthesise()

    def deploy(self, app: Path) -> str:
        return cdk(self.emulator, "deploy", "--app", app, "--require-approval", "never")

    def destroy(self, app: Path) -> None:
        cdk(self.emulator, "destroy", "--app", app, "--force")

    @property
    def formation(self) -> Any:
        return self.emulator.client("cloudformation")

    @property
    def left(self) -> dict[str, list[str]]:
        return inventory(self.stack, self.emulator.environment)

    @property
    def status(self) -> str | None:
        """CloudFormation's word on the stack; None once it is gone, or before it is there."""
        pages = self.formation.get_paginator("list_stacks").paginate()
        found = (s for page in pages for s in page["StackSummaries"] if s["StackName"] == self.stack)
        return next((s["StackStatus"] for s in found if s["StackStatus"] != "DELETE_COMPLETE"), None)

    def await_rest(self) -> None:
        """CloudFormation goes on by itself, as on AWS. A change set that was made and never executed stays so."""
        wait_until(
            lambda: self.status == "REVIEW_IN_PROGRESS" or "IN_PROGRESS" not in (self.status or ""),
            "CloudFormation is at rest",
        )

    def stage_functions(self) -> list[dict[str, Any]]:
        """The stages' functions as they are invoked, by their alias."""
        functions = self.emulator.client("lambda")
        names = [f.name for f in stage_functions(self.stack, cloudformation=self.formation, functions=functions)]
        return [functions.get_function_configuration(FunctionName=name, Qualifier=ALIAS) for name in names]

    def memories(self) -> list[int]:
        return [function["MemorySize"] for function in self.stage_functions()]
