"""Lines for people that a command prints once, on stderr; outside a command they go to the log."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar

_PRINTED: ContextVar[set[str] | None] = ContextVar("printed", default=None)
"""The lines that the command which runs has printed; None while no command runs."""


@contextlib.contextmanager
def command_notices() -> Iterator[None]:
    """Print the notices of what runs inside: a command."""
    token = _PRINTED.set(set())
    try:
        yield
    finally:
        _PRINTED.reset(token)


def notice(text: str) -> None:
    """Print a line on stderr, once in a command; outside a command, write it to the logger ``lmnet``."""
    printed = _PRINTED.get()
    if printed is None:
        logging.getLogger("lmnet").info("%s", text)
    elif text not in printed:
        printed.add(text)
        print(text, file=sys.stderr, flush=True)
