"""A command that prints nothing for a while says that it is still at work."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

QUIET_S = 8.0
"""After so long without output, a line is printed."""
LONG_S, LOG_QUIET_S = 300.0, 60.0
"""Once a command has run so long, a log file gets a line only after this many seconds."""


class _Noted:
    """A stream that notes when something was written."""

    def __init__(self, stream: Any, note: threading.Event) -> None:
        self._stream, self._note = stream, note

    def write(self, text: str) -> int:
        """Write and take note."""
        self._note.set()
        written: int = self._stream.write(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def at_work(*, quiet_s: float = QUIET_S) -> Iterator[None]:
    """Print a line on stderr whenever neither stdout nor stderr was written for ``quiet_s`` seconds.

    Progress bars write all the time, so nothing is printed between them. Where stderr is no terminal, there are fewer
    lines after ``LONG_S``, so that the log of a long training stays short.
    """
    written, over, stderr = threading.Event(), threading.Event(), sys.stderr
    begun = time.monotonic()

    def watch() -> None:
        since = begun
        while not over.is_set():
            is_long = not stderr.isatty() and time.monotonic() - begun > LONG_S
            if written.wait(max(quiet_s, LOG_QUIET_S) if is_long else quiet_s):
                written.clear()
                since = time.monotonic()
            else:
                print(f"  still at work, {time.monotonic() - since:.0f} s", file=stderr, flush=True)

    watcher = threading.Thread(target=watch, daemon=True)
    with (
        contextlib.redirect_stdout(_Noted(sys.stdout, written)),
        contextlib.redirect_stderr(_Noted(sys.stderr, written)),
    ):
        watcher.start()
        try:
            yield
        finally:
            over.set()
            written.set()
            watcher.join()
