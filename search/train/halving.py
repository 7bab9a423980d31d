"""Successive halving over epochs: short trainings for all, the full length for the promising third of each rung."""

from __future__ import annotations

import math
from collections.abc import Iterable

ETA = 3


def rungs(epochs: int, eta: int = ETA) -> tuple[int, ...]:
    """Return after which epochs a training may be stopped, e.g. (1, 3) for 9 epochs; none below 3 epochs."""
    found = []
    while epochs >= eta:
        epochs = round(epochs / eta)
        found.append(epochs)
    return tuple(sorted(set(found)))


def is_promising(score: float, others: Iterable[float], eta: int = ETA) -> bool:
    """Return whether a score at a rung is in the best 1/eta of all that got there.

    Source: Li et al. 2018, ASHA, arXiv 1810.05934, in its stopping form.

    Args:
        score: of the training in question.
        others: of the other trainings, at the same rung.
        eta: of so many trainings, one goes on.
    """
    ranked = sorted(others, reverse=True)
    place = sum(other > score for other in ranked)
    return place < math.ceil((len(ranked) + 1) / eta)
