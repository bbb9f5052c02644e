"""A Dockerfile as steps that can be carried out without Docker; what cannot is refused."""

import io
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from dockerfile_parse import DockerfileParser

from runtime.errors import UserInputError

_LAMBDA_PYTHON = re.compile(r"public\.ecr\.aws/lambda/python:(3\.\d+)")


@dataclass(frozen=True)
class Environment:
    """ENV: variables for all that follows."""

    variables: dict[str, str]


@dataclass(frozen=True)
class Workdir:
    """WORKDIR: the folder in which all that follows happens; made where there is none."""

    path: str


@dataclass(frozen=True)
class Copy:
    """COPY: files, and contents of folders, of the build context to a folder."""

    sources: tuple[str, ...]
    folder: str


@dataclass(frozen=True)
class Run:
    """RUN: a shell command."""

    command: str


Step = Environment | Workdir | Copy | Run


@dataclass(frozen=True)
class Dockerfile:
    """``python`` is the version of the base image's Python, e.g. "3.12"; ``handler`` is CMD's only word."""

    base: str
    python: str
    steps: tuple[Step, ...]
    handler: str


def read_dockerfile(path: Path) -> Dockerfile:
    """Parses a Dockerfile of one stage on a public Lambda Python base image.

    Raises:
        UserInputError: an instruction that ``rehearsal`` does not know, or another base image.
    """
    parser = DockerfileParser(fileobj=io.BytesIO(path.read_bytes()))
    base = python = handler = None
    steps: list[Step] = []
    for item in parser.structure:
        instruction, value = item["instruction"], item["value"]
        where = f"{path}: line {item['startline'] + 1}: {instruction} {value}"
        if instruction == "COMMENT":
            continue
        if instruction == "FROM":
            match = _LAMBDA_PYTHON.fullmatch(value)
            if match is None or base is not None:
                raise UserInputError(f"{where}: expected one FROM public.ecr.aws/lambda/python:3.N")
            base, python = value, match[1]
        elif instruction == "CMD":
            handler = _handler(value, where)
        else:
            steps.append(_step(instruction, value, where))
    if base is None or python is None or handler is None:
        raise UserInputError(f"{path}: has no {'FROM' if base is None else 'CMD'}")
    return Dockerfile(base, python, tuple(steps), handler)


def _step(instruction: str, value: str, where: str) -> Step:
    match instruction:
        case "ENV":
            return Environment(dict(word.split("=", 1) for word in shlex.split(value)))
        case "WORKDIR":
            return Workdir(value)
        case "RUN" if not value.startswith(("[", "--")):
            return Run(value)
        case "COPY" if not value.startswith(("[", "--")):
            *sources, folder = shlex.split(value)
            if folder.endswith("/"):
                return Copy(tuple(sources), folder)
    raise UserInputError(
        f"{where}: cannot be rehearsed. Known are ENV NAME=VALUE, WORKDIR, RUN in its shell form and COPY to a folder "
        "whose name ends with /, the last two without options."
    )


def _handler(value: str, where: str) -> str:
    try:
        (handler,) = json.loads(value)
    except ValueError:
        raise UserInputError(f'{where}: expected CMD ["MODULE.FUNCTION"]') from None
    return str(handler)
