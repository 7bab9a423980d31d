"""What a score is likely to be: a Gaussian process over parameters, multiply-accumulates and knobs.

A net's cost is known before it is trained, and tells more of its score than most knobs do one by one.

Source: expected improvement as in Jones, Schonlau and Welch, 1998, "Efficient Global Optimization of Expensive
Black-Box Functions"; the process as in Rasmussen and Williams, 2006, algorithm 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LENGTHS = (0.5, 1.0, 2.0, 4.0)
SHARES = (0.5, 0.75, 1.0)
KNOB_LENGTH = 0.5
NOISES = (0.05, 0.2, 0.5, 1.0)
MOST = 200
"""So many of the newest observations are looked at, to stay within milliseconds."""


def expected_improvements(
    costs: Sequence[Sequence[float]],
    points: Sequence[Sequence[float]],
    scores: Sequence[float],
    new_costs: Sequence[Sequence[float]],
    new_points: Sequence[Sequence[float]],
) -> Array:
    """Return by how much each new net is expected to beat the best score, in deviations of the scores.

    Args:
        costs: positive numbers for each observation.
        points: its knobs, each from 0 to 1.
        scores: of the observations, 2 or more.
        new_costs: of the nets to compare.
        new_points: their knobs.
    """
    known, new = np.log(np.asarray(costs[-MOST:], float)), np.log(np.asarray(new_costs, float))
    middle, spread = known.mean(0), known.std(0) + 1e-6
    every = np.concatenate([(known - middle) / spread, (new - middle) / spread])
    knobs = np.concatenate([np.asarray(points[-MOST:], float), np.asarray(new_points, float)])
    count = len(known)
    y = np.asarray(scores[-MOST:], float)
    y = (y - y.mean()) / (y.std() + 1e-12)
    best: tuple[float, Array, Array, Array] | None = None
    apart = ((every[:, None] - every[None]) ** 2).sum(-1)
    away = (knobs[:, None] - knobs[None]) ** 2
    by_knob = np.exp(-0.5 * away / KNOB_LENGTH**2).mean(-1)
    for length in LENGTHS:
        by_cost = np.exp(-0.5 * apart / length**2)
        for share in SHARES:
            kernel = share * by_cost + (1 - share) * by_knob
            for noise in NOISES:
                lower = np.linalg.cholesky(kernel[:count, :count] + noise * np.eye(count))
                weights = np.linalg.solve(lower.T, np.linalg.solve(lower, y))
                likelihood = float(-0.5 * y @ weights - np.log(np.diag(lower)).sum())
                if best is None or likelihood > best[0]:
                    best = likelihood, kernel[:count, count:], lower, weights
    assert best is not None
    _, near, lower, weights = best
    mean = near.T @ weights
    deviation = np.sqrt(np.maximum(1e-9, 1 - (np.linalg.solve(lower, near) ** 2).sum(0)))
    t = (mean - y.max()) / deviation
    below = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in t])
    improvement: Array = deviation * (t * below + np.exp(-t * t / 2) / math.sqrt(2 * math.pi))
    return improvement
