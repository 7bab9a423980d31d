"""What a score is likely to be: a Gaussian process over costs and knobs that expects more of larger nets.

A net's cost is known before it is trained, and says more about its score than most knobs do one by one. The prior mean
rises with the logarithm of multiply-accumulates: before anything is trained, the largest net is expected to score best.
The scores then decide how steep the rise is, or that it is a fall.

Each of several families has an offset of its own. Knobs are compared inside a family only, and between families costs
count for a part: multiply-accumulates rank nets of one family, not families. Inside a family nothing else is different.

What earlier trainings show of a net (``prior.py``) may be added to the prior mean: without the part that costs explain
already, and as much as the scores agree with it.

Source: the process as in Rasmussen and Williams, 2006, algorithm 2.1; Thompson sampling as in Thompson, 1933, "On the
likelihood that one unknown probability exceeds another".
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
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
FAMILY_VARIANCES = (0.5, 2.0)
"""Variances of the families' offsets; the likelier one is used."""
ACROSS_FAMILIES = 0.3
"""Share of the cost kernel that holds between nets of different families."""
PRIOR_SLOPE = 1.0
"""Prior rise of the score with log cost, in standard deviations of both."""
PRIOR_WEIGHT = 4.0
"""Number of observations that the prior slope is worth."""
PRIOR_GAIN = 1.0
"""Prior factor on what earlier trainings show; it is worth as many observations."""
SAMPLE_SCALE = 0.5
"""Factor on the deviation of a sampled score from its mean."""
JITTER = 1e-6
"""Keeps a covariance positive definite."""
MAX_OBSERVATIONS = 128
"""Fit to the newest 128; a fit then takes milliseconds."""


@dataclass(frozen=True)
class Distances:
    """How far two lists of nets lie apart.

    Args:
        costs: squared distances between the standardised log costs.
        by_knob: kernel of the knobs.
        is_same_family: whether two nets are of one family; None if there is one family only.
    """

    costs: Array
    by_knob: Array
    is_same_family: NDArray[np.bool_] | None
    _by_cost: dict[float, Array] = field(default_factory=dict)

    def by_cost(self, length: float) -> Array:
        """Return the kernel of the costs."""
        if length not in self._by_cost:
            found = np.exp(-0.5 * self.costs / length**2)
            if self.is_same_family is not None:
                found *= np.where(self.is_same_family, 1.0, ACROSS_FAMILIES)
            self._by_cost[length] = found
        return self._by_cost[length]


@dataclass(frozen=True)
class Kernel:
    """How much the scores of two nets have in common, by how far apart they lie.

    Args:
        length: length scale of the costs.
        share: share of the costs; the rest is the knobs'.
        family: variance of the families' offsets.
    """

    length: float
    share: float
    family: float = 0.0

    def __call__(self, distances: Distances) -> Array:
        """Return the kernel of two lists of nets."""
        kernel: Array = self.share * distances.by_cost(self.length) + (1 - self.share) * distances.by_knob
        if distances.is_same_family is not None:
            kernel += self.family * distances.is_same_family
        return kernel


@dataclass(frozen=True)
class Earlier:
    """What earlier trainings show of nets, without the part that their costs explain.

    Args:
        middle: mean over the nets that could be trained.
        slope: by how much it rises with the standardised log cost.
        scale: factor that makes its standard deviation 1 at most.
    """

    middle: float = 0.0
    slope: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, hints: Array, x: Array) -> Earlier:
        """Return how to take the costs out, from the nets that could be trained and their standardised log costs."""
        middle = float(hints.mean())
        slope = float((hints - middle) @ (x - x.mean()) / (np.square(x - x.mean()).sum() + 1e-12))
        rest = hints - middle - slope * x
        return cls(middle, slope, 1 / max(1.0, float(rest.std())))

    def rest(self, hints: Array, x: Array) -> Array:
        """Return what they add to the costs, in standard deviations of a score."""
        found: Array = self.scale * (hints - self.middle - self.slope * x)
        return found


