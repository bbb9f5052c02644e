"""``funcpipe run``: trains a plan in plain local processes, for trying it before any deploy."""

import argparse
import signal
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from cli.links import add_link_options, link_of
from cli.progress import ProgressView, describe_end, describe_saved
from cli.runs import add_resume_option, old_run, project_folder, registry
from cli.screen import Interrupted, Screen
from runtime.errors import UserInputError

if TYPE_CHECKING:
    from launch.following import Ending
    from launch.local_gang import LocalGang
    from launch.status import RunStatus

_POLL_S = 0.5

EXAMPLE = """\
example: try a plan on this machine, with a link as slow as Lambda's
  funcpipe run manifest.json
  funcpipe run manifest.json --upload-mib-s 75 --download-mib-s 75 --latency-ms 30

exit status: 0 done, 1 a worker failed, 2 the input cannot be used, 130 stopped by Ctrl-C
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "run",
        help="train in plain local processes",
        description="Train MANIFEST with one local process per worker over a folder as storage. "
        "Ctrl-C stops the run; its last checkpoint stays.",
        epilog=EXAMPLE,
    )
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="the plan, as `funcpipe plan` wrote it")
    parser.add_argument("--run", metavar="ID", help="id of the new run (default: job name, time and four digits)")
    add_resume_option(parser)
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="storage (default: .funcpipe/store)")
    add_link_options(parser)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace, screen: Screen) -> int:
    from launch.registry import RunEntry, check_run_id, default_run_id
    from runtime.manifest import load_manifest

    manifest = load_manifest(args.manifest)
    link = link_of(args)
    name = check_run_id(args.run) if args.run else default_run_id(manifest.name)
    runs = registry()
    runs.check_unused(name)
    root = args.store or project_folder() / ".funcpipe" / "store"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise UserInputError(f"{root}: cannot be written: {error.strerror}. Name a folder with --store.") from None
    weights = "initial weights" if args.resume is None else f"the last checkpoint of {args.resume}"
    screen.info(f"{name}: preparing data and {weights}")
    try:
        from launch.local_gang import LocalGang

        # First of all, since the gang's server and this process then import torch at the same time.
        gang = LocalGang(manifest, args.manifest.parent / manifest.package.source, name, root, link)
        from launch.staging import source_folder, stage_run

        with old_run(args.resume) as old:
            source = source_folder(manifest, args.manifest)
            stage_run(manifest, source, name, gang.artifacts, old, screen.warn)
    except KeyboardInterrupt:
        raise Interrupted(f"run {name} was NOT started: interrupted while it was being prepared.") from None
    runs.add(
        RunEntry(
            run=name,
            kind="local",
            artifacts_url=gang.artifacts_url,
            manifest_path=str(args.manifest.resolve()),
            manifest_sha256=manifest.sha256,
            started_at=time.time(),
        )
    )
    with runs.held(name):
        status = _train(gang, name, screen)
    return _conclude(status, screen)


def _ending(gang: "LocalGang") -> "Ending | None":
    from launch.following import Ending

    if gang.poll():
        return None
    return Ending(succeeded=gang.failure is None and gang.stop_reason is None, message=gang.stop_reason)


def _train(gang: "LocalGang", name: str, screen: Screen) -> "RunStatus":
    """Runs the gang to its end, or to Ctrl-C (or SIGTERM), and returns the final status."""
    from launch.following import follow
    from launch.run_records import RunRecords
    from launch.status import StatusReader

    reader = StatusReader(RunRecords(gang.artifacts, name))
    interrupt = signal.getsignal(signal.SIGINT)
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        gang.start()
        with ProgressView(screen) as view:
            for status in follow(reader, lambda: _ending(gang), poll_s=_POLL_S):
                view.show(status)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # stopping takes seconds at most; a second Ctrl-C must not tear it
        screen.info(f"{name}: stopping")
        gang.stop("stopped by Ctrl-C")
        gang.wait()
        left = reader.read(time.time())
        raise Interrupted(
            f"run {name} was stopped: no worker runs any more. "
            f"{describe_saved(name, left.committed_iteration, left.iterations_total)}"
        ) from None
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)
    return status


def _conclude(status: "RunStatus", screen: Screen) -> int:
    from launch.status import RunState

    text = describe_end(status)
    if status.state is RunState.DONE:
        text += f"\naccount: funcpipe report {status.run}\nweights: funcpipe export {status.run} -o weights.safetensors"
    screen.result(status.to_dict(), text)
    return 0 if status.state is RunState.DONE else 1
