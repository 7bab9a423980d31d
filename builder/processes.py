"""New processes that start in a moment: a server that has imported the large packages once forks them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any


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


def call_in_process(
    function: Callable[..., Any],
    *arguments: Any,
    seconds: float | None = None,
    say: Callable[[str], object] | None = None,
) -> Any:
    """Return what a function returns in a process of its own, which has ended when this call returns.

    Its only tie to this process is a pipe: a ``Pool`` has named semaphores too, which stay behind if a signal ends this
    process.

    Args:
        function: of a module; what it raises is raised here.
        arguments: pickled.
        seconds: after which the process is ended; None for any time.
        say: called with the lines of the function, which is given ``say=`` for them; None gives it none.

    Raises:
        TimeoutError: the time was not enough.
        RuntimeError: the process ended without a result, for example for want of memory.
    """
    context = fresh_processes(function.__module__)
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, arguments, say is not None), daemon=True)
    until = None if seconds is None else time.monotonic() + seconds
    process.start()
    theirs.close()
    try:
        while True:
            if not ours.poll(None if until is None else max(0.0, until - time.monotonic())):
                raise TimeoutError(f"{function.__name__}: {seconds:.0f} s were not enough.")
            try:
                kind, value = ours.recv()
            except (EOFError, OSError):
                process.join()
                ended = f"its process ended with exit code {process.exitcode}. Free memory, and repeat."
                raise RuntimeError(f"{function.__name__}: {ended}") from None
            if kind == "result":
                return value
            if kind == "error":
                raise value
            if say is not None:
                say(value)
    finally:
        process.kill()  # a result was sent, or none is wanted
        process.join()
        ours.close()


def _answer(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], speaks: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller ends this process
    threading.Thread(target=exit_with_parent, daemon=True).start()
    options = {"say": lambda text: connection.send(("line", text))} if speaks else {}
    try:
        message = ("result", function(*arguments, **options))
    except Exception as err:
        message = ("error", _picklable(err))
    with contextlib.suppress(OSError):  # the caller is gone
        connection.send(message)


def _picklable(error: Exception) -> Exception:
    with contextlib.suppress(Exception):
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def exit_with_parent() -> None:
    """End this process when the process that started it has ended; for a thread."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
