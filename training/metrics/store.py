"""The one store of scores: the confusion and the measured figures of each image; all metrics are computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lmnet.training.data.classes import make_classes
from lmnet.training.metrics.conventions import MEASURES, compute_metrics
from lmnet.training.metrics.counts import Counts, Floats, has_lesion


@dataclass(frozen=True, repr=False)
class CaseScores:
    """Scores of each image of a set.

    Args:
        names: names of the N images.
        confusion: (N, K, K) int; [n, i, j] counts the pixels of class i that were predicted j.
        figures: (N,) measured values of each image by their names in ``MEASURES``; nan if an image has none. Metrics
            that need a figure which is not here are not computed.
        classes: names of the K classes; empty for the usual ones. With more than two, each has metrics of its own.
    """

    names: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    figures: Mapping[str, Floats] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown = f", lesion Dice {self.value('dice_foreground_mean'):.3f}" if self.has_lesion.any() else ""
        return f"CaseScores({len(self)} images, {int(self.has_lesion.sum())} with a lesion{shown})"

    @property
    def has_lesion(self) -> npt.NDArray[np.bool_]:
        """(N,) whether each image's mask holds a lesion."""
        return has_lesion(self.confusion)

    @property
    def dice(self) -> Floats:
        """Lesion Dice of each image, (N,), the mean over its classes if there are several; nan without a lesion."""
        counts = self._counts(np.ones((1, len(self))))
        return counts.of_lesion(counts.images.dice)

    @property
    def false_pixels(self) -> npt.NDArray[np.int64]:
        """(N,) background pixels of each image that were predicted to be lesion."""
        return np.asarray(self.confusion[:, 0, 1:].sum(axis=1))

    def caption(self, index: int) -> str:
        """Return an image's score in words: ``Dice 0.812``, or how much was found in an image without a lesion."""
        if self.has_lesion[index]:
            return f"Dice {self.dice[index]:.3f}"
        pixels = int(self.false_pixels[index])
        return f"no lesion, {pixels:,} pixels found to be one" if pixels else "no lesion, none found"

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes, the background left out, that no mask of the set holds."""
        classes, occurs = self.class_names(), self.confusion.sum(axis=(0, 2)) > 0
        return tuple(classes[number] for number in range(1, len(classes)) if not occurs[number])

    def class_names(self) -> tuple[str, ...]:
        """Return the names of all K classes, the usual ones if none were given."""
        return self.classes or tuple(each.name for each in make_classes(self.confusion.shape[-1]))

    def value(self, metric: str) -> float:
        """Return one metric, by its name in ``CONVENTIONS``; nan if no image or class has it."""
        return self.values()[metric]

    def values(self) -> dict[str, float]:
        """Return every metric that the store can give, by its name; nan if no image or class has it."""
        return {name: float(values[0]) for name, values in self.weighted(np.ones((1, len(self)))).items()}

    def weighted(self, weights: Floats) -> dict[str, Floats]:
        """Return every metric with the images weighted, as a bootstrap needs it.

        Args:
            weights: (B, N), how often each image counts in each of B drawings.

        Returns:
            (B,) values of each metric.
        """
        return compute_metrics(self._counts(weights), self.class_names())

    def reordered(self, names: Sequence[str]) -> CaseScores:
        """Return the scores of the named images, in that order.

        Raises:
            KeyError: an image is not in the store.
        """
        place = {name: index for index, name in enumerate(self.names)}
        order = [place[name] for name in names]
        figures = {key: values[order] for key, values in self.figures.items()}
        return CaseScores(tuple(names), self.confusion[order], figures, self.classes)

    def dump(self) -> dict[str, Any]:
        """Return the store as plain data for JSON; each figure has a key of its own."""
        return {
            "names": list(self.names),
            "confusion": self.confusion.tolist(),
            **{
                key: [None if np.isnan(value) else value for value in values.tolist()]
                for key, values in self.figures.items()
            },
            "classes": list(self.classes),
        }

    @classmethod
    def load(cls, content: Mapping[str, Any]) -> CaseScores:
        """Return the store that ``dump`` wrote, in this or an earlier version.

        Raises:
            ValueError: a part of it is missing.
        """
        missing = [key for key in ("names", "confusion") if key not in content]
        if missing:
            raise ValueError(f"scores: the stored scores lack {', '.join(missing)}. Score the model again.")
        figures = {
            key: np.array([np.nan if value is None else value for value in content[key]], dtype=np.float64)
            for key in MEASURES
            if content.get(key) is not None
        }
        return cls(
            names=tuple(content["names"]),
            confusion=np.array(content["confusion"], dtype=np.int64),
            figures=figures,
            classes=tuple(content.get("classes", ())),
        )

    def _counts(self, weights: Floats) -> Counts:
        return Counts(self.confusion, self.figures, weights)
