"""Early stopping: half of the epochs for all, the rest for the promising half.

A third of the epochs says nothing of a net: benchmarks/search_bench.md has the rank correlations of a table of trained
nets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

KEPT = 2
"""One of so many trainings goes on."""
SHORTEST = 4
"""Trainings of fewer epochs are not stopped."""


def rungs(epochs: int) -> tuple[int, ...]:
    """Return after which epochs a training may be stopped: half of them; none in short trainings."""
    return (epochs - epochs // 2,) if epochs >= SHORTEST else ()


def is_promising(score: float, others: Iterable[float], kept: int = KEPT) -> bool:
    """Return whether a score at a rung is in the best 1/kept of all that got there.

    Source: Li et al. 2018, ASHA, arXiv 1810.05934, in its stopping form.

    Args:
        score: of the training in question.
        others: of the other trainings, at the same rung.
        kept: of so many trainings, one goes on.
    """
    ranked = sorted(others, reverse=True)
    place = sum(other > score for other in ranked)
    return place < math.ceil((len(ranked) + 1) / kept)
