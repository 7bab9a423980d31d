"""What chooses the best epoch: the lesion Dice of the validation images, as far as the net can see a lesion in them.

Training and search ask here. A mask is looked at in the size that the net is fed: a lesion that has no pixel left there
counts as none. If no lesion is left at all, there is no Dice, and the loss of the validation images chooses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lmnet.training.data.case_set import CaseSet, Pixels, ResizedSet
from lmnet.training.data.classes import IGNORED, make_classes

METRIC = "dice_foreground_mean"
"""The metric that chooses."""


@dataclass(frozen=True)
class Chooser:
    """Decides which epoch is better.

    Args:
        size: side in pixels at which the validation images are scored.
        images: number of validation images.
        with_lesion: number of them whose mask has a lesion at this size.
        vanished: number of them whose lesion has no pixel at this size.
        found: names of the classes, without the background, that have a pixel at this size.
        absent: names of those that have none.
    """

    size: int
    images: int
    with_lesion: int
    vanished: int
    found: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def uses_loss(self) -> bool:
        """Whether there is no lesion to score by, so that the validation loss chooses."""
        return self.with_lesion == 0

    @property
    def kind(self) -> str:
        """What a score is, kept with a training run so that a resumed one compares like with like."""
        return "val loss" if self.uses_loss else f"val {METRIC}, images with a lesion"

    def compares_with(self, kind: str) -> bool:
        """Return whether scores of that kind compare with this chooser's; empty: those of versions up to 0.1.0.

        Those versions counted an image or a class without a lesion 1 or 0. Where there is none, nothing changed.
        """
        classes = len(self.found) + len(self.absent)
        return kind == self.kind or (not kind and classes == 1 and self.with_lesion == self.images)

    @property
    def text(self) -> str:
        """What chooses, in one line for people."""
        lost = ""
        if self.vanished:
            images = "1 image" if self.vanished == 1 else f"{self.vanished} images"
            lost = f"; in {images} no pixel of the lesion is left at this size"
        if self.uses_loss:
            return (
                f"no val image has a lesion at {self.size} px, so there is no Dice: the best epoch is the one with the "
                f"lowest val loss{lost}. To choose by Dice, use another split{' or a larger size' if lost else ''}."
            )
        classes = len(self.found) + len(self.absent)
        occur = "1 class that occurs" if len(self.found) == 1 else f"{len(self.found)} classes that occur"
        over = f"{occur}, " if classes > 1 else ""
        missing = f"; no pixels of {', '.join(self.absent)} in these images" if self.absent else ""
        return (
            f"the best epoch is chosen by val Dice at {self.size} px: mean over {over}{self.with_lesion} of "
            f"{self.images} images with a lesion{missing}{lost}"
        )

    def score(self, metrics: Mapping[str, float], loss: float) -> float:
        """Return what an epoch is chosen by; higher is better.

        Args:
            metrics: metrics of the validation images, by name.
            loss: mean over the validation images.
        """
        score = -loss if self.uses_loss else metrics[METRIC]
        return score if math.isfinite(score) else -math.inf

    def describe(self, score: float) -> str:
        """Return a score in words: ``Dice 0.812``, or ``loss 0.345`` if the loss chooses."""
        return f"loss {-score:.3f}" if self.uses_loss else f"Dice {score:.3f}"


def make_chooser(val: ResizedSet, num_classes: int) -> Chooser:
    """Look at the validation masks once and return what can choose.

    Args:
        val: validation cases at the size that the net is fed: ``data.val.at(size, in_channels)``.
        num_classes: number of classes of the net, background included.
    """
    names = tuple(each.name for each in val.cases.meaning.classes)
    if len(names) != num_classes:
        names = tuple(each.name for each in make_classes(num_classes))
    seen, with_lesion, vanished = set[int](), 0, 0
    for index in range(len(val)):
        classes = _lesions(val[index][1].numpy())
        seen |= classes
        with_lesion += bool(classes)
        vanished += not classes and bool(lesion_classes(val.cases, index))
    return Chooser(
        size=val.size,
        images=len(val),
        with_lesion=with_lesion,
        vanished=vanished,
        found=tuple(name for number, name in enumerate(names) if number and number in seen),
        absent=tuple(name for number, name in enumerate(names) if number and number not in seen),
    )


def lesion_classes(cases: CaseSet, index: int) -> set[int]:
    """Return the classes but the background of a case's mask at its own size."""
    present = cases.cases[index].present
    return set(present - {0}) if present is not None else _lesions(cases.mask(index))


def _lesions(mask: Pixels) -> set[int]:
    return set(np.unique(mask).tolist()) - {0, IGNORED}
