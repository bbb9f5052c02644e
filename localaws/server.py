"""The emulator's process: MiniStack with the adapters in place, on 127.0.0.1.

    python -m localaws.server --port 4566 --folder STATE --function-python PYTHON

Runs in the emulator's own environment. Everything it keeps is in memory, but for ``--folder``: unpacked functions and
their temporary files; and for S3's objects where ``--objects`` is given.
"""

import argparse
import os
import sys
from pathlib import Path

from localaws.owner import end_with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--function-python", type=Path, required=True, help="Python with awslambdaric")
    parser.add_argument("--objects", type=Path, help="folder for what S3 holds; what is there already is held, too")
    parser.add_argument("--owner", nargs=2, metavar=("PID", "STARTED"), help="process to end with")
    options = parser.parse_args()
    del sys.argv[1:]  # MiniStack's own main() reads it too
    if options.owner is not None:
        end_with(int(options.owner[0]), options.owner[1])
    configure(options.port, options.folder, options.objects)
    serve(options.port, options.folder, options.function_python)


def configure(port: int, folder: Path, objects: Path | None) -> None:
    """MiniStack reads its settings from the environment, when it is imported."""
    if objects is not None:
        os.environ |= {"S3_PERSIST": "1", "S3_DATA_DIR": str(objects)}
    os.environ |= {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "TMPDIR": str(folder),
        "LAMBDA_ACCOUNT_CONCURRENCY": "1000",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
    }


def serve(port: int, folder: Path, function_python: Path) -> None:
    # Imported only now: configure() comes first.
    import ministack.app

    from localaws import ministack_faults, ministack_lambda, ministack_others, ministack_s3, ministack_stepfunctions
    from localaws.execution_environment import Host
    from localaws.faults import Faults
    from localaws.guardian import Guardian
    from localaws.pool import Pool

    guardian = Guardian()
    environments, code = folder / "environments", folder / "code"
    for place in (environments, code):
        place.mkdir(parents=True, exist_ok=True)
    pool = Pool(Host(function_python, environments, guardian))
    faults = Faults()
    ministack_others.install()
    ministack_s3.install()
    ministack_stepfunctions.install()
    ministack_lambda.install(pool, code, f"http://127.0.0.1:{port}", faults)
    ministack_faults.install(faults, pool)
    try:
        ministack.app.main()
    finally:
        pool.drop(lambda function: True)
        guardian.close()


if __name__ == "__main__":
    main()
