"""Early stopping, where it is asked for: a share of the epochs for all, the rest for the promising half.

Early scores say little of a net: benchmarks/search_bench.md has their rank correlation with the final scores of another
seed. So nothing is stopped unless ``stop_after`` says so, and never before half of the epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

KEPT = 2
"""One of so many training runs continues."""


def rungs(epochs: int, share: float) -> tuple[int, ...]:
    """Return after which epochs a training run may be stopped: that share of them, rounded up; none where it is 0."""
    rung = math.ceil(share * epochs)
    return (rung,) if 0 < rung < epochs else ()


def is_promising(score: float, others: Iterable[float], kept: int = KEPT) -> bool:
    """Return whether a score at a rung is in the best 1/kept of all that got there.

    Source: Li et al. 2018, ASHA, arXiv 1810.05934, in its stopping form.

    Args:
        score: of the training run in question.
        others: of the other training runs, at the same rung.
        kept: of so many training runs, one continues.
    """
    ranked = sorted(others, reverse=True)
    place = sum(other > score for other in ranked)
    return place < math.ceil((len(ranked) + 1) / kept)
