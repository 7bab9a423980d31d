"""What earlier trainings show of nets that nobody has trained: a linear model of their descriptions.

A lesson is one earlier study: nets, described by ``lmnet.search.nets.description``, with their scores. Scores of two
lessons do not compare, as data, epochs and size differ, so each lesson counts from its own mean and in its own standard
deviations. The model is a ridge regression. Its strength is chosen by nets that were left out: whole lessons if there
are several, else one net at a time. If lessons show nothing, it expects nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from lmnet.search.nets.description import COLUMNS

Array = NDArray[np.floating[Any]]
STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 1e4, 1e6)
"""Strengths of the ridge to choose from; with the last one nearly nothing is expected."""
NAMED = 3
"""Studies that a line names one by one."""
MIN_NETS = 8
"""A lesson of fewer nets is left out."""


@dataclass(frozen=True)
class Lesson:
    """Nets that were trained alike.

    Args:
        descriptions: (N, D) what each net is, by the names of ``COLUMNS``.
        scores: (N,) their scores, higher is better.
        name: where they come from, for people.
    """

    descriptions: Array
    scores: Array
    name: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether there are enough nets, and scores that differ."""
        return len(self.scores) >= MIN_NETS and float(self.scores.std()) > 0

    def standardised(self) -> tuple[Array, Array]:
        """Return the descriptions from their mean on, and the scores from theirs in standard deviations."""
        scores = self.scores - self.scores.mean()
        return self.descriptions - self.descriptions.mean(0), scores / (scores.std() + 1e-12)


@dataclass(frozen=True)
class Prior:
    """What was learned.

    Args:
        weights: (D,) by how many standard deviations of a score one unit of each column raises it.
        nets: number of nets that it was learned from.
        correlation: rank correlation of the scores of nets that were left out with what the others predict for them,
            given the logarithm of multiply-accumulates; nan if it is not known.
        strength: of the ridge.
    """

    weights: Array
    nets: int
    correlation: float
    strength: float

    def expected(self, descriptions: Array) -> Array:
        """Return how much better each net is expected to be than another, in standard deviations of a score.

        Args:
            descriptions: (M, D); only differences between nets mean something.
        """
        found: Array = descriptions @ self.weights
        return found


def fit_prior(lessons: Sequence[Lesson]) -> Prior:
    """Learn from lessons.

    Raises:
        ValueError: no lesson is usable.
    """
    usable = [each for each in lessons if each.is_usable]
    if not usable:
        most = max((len(each.scores) for each in lessons), default=0)
        raise ValueError(
            f"prior: it takes {MIN_NETS} nets with scores that differ to learn something, got {most}. Leave --prior "
            "out, or name a study with more trained nets."
        )
    parts = [each.standardised() for each in usable]
    x, y = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    lesson = np.repeat(np.arange(len(parts)), [len(part[1]) for part in parts])
    spread = x.std(0)
    spread[spread < 1e-9] = np.inf  # a column that never changes shows nothing
    x /= spread
    left_out = {strength: _left_out(x, y, lesson, strength) for strength in STRENGTHS}
    strength = min(STRENGTHS, key=lambda each: float(np.square(y - left_out[each]).mean()))
    correlation = given_costs(left_out[strength], y, x[:, COLUMNS.index("log_macs")])
    return Prior(_ridge(x, y, strength) / spread, len(y), correlation, strength)


def prior_text(prior: Prior, lessons: Sequence[Lesson]) -> str:
    """Return in one line what was learned, and how well it predicts nets that were left out."""
    names = [each.name for each in lessons if each.is_usable]
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    left_out = "studies" if len(names) > 1 else "nets"
    quality = "not known" if math.isnan(prior.correlation) else f"{prior.correlation:.2f}"
    return (
        f"prior: {prior.nets} trained nets of {shown}; rank correlation with the scores of {left_out} that were left "
        f"out, at equal GMACs: {quality}"
    )


def given_costs(predicted: Array, scores: Array, costs: Array) -> float:
    """Return the rank correlation of two columns, what both share with costs taken away; nan if one does not change."""
    if min(float(np.ptp(predicted)), float(np.ptp(scores))) < 1e-9:
        return math.nan
    both = float(spearmanr(predicted, scores)[0])
    if float(np.ptp(costs)) < 1e-9:
        return both
    mine, theirs = float(spearmanr(predicted, costs)[0]), float(spearmanr(scores, costs)[0])
    rest = (1 - mine**2) * (1 - theirs**2)
    return (both - mine * theirs) / math.sqrt(rest) if rest > 1e-12 else math.nan


def _ridge(x: Array, y: Array, strength: float) -> Array:
    found: Array = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    return found


def _left_out(x: Array, y: Array, lesson: NDArray[np.integer[Any]], strength: float) -> Array:
    """Return what others predict for each net: other lessons if there are several, else the other nets of the one."""
    if lesson[-1] > 0:
        predicted = np.empty(len(y))
        for one in range(int(lesson[-1]) + 1):
            predicted[lesson == one] = x[lesson == one] @ _ridge(x[lesson != one], y[lesson != one], strength)
        return predicted
    hat = x @ np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T) + 1 / len(y)  # with the mean
    share = np.minimum(np.diag(hat), 1 - 1e-9)
    found: Array = y - (y - hat @ y) / (1 - share)
    return found
