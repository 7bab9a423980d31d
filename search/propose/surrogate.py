"""What a score is likely to be: a Gaussian process over costs and knobs that expects more of larger nets.

A net's cost is known before it is trained, and says more about its score than most knobs do one by one. The prior mean
rises with the logarithm of multiply-accumulates: before anything is trained, the largest net is expected to score best.
The scores then decide how steep the rise is, or that it is a fall.

Source: the process as in Rasmussen and Williams, 2006, algorithm 2.1; Thompson sampling as in Thompson, 1933, "On the
likelihood that one unknown probability exceeds another".
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.spatial.distance import cdist

Array = NDArray[np.floating[Any]]
LENGTH_SCALES = (0.7, 2.0)
"""Length scales of the cost kernel, in standard deviations of log cost; the likelier one is used."""
COST_SHARES = (0.3, 0.7)
"""Shares of the cost kernel in the whole kernel; the rest is the kernel of the knobs."""
KNOB_LENGTH_SCALE = 0.5
"""Length scale of the knob kernel, as root mean square over all knobs; a knob's values are from 0 to 1."""
NOISE_VARIANCES = (0.05, 0.3, 1.0)
"""Variances of the noise of a score; the variance of all scores is 1."""
PRIOR_SLOPE = 1.0
"""Prior rise of the score with log cost, in standard deviations of both."""
PRIOR_WEIGHT = 4.0
"""Number of observations that the prior slope is worth."""
SAMPLE_SCALE = 0.5
"""Factor on the deviation of a sampled score from its mean."""
JITTER = 1e-6
"""Keeps a covariance positive definite."""
MAX_OBSERVATIONS = 128
"""Fit to the newest 128; a fit then takes milliseconds."""


@dataclass(frozen=True)
class Surrogate:
    """A process that was fitted to observations.

    Args:
        middle: mean log costs.
        spread: standard deviations of the log costs.
        slope: rise of the mean with the standardised log cost.
        length: length scale of the cost kernel.
        share: share of the cost kernel.
        costs: (N, C) standardised log costs of the observations.
        knobs: (N, K) knobs of the observations.
        lower: Cholesky factor of the observations' covariance.
        weights: inverse of that covariance times the residuals of the scores.
    """

    middle: Array
    spread: Array
    slope: float
    length: float
    share: float
    costs: Array
    knobs: Array
    lower: Array
    weights: Array

    def mean(self, costs: Array, knobs: Array) -> Array:
        """Return the expected scores of new nets, in standard deviations of the known scores.

        Args:
            costs: (M, C) positive numbers.
            knobs: (M, K), each from 0 to 1.
        """
        return self._expected(*self._near(costs, knobs))

    def sample(self, costs: Array, knobs: Array, rng: np.random.Generator) -> Array:
        """Return one joint sample of the scores of new nets, in standard deviations of the known scores.

        Args:
            costs: (M, C) positive numbers.
            knobs: (M, K), each from 0 to 1.
            rng: random number generator.
        """
        new, near = self._near(costs, knobs)
        mean = self._expected(new, near)
        solved = _solve_lower(self.lower, near.T)
        own = _kernel(self.length, self.share, *_distances(new, knobs, new, knobs))
        root = linalg.cholesky(own - solved.T @ solved + JITTER * np.eye(len(new)), lower=True)
        sampled: Array = mean + SAMPLE_SCALE * (root @ rng.standard_normal(len(new)))
        return sampled

    def _near(self, costs: Array, knobs: Array) -> tuple[Array, Array]:
        """Return standardised log costs of new nets, and the kernel between them and the observations."""
        new = (np.log(costs) - self.middle) / self.spread
        return new, _kernel(self.length, self.share, *_distances(new, knobs, self.costs, self.knobs))

    def _expected(self, new: Array, near: Array) -> Array:
        mean: Array = self.slope * new[:, 0] + near @ self.weights
        return mean


def fit_surrogate(costs: Array, knobs: Array, scores: Array, *, reference: Array) -> Surrogate:
    """Return the process with the highest likelihood; without a score, the prior.

    Args:
        costs: (N, C) positive numbers; the prior mean rises with the first.
        knobs: (N, K) from 0 to 1; knobs without an order by their place in the list of choices.
        scores: (N,) scores of the observations, the oldest first.
        reference: (M, C) costs of nets that could be trained; they set the scale of log costs.
    """
    log = np.log(reference)
    middle, spread = log.mean(0), log.std(0) + 1e-6
    known, at, y = (
        (np.log(costs[-MAX_OBSERVATIONS:]) - middle) / spread,
        knobs[-MAX_OBSERVATIONS:],
        scores[-MAX_OBSERVATIONS:],
    )
    if len(y):
        y = (y - y.mean()) / (y.std() + 1e-12)
    x = known[:, 0]
    slope = float((x @ y + PRIOR_WEIGHT * PRIOR_SLOPE) / (x @ x + PRIOR_WEIGHT))
    rest = y - slope * x
    best, likelihood = None, -np.inf
    distances = _distances(known, at, known, at)
    for length, share in itertools.product(LENGTH_SCALES, COST_SHARES):
        kernel = _kernel(length, share, *distances)
        for noise in NOISE_VARIANCES:
            lower = linalg.cholesky(kernel + noise * np.eye(len(y)), lower=True)
            half = _solve_lower(lower, rest)
            found = float(-0.5 * half @ half - np.log(np.diag(lower)).sum())
            if found > likelihood:
                likelihood = found
                weights = _solve_lower(lower, half, transposed=True)
                best = Surrogate(middle, spread, slope, length, share, known, at, lower, weights)
    assert best is not None
    return best


def _solve_lower(lower: Array, right: Array, *, transposed: bool = False) -> Array:
    """Return the solution of a lower triangular system; SciPy before 1.14 refuses one without rows."""
    if not len(lower):
        return right
    solved: Array = linalg.solve_triangular(lower, right, lower=True, trans=int(transposed))
    return solved


def _distances(costs: Array, knobs: Array, other_costs: Array, other_knobs: Array) -> tuple[Array, Array]:
    """Return the squared distances of costs, and the mean squared distances of knobs."""
    by_knob = cdist(knobs, other_knobs, "sqeuclidean") / max(1, knobs.shape[1])
    return cdist(costs, other_costs, "sqeuclidean"), by_knob


def _kernel(length: float, share: float, by_cost: Array, by_knob: Array) -> Array:
    kernel: Array = share * np.exp(-0.5 * by_cost / length**2) + (1 - share) * np.exp(
        -0.5 * by_knob / KNOB_LENGTH_SCALE**2
    )
    return kernel
