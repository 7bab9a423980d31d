"""The metrics, one row each: name, meaning, and how it is computed. Adding a metric is adding a row.

Published Dice values mix conventions. Here each has its name: ``_mean`` is computed image by image and averaged over
the images with a lesion, ``_pooled`` from the pixels of all images together; ``foreground`` is the lesion, ``macro``
the plain mean over the classes with the background among them (the paper's way, which flatters: the background is large
and easy). ``counts.py`` says what images and classes without pixels count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmnet.training.metrics.boundary import Binary, boundary_iou, diagonal, hd95
from lmnet.training.metrics.counts import Counts, Floats

Measure = Callable[[Binary, Binary], float]
"""Takes the predicted and the true lesion, (H, W) bool each; returns a figure of the image, or nan if there is none."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        name: key in metrics.json and in tables.
        meaning: one line for people.
        compute: counts → (B,) values; nan if there is none.
        measures: figures of each image that the metric needs besides the counted pixels, by name.
        digits: decimal places in tables.
    """

    name: str
    meaning: str
    compute: Callable[[Counts], Floats]
    measures: Mapping[str, Measure] = field(default_factory=dict)
    digits: int = 3


@dataclass(frozen=True)
class ClassMetric:
    """One metric of a single class.

    Args:
        name: last part of the key ``class/CLASS/NAME``.
        meaning: one line for people, with ``{}`` for the class.
        compute: counts and number of the class → (B,) values.
    """

    name: str
    meaning: str
    compute: Callable[[Counts, int], Floats]


def _hd95_with_diagonals(counts: Counts) -> Floats:
    distances = counts.figures["hd95"]
    return counts.over_lesions(np.where(np.isnan(distances), counts.figures["diagonal"], distances))


_HD95 = {"hd95": hd95, "diagonal": diagonal}

METRICS = (
    Metric(
        "dice_foreground_mean",
        "Dice of the lesion, mean over the images with a lesion",
        lambda c: c.over_images(c.of_lesion(c.images.dice)),
    ),
    Metric(
        "dice_foreground_worst_tenth",
        "Dice of the lesion, mean over the tenth of these images on which it is lowest",
        lambda c: c.over_worst(c.of_lesion(c.images.dice)),
    ),
    Metric(
        "dice_foreground_pooled",
        "Dice of the lesion, all pixels together",
        lambda c: c.over_lesion_classes(c.pooled.dice),
    ),
    Metric(
        "dice_macro_pooled",
        "Dice, mean over background and lesion, all pixels together (the paper's mDice)",
        lambda c: c.over_all_classes(c.pooled.dice),
    ),
    Metric(
        "iou_foreground_mean",
        "IoU of the lesion, mean over the images with a lesion",
        lambda c: c.over_images(c.of_lesion(c.images.iou)),
    ),
    Metric(
        "iou_foreground_pooled",
        "IoU of the lesion, all pixels together",
        lambda c: c.over_lesion_classes(c.pooled.iou),
    ),
    Metric(
        "iou_macro_pooled",
        "IoU, mean over background and lesion, all pixels together (the paper's mIoU)",
        lambda c: c.over_all_classes(c.pooled.iou),
    ),
    Metric(
        "precision",
        "share of predicted lesion pixels that are lesion, all pixels together",
        lambda c: c.over_lesion_classes(c.pooled.precision),
    ),
    Metric(
        "recall",
        "share of lesion pixels that were found, all pixels together",
        lambda c: c.over_lesion_classes(c.pooled.recall),
    ),
    Metric(
        "specificity",
        "share of background pixels left alone, all pixels together",
        lambda c: c.pooled.recall[:, 0],
    ),
    Metric(
        "accuracy",
        "share of pixels given their class, all pixels together",
        lambda c: c.accuracy,
    ),
    Metric(
        "precision_macro_pooled",
        "precision, mean over background and lesion, all pixels together",
        lambda c: c.over_all_classes(c.pooled.precision),
    ),
    Metric(
        "recall_macro_pooled",
        "recall, mean over background and lesion, all pixels together",
        lambda c: c.over_all_classes(c.pooled.recall),
    ),
    Metric(
        "boundary_iou_mean",
        "IoU of the bands along the outlines, mean over the images with a lesion",
        lambda c: c.over_lesions(c.figures["boundary_iou"]),
        {"boundary_iou": boundary_iou},
    ),
    Metric(
        "hd95_mean",
        "95th percentile of the outlines' distance in pixels, mean over the images with a lesion; an image where "
        "nothing is found counts its diagonal",
        _hd95_with_diagonals,
        _HD95,
        digits=1,
    ),
    Metric(
        "hd95_defined_mean",
        "the same, mean over the images with a lesion where something is found",
        lambda c: c.over_lesions(c.figures["hd95"]),
        _HD95,
        digits=1,
    ),
    Metric(
        "false_lesion_share",
        "share of the images without a lesion in which one is found (0 is best)",
        lambda c: c.over_images(np.where(np.isnan(c.false_area), np.nan, c.false_area > 0)),
    ),
    Metric(
        "false_lesion_area",
        "share of the pixels found to be lesion in images without one, mean over these images (0 is best)",
        lambda c: c.over_images(c.false_area),
        digits=4,
    ),
)
"""In the order they are printed. Higher is better, but for hd95 and false lesions."""

CLASS_METRICS = (
    ClassMetric(
        "dice_mean", "Dice of {}, mean over the images that show it", lambda c, k: c.over_images(_where_it_occurs(c, k))
    ),
    ClassMetric("dice_pooled", "Dice of {}, all pixels together", lambda c, k: _pooled(c, c.pooled.dice, k)),
    ClassMetric("iou_pooled", "IoU of {}, all pixels together", lambda c, k: _pooled(c, c.pooled.iou, k)),
)

CONVENTIONS: Mapping[str, str] = {metric.name: metric.meaning for metric in METRICS}
"""What each metric is, in the order they are printed."""

MEASURES: Mapping[str, Measure] = {name: measure for metric in METRICS for name, measure in metric.measures.items()}
"""The figures of each image that are measured on its masks, by name."""


def compute_metrics(counts: Counts, classes: Sequence[str]) -> dict[str, Floats]:
    """Return the (B,) values of every metric that the counts allow, those of single classes last.

    Args:
        counts: counted pixels of a set of images.
        classes: names of all classes.
    """
    values = {each.name: each.compute(counts) for each in METRICS if each.measures.keys() <= counts.figures.keys()}
    for key, number, metric in _class_rows(classes):
        values[key] = metric.compute(counts, number)
    return values


def metric_meanings(classes: Sequence[str] = ()) -> dict[str, str]:
    """Return what each metric is, those of single classes too, in the order they are printed."""
    return {
        **CONVENTIONS,
        **{key: metric.meaning.format(classes[number]) for key, number, metric in _class_rows(classes)},
    }


def digits_of(name: str) -> int:
    """Return how many decimal places of a metric are shown."""
    return next((metric.digits for metric in METRICS if metric.name == name), 3)


def _class_rows(classes: Sequence[str]) -> Iterator[tuple[str, int, ClassMetric]]:
    """Yield key, number of the class and metric; none for two classes, as the lesion's metrics are the class's."""
    if len(classes) > 2:
        for number, name in enumerate(classes[1:], 1):
            for metric in CLASS_METRICS:
                yield f"class/{name}/{metric.name}", number, metric


def _where_it_occurs(counts: Counts, number: int) -> Floats:
    return np.where(counts.images.occurs[:, number], counts.images.dice[:, number], np.nan)


def _pooled(counts: Counts, each: Floats, number: int) -> Floats:
    return np.where(counts.pooled.occurs[:, number], each[:, number], np.nan)
