"""What a data set holds, in one line for people, and which of its images compare nets."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.classes import IGNORED
from lmnet.training.data.load import DataSets
from lmnet.training.data.splits import Split

LOOKED_AT = 40
"""Images whose size and lesion are looked at."""
ENOUGH, SHARE = 40, 0.3
"""With fewer validation images than the first, groups of training images join them, up to this share of both."""
FEW = 20
"""With fewer images with a lesion than this, no difference of the usual size shows."""


@dataclass(frozen=True)
class DataSummary:
    """What was found.

    Args:
        text: for people.
        channels: of the images; grey ones count 3, as they are repeated.
        lesion_images: validation images with a lesion.
    """

    text: str
    channels: int
    lesion_images: int


def summarize_data(data: DataSets, num_classes: int) -> DataSummary:
    """Look at a data set."""
    cases = data.cases
    chosen = range(0, len(cases), max(1, -(-len(cases) // LOOKED_AT)))
    shapes = [cases.image(index).shape for index in chosen]
    masks = [cases.mask(index) for index in chosen]
    shares = [float(np.mean((mask > 0) & (mask != IGNORED))) for mask in masks]
    found = [share for share in shares if share > 0]
    groups = len({case.group for case in cases.cases})
    sides = ", ".join(f"{len(data.side(side))} {side}" for side in ("train", "val", "test"))
    heights, widths = sorted(shape[0] for shape in shapes), sorted(shape[1] for shape in shapes)
    sizes = f"{widths[0]}x{heights[0]} to {widths[-1]}x{heights[-1]} pixels"
    lesion = f"a lesion covers {min(found):.1%} to {max(found):.1%} of an image" if found else "no lesion"
    patients = "" if groups == len(cases) else f" of {groups} patients"
    channels = shapes[0][2]
    text = (
        f"{data.name}: {len(cases)} images{patients} ({sides}), {num_classes} classes, "
        f"{channels} channels, {sizes}; {lesion} (of {len(shapes)} images looked at)"
    )
    return DataSummary(text, channels, _with_lesion(data.val))


def enough_to_compare(data: DataSets, seed: int) -> tuple[DataSets, str]:
    """Return a split whose validation side compares nets: training images join it where it has few.

    The test images stay untouched, and patients stay whole.

    Args:
        data: as split for training.
        seed: random seed of the choice.

    Returns:
        The data with its new split, and a note; the data itself and an empty note where it has enough.
    """
    wanted = min(ENOUGH, int(SHARE * (len(data.train) + len(data.val))))
    if len(data.val) >= wanted:
        return data, ""
    groups: dict[str, list[str]] = {}
    for case in data.train.cases:
        groups.setdefault(case.group, []).append(case.name)
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    moved: set[str] = set()
    for group in order[:-1]:  # one stays
        if len(data.val) + len(moved) >= wanted:
            break
        moved |= set(groups[group])
    train = tuple(name for name in data.train.names if name not in moved)
    split = Split(train, (*data.val.names, *sorted(moved)), tuple(data.test.names))
    note = (
        f"{len(data.val)} val images are too few to compare nets: {len(moved)} train images join them here. The test "
        "images stay unseen."
    )
    return DataSets(data.name, data.cases, split, data.notes), note


def _with_lesion(cases: CaseSet) -> int:
    return sum(bool(np.any((mask > 0) & (mask != IGNORED))) for mask in map(cases.mask, range(len(cases))))
