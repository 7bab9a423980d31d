"""A paired comparison of two models on the same images: differences are surer than two intervals side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from lmnet.training.metrics.intervals import bootstrap_weights
from lmnet.training.metrics.store import CaseScores


@dataclass(frozen=True)
class Difference:
    """One metric of two models.

    Args:
        metric: name in ``CONVENTIONS``.
        first: value of the first model.
        second: value of the second model.
        difference: second - first.
        low: 2.5th percentile of the difference over bootstrap drawings of the same images for both.
        high: 97.5th percentile.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Args:
        images: number of images.
        differences: one for each metric.
        better: images on which the second has the higher foreground Dice.
        worse: images on which it has the lower.
        p_value: Wilcoxon's signed-rank test of the foreground Dice by image; 1 where no image differs.
    """

    images: int
    differences: tuple[Difference, ...]
    better: int
    worse: int
    p_value: float


def compare(first: CaseScores, second: CaseScores) -> Comparison:
    """Compare two models image by image.

    Raises:
        ValueError: the two were not scored on the same images.
    """
    if set(first.names) != set(second.names):
        only = sorted(set(first.names) ^ set(second.names))
        raise ValueError(
            f"compare: both runs must be scored on the same images, got {len(first)} and {len(second)} images, of "
            f"which {len(only)} are in one only (first: {only[0]}). Evaluate both with one --split-file."
        )
    second = _in_order(second, first.names)
    weights = bootstrap_weights(len(first))
    drawn_first, drawn_second = first.weighted(weights), second.weighted(weights)
    values_first, values_second = first.values(), second.values()
    differences = []
    for metric in (name for name in values_first if name in values_second):
        spread = drawn_second[metric] - drawn_first[metric]
        spread = spread[np.isfinite(spread)]
        low, high = np.percentile(spread, [2.5, 97.5]) if len(spread) else (np.nan, np.nan)
        a, b = values_first[metric], values_second[metric]
        differences.append(Difference(metric, a, b, b - a, float(low), float(high)))
    gains = second.dice - first.dice
    p_value = float(stats.wilcoxon(gains).pvalue) if np.any(gains != 0) else 1.0
    return Comparison(len(first), tuple(differences), int((gains > 0).sum()), int((gains < 0).sum()), p_value)


def _in_order(scores: CaseScores, names: tuple[str, ...]) -> CaseScores:
    place = {name: index for index, name in enumerate(scores.names)}
    order = [place[name] for name in names]
    return CaseScores(
        names=names,
        confusion=scores.confusion[order],
        hd95=None if scores.hd95 is None else scores.hd95[order],
        boundary_iou=None if scores.boundary_iou is None else scores.boundary_iou[order],
        diagonal=None if scores.diagonal is None else scores.diagonal[order],
    )
