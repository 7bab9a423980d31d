"""What a score is likely to be: a Gaussian process over parameters, multiply-accumulates and knobs.

A net's cost is known before it is trained, and tells more of its score than most knobs do one by one.

Source: expected improvement as in Jones, Schonlau and Welch, 1998, "Efficient Global Optimization of Expensive
Black-Box Functions"; the process as in Rasmussen and Williams, 2006, algorithm 2.1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Tried: how far two costs may lie apart, in deviations of the known ones' logarithms, and still tell of each other."""
SHARES = (0.5, 0.75, 1.0)
"""Tried: the part of costs in the kernel; the rest is the knobs'."""
KNOB_LENGTH = 0.5
"""The same for one knob, whose values lie from 0 to 1."""
NOISES = (0.05, 0.2, 0.5, 1.0)
"""Tried: the variance of a score's noise, the scores' own being 1."""
MOST = 200
"""So many of the newest observations are looked at, to stay within milliseconds."""


@dataclass(frozen=True)
class _Fit:
    likelihood: float
    near: Array  # kernel between observations and new nets
    lower: Array
    weights: Array


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
        points: its knobs, each from 0 to 1; knobs without an order by their place in the list of choices.
        scores: of the observations, 2 or more.
        new_costs: of the nets to compare.
        new_points: their knobs.
    """
    known, new = np.log(np.asarray(costs[-MOST:], float)), np.log(np.asarray(new_costs, float))
    middle, spread = known.mean(0), known.std(0) + 1e-6
    every = np.concatenate([(known - middle) / spread, (new - middle) / spread])
    knobs = np.concatenate([np.asarray(points[-MOST:], float), np.asarray(new_points, float)])
    y = np.asarray(scores[-MOST:], float)
    y = (y - y.mean()) / (y.std() + 1e-12)
    best = _fit(every, knobs, y)
    mean = best.near.T @ best.weights
    deviation = np.sqrt(np.maximum(1e-9, 1 - (np.linalg.solve(best.lower, best.near) ** 2).sum(0)))
    t = (mean - y.max()) / deviation
    below = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in t])
    improvement: Array = deviation * (t * below + np.exp(-t * t / 2) / math.sqrt(2 * math.pi))
    return improvement


def _fit(costs: Array, knobs: Array, y: Array) -> _Fit:
    """Return the process of the highest likelihood; the first ``len(y)`` rows are the observations."""
    count = len(y)
    apart = ((costs[:, None] - costs[None]) ** 2).sum(-1)
    by_knob = np.exp(-0.5 * (knobs[:, None] - knobs[None]) ** 2 / KNOB_LENGTH**2).mean(-1)
    fits = []
    for length, share in itertools.product(LENGTHS, SHARES):
        kernel = share * np.exp(-0.5 * apart / length**2) + (1 - share) * by_knob
        for noise in NOISES:
            lower = np.linalg.cholesky(kernel[:count, :count] + noise * np.eye(count))
            weights = np.linalg.solve(lower.T, np.linalg.solve(lower, y))
            likelihood = float(-0.5 * y @ weights - np.log(np.diag(lower)).sum())
            fits.append(_Fit(likelihood, kernel[:count, count:], lower, weights))
    return max(fits, key=lambda fit: fit.likelihood)
