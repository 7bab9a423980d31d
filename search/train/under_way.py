"""The state of a training run that is under way."""

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
