"""New processes that start in a moment: a server that has imported the large packages once forks them."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import ForkServerContext, SpawnContext


def fresh_processes(*modules: str) -> ForkServerContext | SpawnContext:
    """Return the context for processes that inherit nothing from this one but what they are given.

    On Linux the server starts with the first process and lives as long as this one. Its processes see the environment
    of that moment. Elsewhere each process imports for itself: system libraries may not bear a fork.

    Args:
        modules: what the server imports first; they must start no thread. Nothing changes once it runs.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context
