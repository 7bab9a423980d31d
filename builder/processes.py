"""New processes that start in a moment: a server that has imported the large packages once forks them."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext, SpawnContext


def fresh_processes(*modules: str) -> ForkServerContext | SpawnContext:
    """Return the context for processes that inherit nothing from this one but what they are given.

    Where the system can fork, the server starts with the first process and lives as long as this one. Its processes see
    the environment of that moment.

    Args:
        modules: what the server imports first; they must start no thread. Nothing changes once it runs.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context
