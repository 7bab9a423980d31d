"""Heartbeats: while a search trains, its running trials are marked alive, so that other machines leave them alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError

TICK_S = 1.0


class Heartbeat:
    """A thread that marks every open trial as alive, as a context manager.

    Args:
        open_trials: returns the keys of the trials in training.
        beat: marks one trial as alive, by its key.
        every_s: seconds between two marks of one trial.
    """

    def __init__(self, open_trials: Callable[[], Collection[int]], beat: Callable[[int], None], every_s: float) -> None:
        self._open_trials, self._beat, self._every_s = open_trials, beat, every_s
        self._last: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            now, trials = time.monotonic(), list(self._open_trials())
            self._last = {trial: self._last.get(trial, float("-inf")) for trial in trials}
            for trial in trials:
                if now - self._last[trial] >= self._every_s:
                    try:
                        self._beat(trial)
                        self._last[trial] = now
                    except (StorageInternalError, DBAPIError, KeyError):
                        continue  # the database is away for a moment, or the trial gone: the next tick tries again
