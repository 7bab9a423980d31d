"""Cases: one image with its masks, its patient and its kind, and the search for them in a folder or a list."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmnet.training.data.errors import DataError
from lmnet.training.data.image_files import ImageFile, is_image


@dataclass(frozen=True)
class Case:
    """One image and its masks.

    Args:
        name: unique in the data set, stable over machines: split files and tables hold it.
        image: the image's file or files.
        masks: the files whose union is the mask.
        group: cases of one group (a patient) are never on two sides of a split.
        stratum: kinds that a split should mix evenly (benign, malignant); empty if there are none.
        resize_further_masks: bring further masks to the first one's size instead of refusing them.
        mask_classes: the class of each mask's lesion, if each class has a file of its own.
    """

    name: str
    image: ImageFile
    masks: tuple[ImageFile, ...]
    group: str
    stratum: str = ""
    resize_further_masks: bool = False
    mask_classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a layout finds in a folder.

    Args:
        layout: the layout's name.
        cases: sorted by name.
        problems: files that have no partner, one line each.
        notes: what was left out and why, one line each.
        labels: class names and their values in the masks, if the data set gives them.
        sides: case name → train, val or test, if the data set gives it.
    """

    layout: str
    cases: tuple[Case, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    sides: Mapping[str, str] = field(default_factory=dict)


SIDE_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What people call the sides of a split, in lower case."""

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
            check_names([case.name for case in found.cases], path)
            return found
    problem = _what_it_is(path)
    if problem:
        raise DataError(str(path), [problem[0]], problem[1])
    inside = _inside(path)
    hint = "docs/data.md lists the layouts that are known."
    if len(inside) == 1:
        hint = f"Did you mean {inside[0]}?"
    elif inside:
        listed = ", ".join(str(each) for each in inside[:8]) + (", ..." if len(inside) > 8 else "")
        hint = f"Did you mean one of {listed}? If these are parts of one data set, name their files in a list (.csv)."
    raise DataError(
        str(path),
        ["it has none of the known layouts: images/ + masks/ (Kvasir-SEG), PATIENT/*_mask.tif (LGG), "
         "benign/ malignant/ normal/ (BUSI), imagesTr/ + labelsTr/ (nnU-Net, Decathlon), or a .csv or .json list of "
         "images and masks."],
        hint,
    )  # fmt: skip


def check_names(names: Sequence[str], where: Path) -> None:
    """Check that names can be written into tables and split files.

    Raises:
        DataError: some are no UTF-8, as old archives and other systems leave them.
    """
    wrong = [name for name in names if not _is_text(name)]
    if wrong:
        shown = ", ".join(repr(os.fsencode(name))[1:] for name in wrong[:3])
        raise DataError(
            str(where),
            [f"{len(wrong)} file names are no UTF-8: {shown}{', ...' if len(wrong) > 3 else ''}."],
            f"Rename these files, for example with: convmv -f latin1 -t utf8 -r --notest {where}",
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _what_it_is(path: Path) -> tuple[str, str] | None:
    """Return what a path is that cannot be a data set, and what to do."""
    if path.is_file():
        if is_archive(path):
            return "it is an archive.", "Unpack it and give the folder."
        if is_image(path):
            return (
                "it is one image.",
                "Give the folder that holds the images and masks, or a list of them (.csv, .json).",
            )
        return "it is a file of a kind that is no list of images and masks.", "Give a folder, or a .csv or .json list."
    entries = [each for each in path.iterdir() if not each.name.startswith(".")]
    if not entries:
        return "the folder is empty.", "Check the path."
    if any(each.is_file() and is_image(each) for each in entries):
        parent = path.resolve().parent
        from lmnet.training.data.layouts import LAYOUTS

        if any(layout(parent) is not None for layout in LAYOUTS):
            return (
                f"it is the folder {path.resolve().name}/ of a data set, without the other folders.",
                f"Give {parent}.",
            )
    archives = sorted(each.name for each in entries if is_archive(each))
    if archives and not any(each.is_dir() for each in entries):
        return f"it holds archives: {', '.join(archives[:3])}.", "Unpack them and give the folder with the images."
    return None


_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def is_archive(path: Path) -> bool:
    """Return whether a name ends like an archive's."""
    return path.name.lower().endswith(_ARCHIVES)


def _inside(path: Path) -> list[Path]:
    """Return the folders up to two levels below that have a known layout; of nested ones the upper."""
    from lmnet.training.data.layouts import LAYOUTS

    if not path.is_dir():
        return []
    folders = [child for child in sorted(path.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    folders += [child for folder in folders[:20] for child in sorted(folder.iterdir()) if child.is_dir()]
    fitting: list[Path] = []
    for folder in folders[:200]:
        found = next((each for each in (layout(folder) for layout in LAYOUTS) if each is not None), None)
        if found is not None and found.cases and folder.parent not in fitting:
            fitting.append(folder)
    return fitting
