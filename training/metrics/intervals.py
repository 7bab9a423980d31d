"""95 % intervals by bootstrap over images, and what a set of scores looks like when it is written down."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmnet.training.metrics.store import CaseScores, Floats

DRAWINGS = 2000
SEED = 0


def bootstrap_weights(images: int, *, drawings: int = DRAWINGS, seed: int = SEED) -> Floats:
    """Return (drawings, images): how often each image is drawn when as many as there are are drawn with replacement."""
    shares = np.full(images, 1 / images)
    return np.random.default_rng(seed).multinomial(images, shares, size=drawings).astype(np.float64)


def intervals(scores: CaseScores, *, drawings: int = DRAWINGS, seed: int = SEED) -> dict[str, tuple[float, float]]:
    """Return the 2.5th and 97.5th percentile of each metric over bootstrap drawings of the images.

    Args:
        scores: of each image.
        drawings: number of drawings.
        seed: of the drawings; one seed gives one interval.
    """
    drawn = scores.weighted(bootstrap_weights(len(scores), drawings=drawings, seed=seed))
    return {name: _percentiles(values) for name, values in drawn.items()}


def summarize(scores: CaseScores) -> dict[str, Any]:
    """Return the object that commands print: images, then each metric with ``<name>_interval`` beside it.

    Raises:
        ValueError: there is no image.
    """
    if not len(scores):
        raise ValueError("scores: at least one image must be scored, got images=0. Choose another split.")
    summary: dict[str, Any] = {"images": len(scores)}
    if len(scores.classes) > 2:
        summary["classes"] = list(scores.classes)
    ranges = intervals(scores)
    for name, value in scores.values().items():
        summary[name] = value if np.isfinite(value) else None
        summary[f"{name}_interval"] = list(ranges[name]) if np.isfinite(ranges[name]).all() else None
    if scores.hd95 is not None:
        summary["hd95_undefined"] = int(np.isnan(scores.hd95).sum())
    return summary


def _percentiles(values: Floats) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
