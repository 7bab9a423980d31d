"""95 % intervals by bootstrap over images (and seeds), and what a set of scores looks like when it is written down."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lmnet.training.metrics.counts import Floats
from lmnet.training.metrics.store import CaseScores

DRAWINGS = 2000
SEED = 0

Sides = CaseScores | Sequence[CaseScores]
"""Scores of one training run, or of several that differ in their seed, on the same images."""


def bootstrap_weights(images: int, *, drawings: int = DRAWINGS, seed: int = SEED) -> Floats:
    """Return (drawings, images): how often each image is drawn when as many as there are are drawn with replacement."""
    shares = np.full(images, 1 / images)
    return np.random.default_rng(seed).multinomial(images, shares, size=drawings).astype(np.float64)


def one_per_seed(scores: Sides) -> list[CaseScores]:
    """Return the scores of each training run, all with their images in the first one's order.

    Raises:
        ValueError: there is no training run, or they were scored on different images.
    """
    runs = [scores] if isinstance(scores, CaseScores) else list(scores)
    if not runs:
        raise ValueError("scores: there is no training run. Give at least one.")
    for run in runs[1:]:
        check_same_images(runs[0], run)
    return [runs[0], *(run.reordered(runs[0].names) for run in runs[1:])]


def check_same_images(first: CaseScores, second: CaseScores) -> None:
    """Check that two sets of scores are of the same images and the same masks.

    Raises:
        ValueError: they are not.
    """
    if set(first.names) != set(second.names):
        only = sorted(set(first.names) ^ set(second.names))
        raise ValueError(
            f"compare: the two were scored on different images: {len(first)} and {len(second)} images, of which "
            f"{len(only)} are in one only (first: {only[0]}). Score both with one --split-file."
        )
    lesions = [each.confusion[:, 1:].sum(axis=(1, 2)) for each in (first, second.reordered(first.names))]
    if np.any(lesions[0] != lesions[1]):
        differ = np.flatnonzero(lesions[0] != lesions[1])
        raise ValueError(
            f"compare: the masks of {len(differ)} of {len(first)} images differ (first: {first.names[differ[0]]}, "
            f"{lesions[0][differ[0]]} and {lesions[1][differ[0]]} lesion pixels). Score both with the same masks."
        )


def mean_over_seeds(runs: Sequence[CaseScores], metrics: Collection[str] | None = None) -> dict[str, float]:
    """Return every metric that all training runs have, the mean over them; nan if one of them has none."""
    values = [run.values() for run in runs]
    return {name: float(np.mean([each[name] for each in values])) for name in _common(values, metrics)}


def drawn_over_seeds(
    runs: Sequence[CaseScores], weights: Floats, rng: np.random.Generator, metrics: Collection[str] | None = None
) -> dict[str, Floats]:
    """Return (B,) values of each metric over drawings of images, and of training runs if there are several.

    Args:
        runs: one for each seed, their images in one order.
        weights: (B, N), how often each image is drawn.
        rng: draws the training runs.
        metrics: names; None for all.
    """
    values = [run.weighted(weights) for run in runs]
    count = len(runs)
    shares = rng.multinomial(count, np.full(count, 1 / count), size=len(weights)) / count
    if count == 1:
        return {name: values[0][name] for name in _common(values, metrics)}
    return {
        name: (shares * np.stack([each[name] for each in values], axis=1)).sum(axis=1)
        for name in _common(values, metrics)
    }


def intervals(
    scores: Sides, *, metrics: Collection[str] | None = None, drawings: int = DRAWINGS
) -> dict[str, tuple[float, float]]:
    """Return the 2.5th and 97.5th percentile of each metric over bootstrap drawings of the images, and of the seeds.

    Args:
        scores: one training run, or several that differ in their seed.
        metrics: names; None for all.
        drawings: number of drawings.
    """
    runs = one_per_seed(scores)
    weights = bootstrap_weights(len(runs[0]), drawings=drawings)
    drawn = drawn_over_seeds(runs, weights, np.random.default_rng([SEED, 1]), metrics)
    return {name: percentiles(values) for name, values in drawn.items()}


def percentiles(values: Floats) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the values that are not nan; nan if none is."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def summarize(scores: CaseScores) -> dict[str, Any]:
    """Return the object that commands print: counts, then each metric with ``<name>_interval`` beside it.

    ``images_with_lesion`` is the number of images that a ``_mean`` is taken over. A metric that no image or class has
    is None; ``absent`` names the classes without a pixel.

    Raises:
        ValueError: there is no image.

    Example:
        >>> import numpy as np
        >>> from lmnet.training import CaseScores, summarize
        >>> confusion = np.array([[[90, 0], [2, 8]], [[80, 10], [0, 10]]])  # two images: true class, predicted class
        >>> summary = summarize(CaseScores(("a", "b"), confusion))
        >>> round(summary["dice_foreground_mean"], 3)
        0.778
    """
    if not len(scores):
        raise ValueError("scores: there is no image. Choose another split.")
    summary: dict[str, Any] = {"images": len(scores), "images_with_lesion": int(scores.has_lesion.sum())}
    if len(scores.class_names()) > 2:
        summary["classes"] = list(scores.class_names())
    summary["absent"] = list(scores.absent)
    ranges = intervals(scores)
    for name, value in scores.values().items():
        summary[name] = value if np.isfinite(value) else None
        summary[f"{name}_interval"] = list(ranges[name]) if np.isfinite(ranges[name]).all() else None
    if "hd95" in scores.figures:
        summary["hd95_undefined"] = int((np.isnan(scores.figures["hd95"]) & scores.has_lesion).sum())
    return summary


def _common(values: Sequence[Mapping[str, Any]], metrics: Collection[str] | None) -> list[str]:
    names = [name for name in values[0] if all(name in each for each in values)]
    return names if metrics is None else [name for name in names if name in metrics]
