"""What ``lmnet-train`` says at the end: one number, where the report is, what is next, what to try if it is low."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lmnet.training.metrics.shown import value_with_interval
from lmnet.training.metrics.store import CaseScores
from lmnet.training.runs.run_folder import RunFolder

LOW = 0.7
"""Below this lesion Dice the last lines say what to try."""
RISE = 1.05
"""A val loss this many times its lowest value has risen."""
FAILED = 0.1
"""Below this Dice the net did not find an image's lesion."""
FEW_PIXELS = 30
"""Lesions of fewer pixels at the training size are too small for most nets."""
NAMED = 3


def closing_lines(folder: RunFolder, trained: Collection[str] = (), *, bold: bool = False) -> list[str]:
    """Return the lines to print after a finished run.

    Args:
        folder: the run's folder.
        trained: names of the shipped weights, such as ``lmnet_xs@busi``.
        bold: mark the number as a terminal does.
    """
    metrics = json.loads(folder.file("metrics").read_text(encoding="utf-8"))
    test = metrics["test"]
    start, end = ("\x1b[1m", "\x1b[0m") if bold else ("", "")
    dice = test["dice_foreground_mean"]
    if dice is None:
        headline = f"no Dice: none of the {test['images']} test images has a lesion"
    else:
        shown = value_with_interval(test, "dice_foreground_mean")
        count = test.get("images_with_lesion", test["images"])
        headline = f"test Dice {shown}, mean over {count} images with a lesion"
    return [
        f"{start}{headline}{end}",
        f"report: {folder.file('report')}",
        f"next: lmnet-predict {folder.path} FOLDER_OR_IMAGE",
        f"      lmnet-eval --compare {folder.path} OTHER_RUN",
        *(f"to try: {advice}" for advice in (_advice(folder, trained) if dice is not None and dice < LOW else ())),
    ]


def _advice(folder: RunFolder, trained: Collection[str]) -> Iterator[str]:
    manifest = folder.manifest()
    recipe = manifest["recipe"]
    history = _history(folder)
    rising = rising_since(history)
    if rising is not None:
        yield (
            f"the val loss rises since epoch {rising} of {len(history)}: the net learns the training images by heart. "
            "More images, or --set augment=heavy, help most."
        )
    elif best_epoch(history) >= 0.9 * len(history) > 0:
        yield f"the last epochs were the best: more of them (--epochs {2 * len(history)})."
    if manifest.get("start") == "random":
        names = sorted(
            name for name in trained if name.partition("@")[0] == manifest["model"] and not name.endswith("@synthetic")
        )
        if names:
            yield f"the weights began at random: begin with trained ones (--weights {' or '.join(names)})."
    scores = CaseScores.load(json.loads(folder.file("scores").read_text(encoding="utf-8"))["test"])
    pixels = lesion_pixels(scores, recipe["size"])
    if pixels < FEW_PIXELS:
        yield (
            f"the median lesion has {pixels:.0f} pixels at {recipe['size']} px: larger images "
            f"(--size {2 * recipe['size']})."
        )
    failed = [scores.names[index] for index in np.flatnonzero(scores.dice < FAILED)]
    if failed:
        yield (
            f"look at the {len(failed)} test images on which nearly nothing is found: {', '.join(failed[:NAMED])}"
            f"{', ...' if len(failed) > NAMED else ''} (the worst are in the report). Are their masks right?"
        )


def best_epoch(history: Sequence[Mapping[str, float]]) -> float:
    """Return the epoch with the highest val Dice; 0 if there is none."""
    scored = [row for row in history if np.isfinite(row["val_dice_foreground_mean"])]
    return max(scored, key=lambda row: row["val_dice_foreground_mean"])["epoch"] if scored else 0


def rising_since(history: Sequence[Mapping[str, float]]) -> int | None:
    """Return the epoch of the lowest val loss if the loss has clearly risen since, else None.

    Args:
        history: one row per epoch.
    """
    losses = [row["val_loss"] for row in history]
    if not losses or not np.isfinite(losses).all():
        return None
    lowest = int(np.argmin(losses))
    tail = float(np.mean(losses[-max(1, len(losses) // 5) :]))
    return lowest + 1 if lowest < 0.7 * len(losses) and tail > RISE * losses[lowest] else None


def lesion_pixels(scores: CaseScores, size: int) -> float:
    """Return how many pixels the median lesion of a set has if its images are resized to size x size."""
    pixels = scores.confusion[scores.has_lesion].sum(axis=2)
    return float(np.median(pixels[:, 1:].sum(axis=1) / pixels.sum(axis=1))) * size**2


def _history(folder: RunFolder) -> list[dict[str, Any]]:
    path = folder.path / "log.csv"
    if not path.is_file():
        return []
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return [{key: float(value) for key, value in row.items()} for row in rows]
