"""``funcpipe start``: stages a run's data and initial weights, and starts it on the deployed stack."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cli.runs import add_local_option, add_resume_option, aws_environment, old_run, registry
from cli.screen import Interrupted, Screen

if TYPE_CHECKING:
    from launch.deployment import Deployment
    from launch.registry import RunEntry

EXAMPLE = """\
example: deploy a plan, then train
  npx cdk deploy -c manifest=manifest.json
  funcpipe start manifest.json --run first
  funcpipe watch first
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "start",
        help="start a run on the deployed stack",
        description="Check that the stack was deployed from MANIFEST, upload what the run needs, and start its "
        "Step Functions execution.",
        epilog=EXAMPLE,
    )
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="the plan, as `funcpipe plan` wrote it")
    parser.add_argument("--run", metavar="ID", help="id of the new run (default: job name, time and four digits)")
    add_resume_option(parser)
    parser.add_argument("--stack", metavar="NAME", help="name of the stack (default: funcpipe-<job name>)")
    parser.add_argument("--wait", action="store_true", help="watch the run until it ends")
    add_local_option(parser)
    parser.set_defaults(handler=start)


def start(args: argparse.Namespace, screen: Screen) -> int:
    from launch.deployment import check_idle, find_deployment, stage_functions
    from launch.killing import open_functions
    from launch.registry import RunEntry, check_run_id, default_run_id
    from runtime.manifest import load_manifest

    manifest = load_manifest(args.manifest)
    run = check_run_id(args.run) if args.run else default_run_id(manifest.name)
    registry().check_unused(run)
    with aws_environment(args.local):
        from launch.staging import source_folder, stage_run
        from runtime.store_urls import open_reliable_store

        try:
            deployment = find_deployment(manifest, str(args.manifest), args.stack, embedded=args.local)
            check_idle(deployment)
            if open_functions(stage_functions(deployment.stack), manifest):
                screen.info(
                    f"{deployment.stack}: its functions, which `funcpipe stop --kill` had closed, are open again"
                )
            source = source_folder(manifest, args.manifest)
            store = open_reliable_store(deployment.artifacts_url)
            entry = RunEntry(
                run=run,
                kind="aws",
                artifacts_url=deployment.artifacts_url,
                manifest_path=str(args.manifest.resolve()),
                manifest_sha256=manifest.sha256,
                started_at=time.time(),
                embedded=args.local,
                stack=deployment.stack,
                state_machine_arn=deployment.state_machine_arn,
                execution_arn=deployment.execution_arn(run),
                region=deployment.region,
            )
            weights = "initial weights" if args.resume is None else f"the last checkpoint of {args.resume}"
            screen.info(f"{run}: uploading data and {weights} to {deployment.artifacts_url}")
            with old_run(args.resume) as old:
                stage_run(manifest, source, run, store, old, screen.warn)
        except KeyboardInterrupt:
            raise Interrupted(
                f"run {run} was NOT started: interrupted while it was being prepared. Nothing runs and nothing is "
                "billed; start again under another --run."
            ) from None
        _start_execution(deployment, entry)
        local = " --local" if args.local else ""
        screen.info(f"{run}: started on stack {deployment.stack}")
        if args.wait:
            from cli.watch import watch_run

            return watch_run(entry, store, screen)
    screen.result(
        {"run": run, "stack": deployment.stack, "execution_arn": entry.execution_arn, "artifacts": entry.artifacts_url},
        f"{run}\nfollow it:  funcpipe watch {run}{local}\nend it now: funcpipe stop {run}{local}",
    )
    return 0


def _start_execution(deployment: "Deployment", entry: "RunEntry") -> None:
    """Remembers the run and starts it; if either fails, or Ctrl-C comes between, it is known which of them holds."""
    from launch.deployment import describe_execution, start_execution
    from runtime.errors import FuncpipeError

    runs = registry()
    # Remembered first: a run that costs money must never be one that `funcpipe stop` does not know.
    runs.add(entry)
    try:
        start_execution(deployment, entry.run)
    except KeyboardInterrupt:
        assert entry.execution_arn is not None
        try:
            started = describe_execution(entry.execution_arn) is not None
        except FuncpipeError as error:
            raise Interrupted(
                f"run {entry.run} may have been started: interrupted while asking AWS to, and AWS does not say "
                f"({error}). `funcpipe watch {entry.run}` tells; `funcpipe stop {entry.run}` ends it."
            ) from None
        if started:
            raise Interrupted(
                f"run {entry.run} WAS started and goes on. `funcpipe watch {entry.run}` shows it, "
                f"`funcpipe stop {entry.run}` ends it."
            ) from None
        runs.remove(entry.run)
        raise Interrupted(f"run {entry.run} was NOT started. Start again under another --run.") from None
    except FuncpipeError:
        runs.remove(entry.run)
        raise
