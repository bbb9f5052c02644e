"""``funcpipe calibrate``: a store's bandwidth and latency, as a platform file."""

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cli.links import add_link_options, link_of
from runtime.errors import FuncpipeError, UserInputError

if TYPE_CHECKING:
    from cli.screen import Screen
    from runtime.store import Store

EXAMPLE = """\
example: what a bucket gives here, and a plan with it
  funcpipe calibrate s3://my-bucket -o mine.json
  funcpipe plan job.toml --platform mine.json
  funcpipe local exec -- funcpipe calibrate s3://my-bucket -o local.json --base embedded

example: what `funcpipe run` will take on this machine, over links of 2 MiB/s
  funcpipe calibrate . -o slow.json --base local --upload-mib-s 2 --download-mib-s 2 --latency-ms 20
  funcpipe plan job.toml --platform slow.json
  funcpipe run manifest.json --upload-mib-s 2 --download-mib-s 2 --latency-ms 20
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "calibrate",
        help="measure a store's bandwidth and latency; write a platform file",
        description="Writes, reads and deletes objects of its own in a store, and writes what it measured into a "
        "platform file for --platform. Ctrl-C leaves no objects behind.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", metavar="STORE_URL", help="a folder, file:///folder or s3://bucket")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("platform.json"),
        help="file to write, or to update (default: %(default)s)",
    )
    parser.add_argument(
        "--base",
        metavar="NAME|FILE",
        help="platform that all else is taken over from (default: the file to update, else aws-lambda)",
    )
    parser.add_argument("--name", help="of the platform (default: the file's name)")
    parser.add_argument("--memory-mb", type=int, default=1_769, help="of the function where this runs (default: 1769)")
    parser.add_argument("--repeats", type=int, default=5, help="medians of so many (default: %(default)s)")
    parser.add_argument(
        "--object-mb", type=int, help="size of large objects (default: 16, over a link that is slowed down 1)"
    )
    add_link_options(parser)
    parser.set_defaults(handler=calibrate)


def _store_of(text: str) -> "tuple[Store, str]":
    from runtime.store_urls import open_reliable_store

    if "://" in text:
        if text.startswith("file://"):
            from urllib.parse import unquote, urlsplit

            _check_folder(Path(unquote(urlsplit(text).path)))
        return open_reliable_store(text), text
    _check_folder(Path(text))
    url = Path(text).resolve().as_uri()
    return open_reliable_store(url), url


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserInputError(f"{folder}: no such folder. Name a folder that is there, or a bucket as s3://bucket.")


def _between(option: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise UserInputError(f"{option} must be from {least} to {most:,} (given: {value}).")
    return value


def calibrate(args: argparse.Namespace, screen: "Screen") -> int:
    from dataclasses import asdict
    from datetime import UTC, datetime

    from cli.files import write_text
    from cli.screen import Interrupted
    from launch.session import aws_errors
    from planner.calibration import base_document, calibrated, measure_store
    from runtime.limits import LAMBDA_MAX_MEMORY_MB, LAMBDA_MIN_MEMORY_MB
    from runtime.store_wrappers import Link, ThrottledStore

    memory_mb = _between("--memory-mb", args.memory_mb, LAMBDA_MIN_MEMORY_MB, LAMBDA_MAX_MEMORY_MB)
    repeats = _between("--repeats", args.repeats, 1, 1_000)
    link = link_of(args)
    object_mb = args.object_mb if args.object_mb is not None else 16 if link is None else 1
    object_bytes = _between("--object-mb", object_mb, 1, 1_024) << 20
    update = args.base is None and args.output.exists()
    document = base_document(str(args.output) if update else args.base or "aws-lambda")
    name = args.name or re.sub(r"[^a-z0-9-]+", "-", args.output.stem.lower()).strip("-")[:32] or "measured"
    store, url = _store_of(args.store)
    if link is not None:
        store = ThrottledStore(store, Link(link))
    screen.info(f"measuring {url}: {repeats} times, objects of {object_mb} MiB ...")
    try:
        with aws_errors(no_bucket=f"{url}: there is no such bucket. {{}}. Name one that you may write to."):
            measured = measure_store(store, repeats=repeats, object_bytes=object_bytes)
        delays = worker_bytes = None
        if "machine" in document:
            from launch.empty_worker import empty_worker_bytes
            from planner.machine import measure_delays  # imports torch

            with TemporaryDirectory(prefix="funcpipe-") as folder:
                delays = measure_delays(Path(folder))
            worker_bytes = empty_worker_bytes()
    except KeyboardInterrupt:
        raise Interrupted("interrupted by Ctrl-C; nothing was written, and no object is left in the store.") from None
    except OSError as error:
        raise FuncpipeError(f"{url}: {error.strerror or error}. Nothing was written.") from None
    day = datetime.now(UTC).date().isoformat()
    text = calibrated(
        document,
        measured,
        name=name,
        memory_mb=memory_mb,
        url=url,
        day=day,
        update=update,
        delays=delays,
        worker_bytes=worker_bytes,
    )
    write_text(args.output, text)
    screen.result(
        {"platform": str(args.output), "name": name, "memory_mb": memory_mb, "store": url, **asdict(measured)},
        f"{url}, at {memory_mb:,} MB:\n"
        f"  download {measured.download / 2**20:,.1f} MiB/s, {measured.get_latency_s * 1e3:.2f} ms\n"
        f"  upload   {measured.upload / 2**20:,.1f} MiB/s, {measured.put_latency_s * 1e3:.2f} ms",
    )
    screen.info(f"wrote {args.output}; next: funcpipe plan JOB --platform {args.output}")
    return 0
