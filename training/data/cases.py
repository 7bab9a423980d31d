"""Cases: one image with its masks, its patient and its kind, and the search for them in a folder or a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmnet.training.data.errors import DataError
from lmnet.training.data.image_files import ImageFile


@dataclass(frozen=True)
class Case:
    """One image and its masks.

    Args:
        name: unique in the data set, stable over machines: split files and tables hold it.
        image: the image's file or files.
        masks: the files whose union is the mask.
        group: cases of one group (a patient) are never on two sides of a split.
        stratum: kinds that a split should mix evenly (benign, malignant); empty where there are none.
        resize_further_masks: bring further masks to the first one's size instead of refusing them.
    """

    name: str
    image: ImageFile
    masks: tuple[ImageFile, ...]
    group: str
    stratum: str = ""
    resize_further_masks: bool = False


@dataclass(frozen=True)
class Found:
    """What a layout finds in a folder.

    Args:
        layout: the layout's name.
        cases: sorted by name.
        problems: files that have no partner, one line each.
        notes: what was left out and why, one line each.
        labels: class names and their values in the masks, where the data set gives them.
        sides: case name → train, val or test, where the data set gives it.
    """

    layout: str
    cases: tuple[Case, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    sides: Mapping[str, str] = field(default_factory=dict)


Layout = Callable[[Path], "Found | None"]
"""Looks at a folder and returns its cases, or None when the folder has another layout."""


def find_cases(path: Path) -> Found:
    """Return the cases of a folder or a list, whichever known layout it has.

    A folder that holds nothing but one folder of a known layout stands for that one.

    Raises:
        DataError: the path is absent, empty, or of an unknown layout.
    """
    from lmnet.training.data.layouts import LAYOUTS

    if not path.exists():
        raise DataError(str(path), ["there is no such data set."], "Give its path, or `--data synthetic`.")
    for layout in LAYOUTS:
        found = layout(path)
        if found is not None:
            return found
    inside = _inside(path)
    hint = f"Did you mean {inside}?" if inside else "docs/data.md lists the layouts that are known."
    raise DataError(
        str(path),
        ["it has none of the known layouts: images/ + masks/ (Kvasir-SEG), PATIENT/*_mask.tif (LGG), "
         "benign/ malignant/ normal/ (BUSI), imagesTr/ + labelsTr/ (nnU-Net, Decathlon), or a .csv or .json list of "
         "images and masks."],
        hint,
    )  # fmt: skip


def _inside(path: Path) -> Path | None:
    """Return a folder up to two levels below that has a known layout."""
    from lmnet.training.data.layouts import LAYOUTS

    if not path.is_dir():
        return None
    folders = [child for child in sorted(path.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    folders += [child for folder in folders[:20] for child in sorted(folder.iterdir()) if child.is_dir()]
    for folder in folders[:200]:
        for layout in LAYOUTS:
            found = layout(folder)
            if found is not None and found.cases:
                return folder
    return None
