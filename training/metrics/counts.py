"""Counted pixels of a set of images, each image as often as a bootstrap draws it: what every metric is computed from.

What an image or a class without pixels counts is decided here, once for all metrics:

- An image without a lesion has no Dice. It is left out of every ``_mean``; what is found there is a figure of its own.
- In an image with a lesion a class counts if it occurs there, or if it was predicted there: then with 0, as in nnU-Net.
- A class without one pixel in the set has no score, and is left out of the means over classes.

So nothing is ever scored 1 because nothing was there, and which images count depends on the masks alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
WORST_SHARE = 0.1


class Parts:
    """Pixels of each class that were found, predicted by mistake, and missed.

    Args:
        confusion: (..., K, K); [..., i, j] counts the pixels of class i that were predicted j.
    """

    def __init__(self, confusion: Floats) -> None:
        self.hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        self.false = confusion.sum(axis=-2) - self.hits
        self.missed = confusion.sum(axis=-1) - self.hits

    @property
    def occurs(self) -> npt.NDArray[np.bool_]:
        """(..., K) whether the masks hold a pixel of the class."""
        return np.asarray(self.hits + self.missed > 0)

    @cached_property
    def dice(self) -> Floats:
        """(..., K); nan if the class is neither in the masks nor predicted."""
        return share(2 * self.hits, 2 * self.hits + self.false + self.missed)

    @cached_property
    def iou(self) -> Floats:
        """(..., K); nan as for ``dice``."""
        return share(self.hits, self.hits + self.false + self.missed)

    @cached_property
    def precision(self) -> Floats:
        """(..., K); 0 if nothing was predicted."""
        found = self.hits + self.false
        return np.where(found > 0, share(self.hits, found), 0.0)

    @cached_property
    def recall(self) -> Floats:
        """(..., K); nan if the masks hold no pixel of the class."""
        return share(self.hits, self.hits + self.missed)


class Counts:
    """The counts of N images, weighted in B ways.

    Args:
        confusion: (N, K, K) counts of each image.
        figures: (N,) measured values of each image by name; nan if an image has none.
        weights: (B, N), how often each image counts in each of B drawings.
    """

    def __init__(self, confusion: npt.NDArray[np.int64], figures: Mapping[str, Floats], weights: Floats) -> None:
        counts = confusion.astype(np.float64)
        self.figures, self.weights = figures, weights
        self.images, self.pooled = Parts(counts), Parts(np.tensordot(weights, counts, axes=1))
        self.has_lesion = has_lesion(confusion)

    def over_images(self, values: Floats) -> Floats:
        """Return the (B,) weighted means of (N,) values, over the images whose value is not nan."""
        is_defined = ~np.isnan(values)
        return share(self.weights @ np.where(is_defined, values, 0.0), self.weights @ is_defined)

    def over_lesions(self, values: Floats) -> Floats:
        """Return the (B,) weighted means of (N,) values over the images with a lesion."""
        return self.over_images(np.where(self.has_lesion, values, np.nan))

    def of_lesion(self, each: Floats) -> Floats:
        """Return the (N,) means over the lesion classes of (N, K) values; nan for an image without a lesion."""
        return np.where(self.has_lesion, over_classes(each[:, 1:]), np.nan)

    def over_lesion_classes(self, each: Floats) -> Floats:
        """Return the (B,) means of pooled (B, K) values over the lesion classes that occur."""
        return over_classes(np.where(self.pooled.occurs, each, np.nan)[:, 1:])

    def over_all_classes(self, each: Floats) -> Floats:
        """Return the (B,) means of pooled (B, K) values over all classes that occur; nan without a lesion."""
        means = over_classes(np.where(self.pooled.occurs, each, np.nan))
        return np.where(self.pooled.occurs[:, 1:].any(axis=1), means, np.nan)

    def over_worst(self, values: Floats) -> Floats:
        """Return the (B,) means of the lowest tenth of (N,) values; an image at the limit counts in part."""
        order = np.argsort(values, kind="stable")
        order = order[~np.isnan(values[order])]
        weights = self.weights[:, order]
        room = WORST_SHARE * weights.sum(axis=1, keepdims=True)
        taken = np.clip(room - (np.cumsum(weights, axis=1) - weights), 0.0, weights)
        return share(taken @ values[order], taken.sum(axis=1))

    @property
    def accuracy(self) -> Floats:
        """(B,) share of the pixels that were given their class."""
        right = self.pooled.hits.sum(axis=1)
        return share(right, right + self.pooled.missed.sum(axis=1))

    @property
    def false_area(self) -> Floats:
        """(N,) share of an image's pixels that were predicted as lesion; nan for images with a lesion."""
        false = self.images.missed[:, 0]
        return np.where(self.has_lesion, np.nan, share(false, false + self.images.hits[:, 0]))


def has_lesion(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return (N,) whether each image's mask holds a pixel of any class but the background."""
    return np.asarray(confusion[:, 1:].sum(axis=(1, 2)) > 0)


def share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole; nan if the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def over_classes(values: Floats) -> Floats:
    """Return the means over the last axis, nan left out; nan if all are."""
    is_defined = ~np.isnan(values)
    return share(np.where(is_defined, values, 0.0).sum(axis=-1), is_defined.sum(axis=-1).astype(np.float64))
