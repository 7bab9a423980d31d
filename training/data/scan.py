"""Reading every file of a data set before the first step: all problems at once, the pixels kept where they fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmnet.training.data import case_set
from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.cases import Case, find_cases
from lmnet.training.data.errors import DataError
from lmnet.training.data.pictures import THRESHOLD, Pixels, read_image, read_mask


@dataclass(frozen=True)
class Scanned:
    """A folder that was read through.

    Args:
        layout: which layout the folder has: kvasir, folders, lgg, busi.
        cases: all cases.
        notes: what was done with odd files, for people to read.
    """

    layout: str
    cases: CaseSet
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    case: Case
    problems: tuple[str, ...] = ()
    image: Pixels | None = None
    mask: Pixels | None = None
    is_grey: bool = False
    resized: tuple[str, ...] = ()
    digest: str = ""


def scan(path: Path) -> Scanned:
    """Find the cases of a folder and decode every file of it once.

    Raises:
        DataError: any file is missing, extra, unreadable, truncated, or of another size than its image; or the folder
            is empty, absent or of unknown layout. All problems are listed together.
    """
    found = find_cases(path)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        reads = list(pool.map(lambda case: _read(case, path), found.cases))
    problems = [*found.problems, *(problem for read in reads for problem in read.problems)]
    if not found.cases and not problems:
        raise DataError(str(path), ["the data set must hold at least one image, got none."], "Check the path.")
    if problems:
        raise DataError(str(path), problems)
    return Scanned(found.layout, _kept(reads), _notes(reads))


def _read(case: Case, root: Path) -> _Read:
    problems = []
    image = mask = None
    is_grey = False
    resized: tuple[str, ...] = ()
    try:
        image = read_image(case.image)
    except ValueError as error:
        problems.append(f"{case.image.relative_to(root)}: {error}")
    try:
        read = read_mask(case.masks, resize_further=case.resize_further_masks)
        mask, is_grey, resized = read.classes, read.is_grey, read.resized
    except ValueError as error:
        problems.append(f"{', '.join(str(file.relative_to(root)) for file in case.masks)}: {error}")
    if image is not None and mask is not None and image.shape[:2] != mask.shape:
        problems.append(
            f"{case.masks[0].relative_to(root)}: a mask must have its image's size, got "
            f"mask={mask.shape[1]}x{mask.shape[0]}, image={image.shape[1]}x{image.shape[0]}."
        )
    if problems:
        return _Read(case, tuple(problems))
    digest = hashlib.sha256()
    for file in (case.image, *case.masks):
        digest.update(file.read_bytes())
    return _Read(case, (), image, mask, is_grey, resized, digest.hexdigest())


def _kept(reads: Sequence[_Read]) -> CaseSet:
    images: list[Pixels | Path] = []
    masks: list[Pixels | tuple[Path, ...]] = []
    left = case_set.MEMORY_MIB * 2**20
    for read in reads:
        assert read.image is not None
        assert read.mask is not None
        left -= read.image.nbytes + read.mask.nbytes
        images.append(read.image if left > 0 else read.case.image)
        masks.append(read.mask if left > 0 else read.case.masks)
    return CaseSet(
        names=[read.case.name for read in reads],
        groups=[read.case.group for read in reads],
        strata=[read.case.stratum for read in reads],
        images=images,
        masks=masks,
        digests=[read.digest for read in reads],
    )


def _notes(reads: Sequence[_Read]) -> tuple[str, ...]:
    notes = []
    grey = [read for read in reads if read.is_grey]
    if grey:
        notes.append(
            f"{len(grey)} of {len(reads)} masks hold grey values (first: {grey[0].case.masks[0].name}); "
            f"a pixel is lesion above {THRESHOLD}."
        )
    joined = sum(len(read.case.masks) > 1 for read in reads)
    if joined:
        notes.append(f"{joined} images have several masks; they are joined.")
    resized = [f"{read.case.name}: {name}" for read in reads for name in read.resized]
    if resized:
        notes.append(f"further masks of another size than their image were stretched to it: {', '.join(resized)}.")
    return tuple(notes)


def class_problems(cases: CaseSet, num_classes: int, side: str) -> list[str]:
    """Return what is wrong between the classes in the masks of one side of a split and the model's outputs.

    Args:
        cases: one side, for example the training cases.
        num_classes: outputs of the model.
        side: name of the side, for the messages.
    """
    seen = np.zeros(256, dtype=bool)
    first_too_large = ""
    for index, name in enumerate(cases.names):
        present = np.bincount(cases.mask(index).ravel(), minlength=256) > 0
        seen |= present
        if present[num_classes:].any() and not first_too_large:
            first_too_large = name
    problems = []
    if first_too_large:
        problems.append(
            f"{side}: masks must have at most the model's classes, got classes={int(np.flatnonzero(seen)[-1]) + 1} in "
            f"the masks (first: {first_too_large}), num_classes={num_classes} in the model."
        )
    absent = [str(number) for number in range(num_classes) if not seen[number]]
    if absent:
        problems.append(f"{side}: every class must occur in the masks, got none of class {', '.join(absent)}.")
    return problems
