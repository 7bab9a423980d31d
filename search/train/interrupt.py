"""Ctrl-C as a flag that the search checks between steps: it is not lost, and no transaction is cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupt:
    """Notes Ctrl-C while it is entered; outside the main thread it does nothing.

    Args:
        is_urgent: returns whether Ctrl-C must raise KeyboardInterrupt at once, because this process is training a net.
            A second Ctrl-C always raises.
    """

    def __init__(self, is_urgent: Callable[[], bool]) -> None:
        self.is_set = False
        self._is_urgent = is_urgent
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_second, self.is_set = self.is_set, True
        if is_second or self._is_urgent():
            raise KeyboardInterrupt
