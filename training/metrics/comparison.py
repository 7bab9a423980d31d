"""A paired comparison of two models: each image is scored by both.

Some images are hard for both models. In the difference of the two scores of an image this cancels out. So the interval
of the difference is narrower than the two intervals of the models suggest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lmnet.training.metrics.counts import over_classes
from lmnet.training.metrics.intervals import (
    DRAWINGS,
    SEED,
    Sides,
    bootstrap_weights,
    check_same_images,
    drawn_over_seeds,
    mean_over_seeds,
    one_per_seed,
    percentiles,
)


@dataclass(frozen=True)
class Difference:
    """One metric of two models.

    Args:
        metric: name of the metric.
        first: value of the first model, the mean over its seeds.
        second: value of the second model, the mean over its seeds.
        difference: second - first; nan if one of them has no value. A metric in which neither has a value is left out.
        low: lower end of the 95 % interval: the 2.5th percentile of the difference over the bootstrap drawings.
        high: upper end: the 97.5th percentile.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two models on the same images.

    Args:
        images: number of images.
        with_lesion: number of images with a lesion; only these have a Dice.
        seeds: number of training runs of the first and of the second model.
        differences: one for each metric that both have.
        better: number of images on which the second has the higher lesion Dice (mean over its seeds).
        worse: number of images on which the second has the lower one.
        p_value: of Wilcoxon's signed-rank test over the lesion Dice of the images; 1 if no image differs.
    """

    images: int
    with_lesion: int
    seeds: tuple[int, int]
    differences: tuple[Difference, ...]
    better: int
    worse: int
    p_value: float

    def of(self, metric: str) -> Difference:
        """Return the difference in one metric.

        Raises:
            ValueError: the two models were not compared in it.
        """
        for each in self.differences:
            if each.metric == metric:
                return each
        names = ", ".join(each.metric for each in self.differences)
        raise ValueError(f"compare: the models were not compared in {metric!r}. They were compared in {names}.")


def compare(
    first: Sides,
    second: Sides,
    *,
    metrics: Collection[str] | None = None,
    drawings: int = DRAWINGS,
    seed: int = SEED,
) -> Comparison:
    """Compare two models image by image, in every metric that both have.

    The intervals are from a bootstrap. Each drawing takes images at random, with replacement, the same for both models.
    If a model was trained with several seeds, each drawing also takes its training runs at random. They are drawn for
    each model by itself: the same seed gives another net other initial weights, so its runs do not pair up.

    Args:
        first: scores of the first model; a list of scores, one for each seed, if it was trained several times.
        second: the same of the second model.
        metrics: names of the metrics to compare; None for all.
        drawings: number of drawings.
        seed: random seed of the drawings.

    Raises:
        ValueError: the scores are not all of the same images and masks.

    Example:
        Two images, each with a confusion matrix: true classes are rows, predicted classes are columns.

        >>> import numpy as np
        >>> from lmnet.training import CaseScores, compare
        >>> first = CaseScores(("a", "b"), np.array([[[90, 0], [2, 8]], [[80, 10], [0, 10]]]))
        >>> second = CaseScores(("a", "b"), np.array([[[90, 0], [0, 10]], [[85, 5], [0, 10]]]))
        >>> round(compare(first, second).of("dice_foreground_mean").difference, 3)
        0.122
    """
    ours, theirs = one_per_seed(first), one_per_seed(second)
    check_same_images(ours[0], theirs[0])
    theirs = [run.reordered(ours[0].names) for run in theirs]
    weights, rng = bootstrap_weights(len(ours[0]), drawings=drawings, seed=seed), np.random.default_rng([seed, 1])
    values, drawn = [], []
    for runs in (ours, theirs):
        values.append(mean_over_seeds(runs, metrics))
        drawn.append(drawn_over_seeds(runs, weights, rng, metrics))
    differences = []
    for name in (name for name in values[0] if name in values[1]):
        low, high = percentiles(drawn[1][name] - drawn[0][name])
        a, b = values[0][name], values[1][name]
        if np.isnan(a) and np.isnan(b):  # no value in either model: no image counts, or the class does not occur
            continue
        differences.append(Difference(name, a, b, b - a, low, high))
    dice = [over_classes(np.stack([run.dice for run in runs], axis=1)) for runs in (ours, theirs)]
    gains = (dice[1] - dice[0])[ours[0].has_lesion]
    return Comparison(
        images=len(ours[0]),
        with_lesion=len(gains),
        seeds=(len(ours), len(theirs)),
        differences=tuple(differences),
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        p_value=float(stats.wilcoxon(gains).pvalue) if np.any(gains != 0) else 1.0,
    )
