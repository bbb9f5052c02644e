"""The process server that workers are forked from: one per Python process, so its imports are set in one place."""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

PRELOADED = ["runtime.handler", "runtime.store_directory", "torch._dynamo"]
"""Imported once, before any worker is forked; torch imports its _dynamo (1 s) when the first optimiser is made."""


def worker_context() -> ForkServerContext:
    """The context whose processes have torch from the start; its server begins to import when this is first called."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context
