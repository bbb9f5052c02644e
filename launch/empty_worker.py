"""Resident memory of a local run's worker that holds nothing: forked as such workers are, without a client of S3."""

import resource
import sys
from multiprocessing.connection import Connection

from launch.worker_context import worker_context
from runtime.errors import FuncpipeError

PATIENCE_S = 120.0


def empty_worker_bytes() -> int:
    """Peak resident bytes. Raises FuncpipeError when the process does not tell."""
    receiving, sending = worker_context().Pipe(duplex=False)
    process = worker_context().Process(target=_train_a_little, args=(sending,), daemon=True)
    process.start()
    sending.close()
    try:
        if not receiving.poll(PATIENCE_S):
            raise FuncpipeError(f"measuring a worker's base memory took more than {PATIENCE_S:.0f} s; try again")
        return int(receiving.recv())
    except EOFError:
        raise FuncpipeError("measuring a worker's base memory failed: its process ended without a word") from None
    finally:
        process.kill()
        process.join()
        receiving.close()


def _train_a_little(connection: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.Linear(64, 64)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(8, 64)).sum().backward()
    optimizer.step()
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