@dataclass(frozen=True)
class Surrogate:
    """A process that was fitted to observations.

    Args:
        middle: mean log costs.
        spread: standard deviations of the log costs.
        centres: mean standardised log cost of each family, from which its nets' costs count; empty with one family.
        slope: rise of the mean with the standardised log cost.
        kernel: the likeliest kernel.
        costs: (N, C) standardised log costs of the observations.
        knobs: (N, K) knobs of the observations.
        families: (N,) families of the observations; None if there is one only.
        lower: Cholesky factor of the observations' covariance.
        weights: inverse of that covariance times the residuals of the scores.
        earlier: how to read what earlier trainings show; None if there are none.
        gain: factor on it.
    """

    middle: Array
    spread: Array
    centres: Mapping[float, float]
    slope: float
    kernel: Kernel
    costs: Array
    knobs: Array
    families: Array | None
    lower: Array
    weights: Array
    earlier: Earlier | None = None
    gain: float = 0.0

    def mean(self, costs: Array, knobs: Array, families: Array | None = None, hints: Array | None = None) -> Array:
        """Return the expected scores of new nets, in standard deviations of the known scores.

        Args:
            costs: (M, C) positive numbers.
            knobs: (M, K), each from 0 to 1.
            families: (M,) families; None if there is one only.
            hints: (M,) what earlier trainings show; needed if the process was fitted with it.
        """
        return self._expected(*self._near(costs, knobs, families), families, hints)

    def sample(
        self,
        costs: Array,
        knobs: Array,
        rng: np.random.Generator,
        families: Array | None = None,
        hints: Array | None = None,
    ) -> Array:
        """Return one joint sample of the scores of new nets, in standard deviations of the known scores.

        Args:
            costs: (M, C) positive numbers.
            knobs: (M, K), each from 0 to 1.
            rng: random number generator.
            families: (M,) families; None if there is one only.
            hints: (M,) what earlier trainings show; needed if the process was fitted with it.
        """
        new, near = self._near(costs, knobs, families)
        mean = self._expected(new, near, families, hints)
        solved = _solve_lower(self.lower, near.T)
        own = self.kernel(_distances((new, knobs, families), (new, knobs, families)))
        root = linalg.cholesky(own - solved.T @ solved + JITTER * np.eye(len(new)), lower=True)
        sampled: Array = mean + SAMPLE_SCALE * (root @ rng.standard_normal(len(new)))
        return sampled

    def _near(self, costs: Array, knobs: Array, families: Array | None) -> tuple[Array, Array]:
        """Return standardised log costs of new nets, and the kernel between them and the observations."""
        new = (np.log(costs) - self.middle) / self.spread
        return new, self.kernel(_distances((new, knobs, families), (self.costs, self.knobs, self.families)))

    def prior_mean(self, x: Array, hints: Array | None) -> Array:
        """Return what is expected of nets before any score.

        Args:
            x: (M,) standardised log costs, from the centres of their families on.
            hints: (M,) what earlier trainings show of them.
        """
        mean: Array = self.slope * x
        if self.earlier is not None:
            assert hints is not None
            mean = mean + self.gain * self.earlier.rest(hints, x)
        return mean

    def _expected(self, new: Array, near: Array, families: Array | None, hints: Array | None) -> Array:
        mean: Array = self.prior_mean(_centred(new[:, 0], families, self.centres), hints) + near @ self.weights
        return mean


