"""What reading a case's files found: sizes that do not fit, odd files, images that are there twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmnet.training.data.cases import Case
from lmnet.training.data.image_files import ImageFile, RawImage
from lmnet.training.data.intensities import IntensitySample, padding
from lmnet.training.data.mask_values import MaskSample
from lmnet.training.data.meaning import DataMeaning

_NAMED = 5
_LISTED = 3
"""At most this many masks whose sizes are wrong in one way are listed one by one."""


@dataclass
class Read:
    """A case's files, read; the pixels are kept as long as there is room."""

    case: Case
    problems: list[str]
    image: RawImage | None = None
    masks: list[RawImage] = field(default_factory=list)
    intensity: IntensitySample | None = None
    samples: list[MaskSample] = field(default_factory=list)
    is_misfit: bool = False
    sizes: list[tuple[int, int]] = field(default_factory=list)
    is_turned: bool = False
    is_padded: bool = False
    resized: tuple[str, ...] = ()
    digest: str = ""
    content: str = ""
    nbytes: int = 0


def content_of(values: npt.NDArray[Any]) -> str:
    """Return a hash of an image's values, whatever file holds them; empty for an image of one value throughout."""
    if not values.size or (values == values.flat[0]).all():
        return ""
    digest = hashlib.blake2b(f"{values.dtype} {values.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def has_misfit(read: Read) -> bool:
    """Return whether a mask's size is not its image's; masks that may be stretched to it are named in ``resized``."""
    assert read.image is not None
    if not read.masks:
        return False
    size = read.masks[0].values.shape[:2]
    others = [
        f.path.name for f, raw in zip(read.case.masks[1:], read.masks[1:], strict=True) if raw.values.shape[:2] != size
    ]
    if others and read.case.resize_further_masks:
        read.resized = tuple(others)
        others = []
    read.sizes = [read.image.values.shape[:2], *(raw.values.shape[:2] for raw in read.masks)]
    return bool(others) or size != read.image.values.shape[:2]


def size_problems(reads: Sequence[Read], root: Path) -> list[str]:
    """Return what is wrong with the sizes of masks: one line for all masks that are wrong in one way."""
    kinds: dict[str, list[str]] = {}
    for read in reads:
        if not read.is_misfit:
            continue
        image, mask, *more = read.sizes
        name = file_name(read.case.masks[0], root)
        if mask == image:
            listed = ", ".join(
                f"{file.path.name} {_text(size)}" for file, size in zip(read.case.masks[1:], more, strict=True)
            )
            line = f"{name}: the masks of one image differ in size: {_text(mask)} and {listed}."
            kinds.setdefault(f"{name} differ", []).append(line)
            continue
        turned = " (after its orientation tag, which viewers follow)" if read.is_turned else ""
        kind, advice = _misfit(image, mask)
        line = f"{name}: the mask has {_text(mask)} pixels and its image {_text(image)}{turned}"
        kinds.setdefault(kind or "sizes differ", []).append(f"{line}{f': {kind}. {advice}' if kind else '.'}")
    lines: list[str] = []
    for alike in kinds.values():
        lines += alike if len(alike) <= _LISTED else [f"{alike[0]} So it is with {len(alike) - 1} more masks."]
    return lines


def _misfit(image: tuple[int, int], mask: tuple[int, int]) -> tuple[str, str]:
    """Return in what way a mask's size is not its image's, and what to do."""
    if mask == image[::-1]:
        return "rows and columns are swapped", "Transpose the masks."
    down, across = mask[0] / image[0], mask[1] / image[1]
    if abs(round(image[0] * across) - mask[0]) <= 1 and abs(round(image[1] * down) - mask[1]) <= 1:
        times = f"{down:.3g} times as large" if down > 1 else f"1/{1 / down:.3g} as large"
        return f"the masks are {times} as their images", "Resize the masks by nearest neighbour, or the images."
    return "", ""


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def notes_of(reads: Sequence[Read], meaning: DataMeaning) -> tuple[str, ...]:
    """Return what was done with odd files, one line each."""
    notes = []
    joined = sum(len(read.case.masks) > 1 and not read.case.mask_classes for read in reads)
    if joined:
        notes.append(f"{joined} images have several masks; they are joined.")
    resized = [f"{read.case.name}: {name}" for read in reads for name in read.resized]
    if resized:
        notes.append(f"further masks of another size than their image were stretched to it: {', '.join(resized)}.")
    turned = [read.case.name for read in reads if read.is_turned]
    if turned:
        notes.append(f"{len(turned)} images are turned as their orientation tag says: {_some(turned)}.")
    bad = [read.case.name for read in reads if read.intensity is not None and read.intensity.bad]
    if bad:
        notes.append(f"{len(bad)} images have values that are infinite or not a number: {_some(bad)}. They are cut.")
    fill = padding([read.intensity for read in reads if read.intensity is not None])
    if fill is not None and meaning.intensities.ranges:
        notes.append(f"{fill:g} fills pixels that were not measured; it does not set the range of the images.")
    padded = sum(read.is_padded for read in reads)
    if padded:
        notes.append(
            f"{padded} images have pixels of their PixelPaddingValue; these do not set the range of the images."
        )
    if meaning.masks.ignore is not None:
        with_ignored = [
            read.case.name for read in reads if any(meaning.masks.ignore in each.values for each in read.samples)
        ]
        notes.append(f"{len(with_ignored)} masks have ignored pixels; they count in neither loss nor scores.")
    same = [names for names in _same(reads).values() if len(names) > 1]
    if same:
        notes.append(f"{len(same)} images are there more than once, for example {' = '.join(same[0][:3])}.")
    return tuple(notes)


def _same(reads: Sequence[Read]) -> dict[str, list[str]]:
    """Return the names of cases by their digest."""
    counts = Counter(read.digest for read in reads)
    same: dict[str, list[str]] = {}
    for read in reads:
        if counts[read.digest] > 1:
            same.setdefault(read.digest, []).append(read.case.name)
    return same


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def file_name(file: ImageFile, root: Path) -> str:
    """Return a file's place under the data set's folder, for messages."""
    shown = ", ".join(_relative(path, root) for path in file.paths)
    return shown if file.index is None else f"{shown} slice {file.index}"


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
