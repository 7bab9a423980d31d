"""Cases: one image with its masks, its patient and its kind, and the layouts of folders that they are found in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmnet.training.data.errors import DataError
from lmnet.training.data.pictures import is_picture


@dataclass(frozen=True)
class Case:
    """One image and its masks.

    Args:
        name: unique in the data set, stable over machines: split files and tables hold it.
        image: the image's file.
        masks: the files whose union is the mask.
        group: cases of one group (a patient) never stand on two sides of a split.
        stratum: kinds that a split should mix evenly (benign, malignant); empty where there are none.
        resize_further_masks: bring further masks to the first one's size instead of refusing them.
    """

    name: str
    image: Path
    masks: tuple[Path, ...]
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
    """

    layout: str
    cases: tuple[Case, ...]
    problems: tuple[str, ...] = ()


Layout = Callable[[Path], "Found | None"]
"""Looks at a folder and returns its cases, or None when the folder is laid out in another way."""


def find_cases(path: Path) -> Found:
    """Return the cases in a folder, whichever known layout it has.

    Raises:
        DataError: the folder is absent, empty, or laid out in an unknown way.
    """
    from lmnet.training.data import busi, folders, lgg

    layouts: tuple[Layout, ...] = (busi.find, lgg.find, folders.find)
    if not path.is_dir():
        raise DataError(
            str(path), ["the data set must be a folder that exists."], "Give its path, or `--data synthetic`."
        )
    for layout in layouts:
        found = layout(path)
        if found is not None:
            return found
    raise DataError(
        str(path),
        ["the folder must have a known layout, got none of images/ + masks/ (Kvasir-SEG), PATIENT/*_mask.tif (LGG), "
         "benign/ malignant/ normal/ (BUSI)."],
        "Put the pictures into images/ and the masks, under the same names, into masks/.",
    )  # fmt: skip


def pictures_in(folder: Path) -> list[Path]:
    """Return the picture files under a folder and its sub-folders, sorted."""
    return sorted(path for path in folder.rglob("*") if is_picture(path) and path.is_file())
