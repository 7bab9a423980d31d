"""The outcome of a training run, and the signs of life before it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnderWay:
    """A sign of life of a training run.

    Args:
        trial: its number in the study.
        hash: of the net.
        place: where it is trained: this process, a worker, or a node.
        epoch: epochs done, where the objective reports them.
        seconds: since it was begun.
    """

    trial: int
    hash: str
    place: str
    epoch: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """A training run's score, or why it has none.

    Args:
        score: the higher the better; None where the training run failed.
        reason: of a failure, in a word or two: out of memory, not a number, time-out, error, worker died, interrupted.
        error: the failure's message.
        epochs: epochs done, where the objective reports them.
        is_stopped: whether the training run was ended early, as not promising.
        seconds: that it took.
        peak_mib: most memory of its process, or of its GPU.
        reused_from: the study that has trained the architecture.
    """

    score: float | None = None
    reason: str | None = None
    error: str | None = None
    epochs: int = 0
    is_stopped: bool = False
    seconds: float = 0.0
    peak_mib: float = 0.0
    reused_from: str | None = None
