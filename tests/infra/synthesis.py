"""Synthesised stacks as plain data: resources by property, never by logical id."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from infra.packaging import Packaging
from infra.training import FuncPipeTraining
from infra.training_stack import TrainingStack
from runtime.manifest import Manifest, load_manifest
from tests.manifests import write_project

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Synthesised:
    """The text of a stack's template and the assembly folder that it was written to."""

    manifest: Manifest
    text: str = field(repr=False)
    assembly: Path

    @cached_property
    def template(self) -> dict[str, Any]:
        return json.loads(self.text)

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of the resources of a CloudFormation type, by logical id (an opaque key)."""
        return {
            key: resource.get("Properties", {})
            for key, resource in self.template["Resources"].items()
            if resource["Type"] == kind
        }

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Properties of the stages' functions, in the order of the stages."""
        found = [
            properties
            for properties in self.resources("AWS::Lambda::Function").values()
            if "FUNCPIPE_STAGE" in properties.get("Environment", {}).get("Variables", {})
        ]
        return sorted(found, key=lambda properties: int(self.environment(properties)["FUNCPIPE_STAGE"]))

    def environment(self, function: dict[str, Any]) -> dict[str, str]:
        """A function's environment, with a bucket's logical id for its name."""
        return {key: text(value) for key, value in function["Environment"]["Variables"].items()}

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Every policy statement of a role, whose references are replaced by ``text``."""
        documents = [policy["PolicyDocument"] for policy in self.resources("AWS::IAM::Role")[role].get("Policies", [])]
        documents += [
            policy["PolicyDocument"]
            for policy in self.resources("AWS::IAM::Policy").values()
            if {"Ref": role} in policy["Roles"]
        ]
        return [statement for document in documents for statement in document["Statement"]]

    def allows(self, role: str, action: str, resource: str, *, from_code: bool = True) -> bool:
        """Evaluates a role's policies as IAM does: allowed by one statement and denied by none.

        ``from_code``: asked by the code of a function, and not by Lambda itself; the one condition that is known.
        """
        verdict = False
        for statement in self.statements(role):
            assert "NotAction" not in statement and "NotResource" not in statement
            if "Condition" in statement:
                ((operator, condition),) = statement["Condition"].items()
                ((key, pattern),) = condition.items()
                assert (operator, key) == ("ArnLike", "lambda:SourceFunctionArn")
                assert text(pattern).endswith(":function:*"), "any function of the account"
                if not from_code:
                    continue
            matches = any(fnmatchcase(action, pattern) for pattern in listed(statement["Action"])) and any(
                fnmatchcase(resource, text(pattern)) for pattern in listed(statement["Resource"])
            )
            if matches and statement["Effect"] == "Deny":
                return False
            verdict = verdict or matches
        return verdict

    @property
    def aliases(self) -> list[str]:
        """Logical ids of the stages' aliases, in order; ``text`` shows an alias's ARN as its logical id."""
        functions = self.resources("AWS::Lambda::Function")
        found = {
            int(self.environment(functions[properties["FunctionName"]["Ref"]])["FUNCPIPE_STAGE"]): key
            for key, properties in self.resources("AWS::Lambda::Alias").items()
        }
        return [found[stage] for stage in range(len(found))]

    @property
    def state_machine(self) -> dict[str, Any]:
        (properties,) = self.resources("AWS::StepFunctions::StateMachine").values()
        definition = text(properties["DefinitionString"])
        for name, value in properties["DefinitionSubstitutions"].items():
            definition = definition.replace(f"${{{name}}}", value)
        return json.loads(definition)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def text(value: Any) -> str:
    """A template's string: the Ref of a resource becomes its logical id, its ARN becomes "arn(ID)"."""
    if isinstance(value, str):
        return value
    (function, argument), *rest = value.items()
    assert not rest
    if function == "Ref":
        return argument
    if function == "Fn::GetAtt":
        resource, attribute = argument
        return f"arn({resource})" if attribute == "Arn" else f"{attribute}({resource})"
    if function == "Fn::Join":
        separator, parts = argument
        return separator.join(text(part) for part in parts)
    if function == "Fn::Sub":
        return argument
    raise AssertionError(f"unexpected intrinsic function: {function}")


def walk(value: Any) -> Iterator[Any]:
    """``value`` and everything in it."""
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


def synthesise(folder: Path, *, packaging: Packaging = Packaging.ZIP, **options: Any) -> Synthesised:
    """The stack of ``tests.manifests.make_manifest(**options)``, with the feature flags of cdk.json.

    ``folder`` holds the project (made when absent) and, in one sub-folder per call, the assembly.
    """

    def build(app: cdk.App, manifest: Manifest, source: Path) -> None:
        TrainingStack(app, "stack", manifest=manifest, source=source, packaging=packaging)

    return synthesise_app(folder, build, **options)


def synthesise_training(folder: Path, *, plan: dict[str, Any], **properties: Any) -> Synthesised:
    """A stack with one FuncPipeTraining of these properties; those that are callables are called with the stack."""

    def build(app: cdk.App, manifest: Manifest, source: Path) -> None:
        stack = cdk.Stack(app, "stack")
        made = {key: value(stack) if callable(value) else value for key, value in properties.items()}
        FuncPipeTraining(stack, "Training", manifest=manifest, source=source, packaging=Packaging.ZIP, **made)

    return synthesise_app(folder, build, **plan)


def synthesise_app(folder: Path, build: Callable[[cdk.App, Manifest, Path], None], **options: Any) -> Synthesised:
    """The stack "stack" of the app that ``build`` fills, which is given the manifest and the source's folder."""
    path = write_project(folder, **options)
    manifest = load_manifest(path)
    assembly = folder / f"cdk.out-{len(list(folder.glob('cdk.out-*')))}"
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = cdk.App(outdir=str(assembly), context=context, analytics_reporting=False)
    build(app, manifest, path.parent / manifest.package.source)
    app.synth()
    return Synthesised(manifest, (assembly / "stack.template.json").read_text(), assembly)
