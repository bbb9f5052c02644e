"""The process server that workers are forked from: one per Python process, so its imports are set in one place."""

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

PRELOADED = ["runtime.handler", "runtime.worker", "runtime.store_directory", "torch._dynamo"]
"""Imported once, before any worker is forked; torch imports its _dynamo (1 s) when the first optimiser is made."""


def worker_context() -> ForkServerContext:
    """The context whose processes have torch from the start; its server begins to import when this is first called.

    The server is deaf to the terminal's Ctrl-C from its first moment: by itself it ignores that only once its imports
    are done, and until then would end with a traceback, and the run with it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # before the signal is blocked, because starting it unblocks it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # which the server inherits
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
