"""The one store of scores: confusion and outline distances of each image, and all named conventions computed from it.

Published Dice values mix conventions. Here each has its name: ``_mean`` is computed image by image and averaged,
``_pooled`` from the pixels of all images together; ``foreground`` is the lesion, ``macro`` the plain mean over the
classes with the background among them (the paper's way, which flatters: the background is large and easy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONVENTIONS: Mapping[str, str] = {
    "dice_foreground_mean": "Dice of the lesion, mean over images (an image without lesion counts 1 or 0)",
    "dice_foreground_pooled": "Dice of the lesion, all pixels together",
    "dice_macro_pooled": "Dice, mean over background and lesion, all pixels together (the paper's mDice)",
    "iou_foreground_mean": "IoU of the lesion, mean over images",
    "iou_foreground_pooled": "IoU of the lesion, all pixels together",
    "iou_macro_pooled": "IoU, mean over background and lesion, all pixels together (the paper's mIoU)",
    "precision": "share of predicted lesion pixels that are lesion, all pixels together",
    "recall": "share of lesion pixels that were found, all pixels together",
    "specificity": "share of background pixels left alone, all pixels together",
    "accuracy": "share of pixels given their class, all pixels together",
    "precision_macro_pooled": "precision, mean over background and lesion, all pixels together",
    "recall_macro_pooled": "recall, mean over background and lesion, all pixels together",
    "boundary_iou_mean": "IoU of the bands along the outlines, mean over images",
    "hd95_mean": "95th percentile of the outlines' distance in pixels, mean over images; "
    "an image where just one outline exists counts its diagonal",
    "hd95_defined_mean": "the same, mean over the images where both outlines or neither exist",
}
"""What each metric is, in the order they are printed. Higher is better but for hd95."""


@dataclass(frozen=True)
class CaseScores:
    """Scores of each image of a set.

    Args:
        names: of the images.
        confusion: (N, K, K) int; [n, i, j] counts the pixels of class i that were predicted j.
        hd95: (N,) pixels, nan where just one of the two outlines exists; None if not measured.
        boundary_iou: (N,); None if not measured.
        diagonal: (N,) length of each image's diagonal in pixels; needed with hd95.
        classes: names of the K classes; with more than two, each has a Dice and an IoU of its own.
    """

    names: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    hd95: Floats | None = None
    boundary_iou: Floats | None = None
    diagonal: Floats | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dice(self) -> Floats:
        """Foreground Dice of each image, (N,); the mean over the foreground classes where there are several."""
        return np.asarray(_dice(*_parts(self.confusion.astype(np.float64)))[:, 1:].mean(axis=1))

    def values(self) -> dict[str, float]:
        """Return every metric that the store can give, by its name in ``CONVENTIONS``."""
        weights = np.ones((1, len(self)))
        return {name: float(values[0]) for name, values in self.weighted(weights).items()}

    def weighted(self, weights: Floats) -> dict[str, Floats]:
        """Return every metric with the images weighted, as a bootstrap needs it.

        Args:
            weights: (B, N), how often each image counts in each of B drawings.

        Returns:
            (B,) values for each metric.
        """
        counts = self.confusion.astype(np.float64)
        hits, false, missed = _parts(np.tensordot(weights, counts, axes=1))
        total = weights.sum(axis=1)
        dice, iou = _dice(hits, false, missed), _iou(hits, false, missed)
        precision, recall = _ratio(hits, hits + false, missed), _ratio(hits, hits + missed, false)
        each_iou = _iou(*_parts(counts))[:, 1:].mean(axis=1)
        results = {
            "dice_foreground_mean": weights @ self.dice / total,
            "dice_foreground_pooled": dice[:, 1:].mean(axis=1),
            "dice_macro_pooled": dice.mean(axis=1),
            "iou_foreground_mean": weights @ each_iou / total,
            "iou_foreground_pooled": iou[:, 1:].mean(axis=1),
            "iou_macro_pooled": iou.mean(axis=1),
            "precision": precision[:, 1:].mean(axis=1),
            "recall": recall[:, 1:].mean(axis=1),
            "specificity": recall[:, 0],
            "accuracy": hits.sum(axis=1) / (hits + missed).sum(axis=1),
            "precision_macro_pooled": precision.mean(axis=1),
            "recall_macro_pooled": recall.mean(axis=1),
        }
        if self.boundary_iou is not None:
            results["boundary_iou_mean"] = weights @ self.boundary_iou / total
        if self.hd95 is not None and self.diagonal is not None:
            is_defined = ~np.isnan(self.hd95)
            results["hd95_mean"] = weights @ np.where(is_defined, self.hd95, self.diagonal) / total
            with np.errstate(invalid="ignore"):
                results["hd95_defined_mean"] = weights @ np.where(is_defined, self.hd95, 0) / (weights @ is_defined)
        each_dice = _dice(*_parts(counts))
        for number, name in class_keys(self.classes):
            results[f"dice_{name}_mean"] = weights @ each_dice[:, number] / total
            results[f"dice_{name}_pooled"] = dice[:, number]
            results[f"iou_{name}_pooled"] = iou[:, number]
        return results

    def dump(self) -> dict[str, Any]:
        """Return the store as plain data for JSON."""
        return {
            "names": list(self.names),
            "confusion": self.confusion.tolist(),
            "hd95": None if self.hd95 is None else [None if np.isnan(v) else v for v in self.hd95.tolist()],
            "boundary_iou": None if self.boundary_iou is None else self.boundary_iou.tolist(),
            "diagonal": None if self.diagonal is None else self.diagonal.tolist(),
            "classes": list(self.classes),
        }

    @classmethod
    def load(cls, content: Mapping[str, Any]) -> CaseScores:
        """Return the store that ``dump`` wrote.

        Raises:
            ValueError: a part of it is missing.
        """
        missing = [key for key in ("names", "confusion", "hd95", "boundary_iou", "diagonal") if key not in content]
        if missing:
            raise ValueError(f"scores: the stored scores lack {', '.join(missing)}. Score the model again.")

        def floats(key: str) -> Floats | None:
            values = content[key]
            return None if values is None else np.array([np.nan if v is None else v for v in values], dtype=np.float64)

        return cls(
            names=tuple(content["names"]),
            confusion=np.array(content["confusion"], dtype=np.int64),
            hd95=floats("hd95"),
            boundary_iou=floats("boundary_iou"),
            diagonal=floats("diagonal"),
            classes=tuple(content.get("classes", ())),
        )


def class_keys(classes: Sequence[str]) -> list[tuple[int, str]]:
    """Return number and name of each class but the background, as metrics are named; empty for two classes."""
    if len(classes) <= 2:
        return []
    return [(number, "_".join(name.split())) for number, name in enumerate(classes) if number > 0]


def metric_meanings(classes: Sequence[str] = ()) -> dict[str, str]:
    """Return what each metric is, those of single classes too, in the order they are printed."""
    meanings = dict(CONVENTIONS)
    for _, name in class_keys(classes):
        meanings[f"dice_{name}_mean"] = f"Dice of {name}, mean over images"
        meanings[f"dice_{name}_pooled"] = f"Dice of {name}, all pixels together"
        meanings[f"iou_{name}_pooled"] = f"IoU of {name}, all pixels together"
    return meanings


def _parts(confusion: Floats) -> tuple[Floats, Floats, Floats]:
    """Return hits, false alarms and misses of each class, (..., K) each."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(axis=-2) - hits, confusion.sum(axis=-1) - hits


def _dice(hits: Floats, false: Floats, missed: Floats) -> Floats:
    return _ratio(2 * hits, 2 * hits + false + missed)


def _iou(hits: Floats, false: Floats, missed: Floats) -> Floats:
    return _ratio(hits, hits + false + missed)


def _ratio(part: Floats, whole: Floats, otherwise: Floats | None = None) -> Floats:
    """Return part / whole; 0 / 0 is 1, or 0 where ``otherwise`` counts errors all the same."""
    empty = np.ones_like(whole) if otherwise is None else (otherwise == 0).astype(np.float64)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), empty)
