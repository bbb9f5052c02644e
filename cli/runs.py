"""A run named on the command line: its entry in the registry, its AWS environment, its records and its end."""

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from runtime.errors import UserInputError

if TYPE_CHECKING:
    from launch.following import Ending
    from launch.registry import Registry, RunEntry
    from launch.resuming import OldRun
    from runtime.manifest import Manifest
    from runtime.store import Store


def add_local_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--local", action="store_true", help="use the embedded AWS (`funcpipe local up`) instead of an account"
    )


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="id of the run, as `funcpipe run` or `funcpipe start` printed it")


def add_resume_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on from the last checkpoint of RUN, as a new run; the plan may be another one of the same training",
    )


def project_folder() -> Path:
    """The folder whose ``.funcpipe`` remembers runs and the embedded AWS: the working directory."""
    return Path.cwd()


def registry() -> "Registry":
    from launch.registry import Registry

    return Registry(project_folder())


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """The process's environment is ``values`` for the block; boto3 takes account, region and endpoint from it."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def aws_environment(embedded: bool) -> Iterator[None]:
    """The block talks to the embedded AWS, or to whatever the environment names; AWS errors come out in words.

    Raises:
        UserInputError: the embedded AWS is wanted and does not run.
    """
    from launch.session import aws_errors

    if not embedded:
        with aws_errors():
            yield
        return
    from cli.local import running_emulator
    from localaws.variables import with_emulator

    emulator = running_emulator(project_folder())
    with _environment(with_emulator(os.environ, emulator.environment)), aws_errors():
        yield


@contextmanager
def opened_run(args: argparse.Namespace) -> "Iterator[tuple[RunEntry, Store]]":
    """The entry and the artifact store of ``args.run``, in the AWS environment that it was started in.

    Raises:
        UserInputError: the run is not known here, ``--local`` does not fit it, or its store is gone.
    """
    entry = registry().get(args.run)
    if args.local and not entry.embedded:
        place = "in plain local processes" if entry.kind == "local" else "on an AWS account"
        raise UserInputError(f"run {entry.run!r} trains {place}, not on the embedded AWS. Leave --local out.")
    with _store_of(entry) as store:
        yield entry, store


@contextmanager
def _store_of(entry: "RunEntry") -> "Iterator[Store]":
    from runtime.store_urls import open_store

    if entry.kind == "local":
        folder = Path(unquote(urlsplit(entry.artifacts_url).path))
        if not folder.is_dir():
            raise UserInputError(f"run {entry.run!r}: its folder {folder} is gone, so nothing is left of it.")
        yield open_store(entry.artifacts_url)
        return
    with aws_environment(entry.embedded):
        yield open_store(entry.artifacts_url)


@contextmanager
def old_run(name: str | None) -> "Iterator[OldRun | None]":
    """The run to resume, where one is named; only one that has ended.

    Raises:
        UserInputError: it is not known here, its store is gone, or it is still at work.
    """
    if name is None:
        yield None
        return
    from launch.resuming import OldRun

    entry = registry().get(name)
    with _store_of(entry) as store:
        if ending_of(entry) is None:
            raise UserInputError(f"run {name!r} is still at work. End it with `funcpipe stop {name}`, then resume it.")
        yield OldRun(name, store)


def source_of(entry: "RunEntry", manifest: "Manifest") -> Path:
    """The folder of the model's code that the run was started from; it need not be there any more."""
    return Path(entry.manifest_path).parent / manifest.package.source


def ending_of(entry: "RunEntry") -> "Ending | None":
    """How the run's executor ended; None while it works. Raises FuncpipeError when that cannot be found out."""
    from launch.following import Ending

    if entry.kind == "local":
        if registry().is_held(entry.run):
            return None
        return Ending(succeeded=False, message="the process that ran it has ended")
    from launch.deployment import describe_execution

    assert entry.execution_arn is not None, "an aws entry has one"
    execution = describe_execution(entry.execution_arn)
    if execution is None:
        return Ending(succeeded=False, message=f"there is no execution {entry.execution_arn}")
    return execution.ending()
