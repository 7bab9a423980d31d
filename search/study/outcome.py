"""The outcome of a training run, as it is stored in a trial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """A training run's score, or why it has none.

    Args:
        score: higher is better; None if the training run failed.
        reason: kind of failure: out of memory, not a number, time-out, error, worker died, interrupted.
        error: message of the failure.
        epochs: epochs done, if the objective reports them.
        is_stopped: whether a report's answer ended the training run.
        seconds: duration.
        peak_mib: peak memory of its process, or of its GPU, in MiB.
    """

    score: float | None = None
    reason: str | None = None
    error: str | None = None
    epochs: int = 0
    is_stopped: bool = False
    seconds: float = 0.0
    peak_mib: float = 0.0
