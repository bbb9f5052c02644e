"""The link that each worker of a local run gets: options of ``funcpipe run`` and ``funcpipe calibrate``."""

import argparse
from typing import TYPE_CHECKING

from runtime.errors import UserInputError

if TYPE_CHECKING:
    from runtime.store_wrappers import LinkSpec

_MIB = 1 << 20


def add_link_options(parser: argparse.ArgumentParser) -> None:
    """``--upload-mib-s``, ``--download-mib-s`` and ``--latency-ms``."""
    parser.add_argument("--upload-mib-s", type=float, metavar="X", help="limit of each worker's uplink, MiB/s")
    parser.add_argument("--download-mib-s", type=float, metavar="X", help="limit of each worker's downlink, MiB/s")
    parser.add_argument("--latency-ms", type=float, metavar="X", help="added to every storage request, ms")


def link_of(args: argparse.Namespace) -> "LinkSpec | None":
    """The link that the options describe; None when none is given. Raises UserInputError for impossible figures."""
    from pydantic import ValidationError

    from runtime.store_wrappers import LinkSpec

    if args.upload_mib_s is None and args.download_mib_s is None and args.latency_ms is None:
        return None
    try:
        return LinkSpec(
            upload_bytes_s=args.upload_mib_s * _MIB if args.upload_mib_s is not None else None,
            download_bytes_s=args.download_mib_s * _MIB if args.download_mib_s is not None else None,
            latency_s=(args.latency_ms or 0.0) / 1_000,
        )
    except ValidationError:
        raise UserInputError(
            "--upload-mib-s and --download-mib-s must be above 0, --latency-ms at least 0 "
            f"(given: {args.upload_mib_s}, {args.download_mib_s}, {args.latency_ms})"
        ) from None