def fit_surrogate(
    costs: Array,
    knobs: Array,
    scores: Array,
    *,
    reference: Array,
    families: Array | None = None,
    reference_families: Array | None = None,
    hints: Array | None = None,
    reference_hints: Array | None = None,
) -> Surrogate:
    """Return the process with the highest likelihood; without a score, the prior.

    Args:
        costs: (N, C) positive numbers; the prior mean rises with the first.
        knobs: (N, K) from 0 to 1; knobs without an order by their place in the list of choices.
        scores: (N,) scores of the observations, the oldest first.
        reference: (M, C) costs of nets that could be trained; they set the scale of log costs.
        families: (N,) families of the observations; None if there is one only.
        reference_families: (M,) families of the nets that could be trained; given with ``families``.
        hints: (N,) what earlier trainings show of the observations, in standard deviations of a score; only differences
            count. None for nothing.
        reference_hints: (M,) the same for the nets that could be trained; given with ``hints``.
    """
    log = np.log(reference)
    middle, spread = log.mean(0), log.std(0) + 1e-6
    known, at, y = (
        (np.log(costs[-MAX_OBSERVATIONS:]) - middle) / spread,
        knobs[-MAX_OBSERVATIONS:],
        scores[-MAX_OBSERVATIONS:],
    )
    of = None if families is None else families[-MAX_OBSERVATIONS:]
    if len(y):
        y = (y - y.mean()) / (y.std() + 1e-12)
    reference_x = (log[:, 0] - middle[0]) / spread[0]
    centres = {} if reference_families is None else _means(reference_x, reference_families)
    x = _centred(known[:, 0], of, centres)
    slope, gain, earlier, rest = _slope(x, y, of), 0.0, None, y
    if hints is not None and reference_hints is not None:
        earlier = Earlier.of(reference_hints, _centred(reference_x, reference_families, centres))
        extra = earlier.rest(hints[-MAX_OBSERVATIONS:], x)
        slope, gain = _slope_and_gain(x, extra, y, of)
        rest = y - gain * extra
    rest = rest - slope * x
    best, likelihood = None, -np.inf
    distances = _distances((known, at, of), (known, at, of))
    for kernel in _kernels(has_families=of is not None):
        covariance = kernel(distances)
        for noise in NOISE_VARIANCES:
            lower = linalg.cholesky(covariance + noise * np.eye(len(y)), lower=True)
            half = _solve_lower(lower, rest)
            found = float(-0.5 * half @ half - np.log(np.diag(lower)).sum())
            if found > likelihood:
                likelihood = found
                weights = _solve_lower(lower, half, transposed=True)
                best = Surrogate(middle, spread, centres, slope, kernel, known, at, of, lower, weights, earlier, gain)
    assert best is not None
    return best


def _slope(x: Array, y: Array, families: Array | None) -> float:
    """Return how the scores rise with cost; of several families, inside each, as costs say little between them."""
    if families is not None:
        x, y = (_centred(each, families, _means(each, families)) for each in (x, y))
    return float((x @ y + PRIOR_WEIGHT * PRIOR_SLOPE) / (x @ x + PRIOR_WEIGHT))


def _slope_and_gain(x: Array, extra: Array, y: Array, families: Array | None) -> tuple[float, float]:
    """Return how the scores rise with cost and with what earlier trainings show, both inside each family."""
    if families is not None:
        x, extra, y = (_centred(each, families, _means(each, families)) for each in (x, extra, y))
    both = np.stack([x, extra])
    right = both @ y + PRIOR_WEIGHT * np.array([PRIOR_SLOPE, PRIOR_GAIN])
    slope, gain = np.linalg.solve(both @ both.T + PRIOR_WEIGHT * np.eye(2), right).tolist()
    return slope, gain


def _means(values: Array, families: Array) -> dict[float, float]:
    return {family: float(values[families == family].mean()) for family in np.unique(families).tolist()}


def _centred(values: Array, families: Array | None, centres: Mapping[float, float]) -> Array:
    """Return values from the centre of their family on; one without a centre counts from 0."""
    if families is None:
        return values
    return values - np.array([centres.get(family, 0.0) for family in families.tolist()])


def _solve_lower(lower: Array, right: Array, *, transposed: bool = False) -> Array:
    """Return the solution of a lower triangular system; SciPy before 1.14 refuses one without rows."""
    if not len(lower):
        return right
    solved: Array = linalg.solve_triangular(lower, right, lower=True, trans=int(transposed))
    return solved


def _distances(nets: tuple[Array, Array, Array | None], others: tuple[Array, Array, Array | None]) -> Distances:
    """Return the distances between two lists of nets: their costs, knobs and families."""
    (costs, knobs, families), (other_costs, other_knobs, other_families) = nets, others
    apart = cdist(knobs, other_knobs, "sqeuclidean") / max(1, knobs.shape[1])
    by_knob = np.exp(-0.5 * apart / KNOB_LENGTH_SCALE**2)
    same = None if families is None or other_families is None else families[:, None] == other_families[None, :]
    return Distances(cdist(costs, other_costs, "sqeuclidean"), by_knob if same is None else by_knob * same, same)


def _kernels(*, has_families: bool) -> list[Kernel]:
    """Return the kernels to choose from."""
    variances = FAMILY_VARIANCES if has_families else (0.0,)
    return [Kernel(*each) for each in itertools.product(LENGTH_SCALES, COST_SHARES, variances)]
