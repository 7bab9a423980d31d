"""Lines for people while the command works: none of its silences is long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

QUIET_S = 8.0
"""After so long without a line, one says that work goes on."""


class Spoken:
    """Passes lines on, keeps them, and says that work goes on if none came for a while; a context.

    Args:
        write: prints a line.
        quiet_s: seconds without a line after which one is made.
    """

    def __init__(self, write: Callable[[str], object], *, quiet_s: float = QUIET_S) -> None:
        self.lines: list[str] = []
        self._write, self._quiet_s = write, quiet_s
        self._has_news, self._lock = threading.Event(), threading.Lock()
        self._is_over = False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def say(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            self.lines.append(text)
            self._write(text)
        self._has_news.set()

    def __enter__(self) -> Spoken:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        """Watch no longer."""
        self._is_over = True
        self._has_news.set()
        self._thread.join()

    def _watch(self) -> None:
        since = time.monotonic()
        while not self._is_over:
            if self._has_news.wait(self._quiet_s):
                self._has_news.clear()
                since = time.monotonic()
                continue
            with self._lock:
                self._write(f"  still at work, {time.monotonic() - since:.0f} s")
