"""Which images a prediction is for, and where its results go."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmnet.builder.files import written_aside
from lmnet.training.data.case_set import Pixels
from lmnet.training.data.cases import check_names, is_archive
from lmnet.training.data.errors import DataError
from lmnet.training.data.image_files import ImageFile, file_stem, is_image
from lmnet.training.data.medical_files import count_images, is_medical, write_mask_like
from lmnet.training.data.walk import image_paths

_OURS = re.compile(r"_(mask|probability|probability_.+|overlay)\.png$")


@dataclass(frozen=True)
class Target:
    """One image to predict.

    Args:
        file: the image.
        name: name of its results, without ending.
    """

    file: ImageFile
    name: str


@dataclass(frozen=True)
class Area:
    """How much of one image, or of one slice of a volume, a class covers.

    Args:
        image: its name.
        class_name: the class.
        pixels: number of pixels of that class.
        share: their share of the image's pixels.
    """

    image: str
    class_name: str
    pixels: int
    share: float


def find_images(paths: Sequence[Path], out: Path) -> tuple[list[Target], tuple[str, ...]]:
    """Return every image that the paths name, and notes; volumes give their slices.

    Images of a folder keep their place under it. What is under ``out``, and results of an earlier prediction beside the
    images, are left out.

    Raises:
        DataError: a path is absent, a folder has no images, or two images would be given one name.
    """
    found: list[tuple[Path, str]] = []
    problems, skipped = [], []
    for path in paths:
        if path.is_dir():
            inside = image_paths(path)
            stems = {file.with_name(file_stem(file)) for file in inside}
            ours = [file for file in inside if _is_ours(file, stems) or _is_under(file, out, path)]
            skipped += ours
            kept = [file for file in inside if file not in set(ours)]
            found += [(file, (file.relative_to(path).parent / file_stem(file)).as_posix()) for file in kept]
            if not kept:
                problems.append(f"{path}: the folder holds no image.")
        elif not path.exists():
            problems.append(f"{path}: there is no such file.")
        elif is_archive(path):
            problems.append(f"{path}: it is an archive; unpack it and give the folder.")
        elif not is_image(path):
            problems.append(f"{path}: its name does not end like an image's that can be read.")
        else:
            found.append((path, file_stem(path)))
    check_names([name for _, name in found], paths[0] if len(paths) == 1 else Path())
    seen: dict[str, Path] = {}
    for path, name in found:
        if seen.setdefault(name, path) != path:
            problems.append(f"{path}: its results would be named {name}, like those of {seen[name]}.")
    targets = []
    for path, name in found:
        try:
            targets += _targets(path, name)
        except ValueError as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise DataError("images", problems, "Change the list of images.")
    shown = ", ".join(str(file) for file in skipped[:3]) + (", ..." if len(skipped) > 3 else "")
    notes = (f"{len(skipped)} results of earlier predictions are left out: {shown}.",) if skipped else ()
    return targets, notes


def save_volumes(predictions: Sequence[tuple[Path, str, list[Pixels]]], folder: Path) -> list[Path]:
    """Write one NIfTI mask a volume, NAME_mask.nii.gz, with the source's affine; return their paths."""
    paths = []
    for source, name, masks in predictions:
        path = folder / f"{name}_mask.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask_like(path, source, np.stack(masks))
        paths.append(path)
    return paths


def save_areas(areas: Sequence[Area], folder: Path) -> Path:
    """Write areas.csv, one row for each image and class; return its path."""
    path = folder / "areas.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("image", "class", "pixels", "share"))
        table.writerows((each.image, each.class_name, each.pixels, f"{each.share:.6f}") for each in areas)
    return path


def _targets(path: Path, name: str) -> list[Target]:
    count = count_images(path) if is_medical(path) else 1
    if count == 1:
        return [Target(ImageFile((path,)), name)]
    return [Target(ImageFile((path,), index), f"{name}_{index:04d}") for index in range(count)]


def _is_ours(file: Path, stems: set[Path]) -> bool:
    """Whether a file is a result that was written beside its image."""
    match = _OURS.search(file.name)
    return match is not None and file.with_name(file.name[: match.start()]) in stems


def _is_under(file: Path, out: Path, folder: Path) -> bool:
    """Whether a file is in the folder for results, and that folder is inside the folder of images."""
    inside = out.resolve()
    return inside != folder.resolve() and folder.resolve() in inside.parents and inside in file.resolve().parents
