"""The state of a training run in progress."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnderWay:
    """A training run in progress.

    Args:
        trial: number in the study.
        hash: hash of the net.
        place: the process, worker or node that trains it.
        epoch: epochs done, if the objective reports them.
        seconds: seconds since it began.
    """

    trial: int
    hash: str
    place: str
    epoch: int
    seconds: float
