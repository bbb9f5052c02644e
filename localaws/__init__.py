"""An AWS on 127.0.0.1 without Docker or an account: MiniStack, with Lambda functions as real local processes.

Two sides, which share only this package's files:
    server side, in the emulator's own environment (.venv-emulator): ``server`` starts MiniStack with the adapters
        ``ministack_*`` in place; ``pool``, ``execution_environment`` and ``runtime_api`` run functions.
    client side, in the kit's environment, standard library only: ``control`` starts and ends the server,
        ``variables`` are what AWS clients need in their environment. ``inventory`` (boto3) lists what it holds.
"""
