"""Walking through a folder of images: what belongs to the data set, and what tools have left behind."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lmnet.training.data.cases import Case
from lmnet.training.data.errors import folded
from lmnet.training.data.image_files import ImageFile, file_stem, is_image
from lmnet.training.data.medical_files import count_images, is_medical, misplaced

_SKIPPED_FOLDERS = frozenset({"__macosx", "@eadir", "lost+found", "thumbnails"})
_SKIPPED_FILES = frozenset(
    {"thumbs.db", "desktop.ini", "dataset.json", "readme.txt", "readme.md", "license", "license.txt"}
)
_COPY = re.compile(r"( - copy( \(\d+\))?| copy( \d+)?|-checkpoint|~)$", re.IGNORECASE)
_NAMED = 5
_SAME_GRID = "If they belong together voxel by voxel, save the mask with its image's header (docs/data.md, Formats)."


def image_paths(folder: Path) -> list[Path]:
    """Return the image files under a folder and its sub-folders, sorted; links are followed, cycles are not.

    Hidden files and folders, those of operating systems, and copies that stand beside their original are left out.
    """
    return [path for path in files_in(folder) if is_image(path)]


def files_in(folder: Path) -> list[Path]:
    """Return every file under a folder that people have put there, sorted."""
    found: list[Path] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _is_hidden(name) and name.casefold() not in _SKIPPED_FOLDERS]
        stems = {file_stem(Path(name)) for name in names}
        for name in names:
            stem = file_stem(Path(name))
            is_copy = bool(_COPY.search(stem)) and _COPY.sub("", stem) in stems
            if not _is_hidden(name) and not is_copy and name.casefold() not in _SKIPPED_FILES:
                found.append(Path(root) / name)
    return sorted(found)


def left_out(root: Path, folders: Sequence[Path], used: Sequence[Case]) -> tuple[str, ...]:
    """Return a note that counts and names the files in some folders that no case uses; no note if there are none."""
    taken = {path for case in used for file in (case.image, *case.masks) for path in file.paths}
    rest = [path for folder in folders for path in files_in(folder) if path not in taken]
    if not rest:
        return ()
    shown = ", ".join(str(path.relative_to(root)) for path in rest[:_NAMED])
    return (f"{len(rest)} files are left out: {shown}{', ...' if len(rest) > _NAMED else ''}.",)


def name_of(file: Path, folder: Path) -> str:
    """Return a file's place under a folder without its ending, in Unicode's composed form (NFC)."""
    relative = file.relative_to(folder)
    return unicodedata.normalize("NFC", (relative.parent / file_stem(file)).as_posix())


def slices(case: Case) -> list[Case]:
    """Return the slices of a case whose image is a volume, each a case; a case of one image as it is.

    Raises:
        ValueError: a file cannot be read, or image and mask have not the same number of slices.
    """
    image = case.image.path
    files = [path for file in (case.image, *case.masks) for path in file.paths]
    if not any(is_medical(path) for path in files):
        return [case]
    counts = {path: count_images(path, image) if is_medical(path) else 1 for path in files}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{path.name} {count}" for path, count in counts.items())
        raise ValueError(f"image and mask differ in their number of slices: {listed}.")
    for path in files[1:]:
        wrong = misplaced(path, image)
        if wrong is not None:
            raise ValueError(f"{path.name} does not lie on it: {wrong}. {_SAME_GRID}")
    masks = tuple(replace(mask, like=image) for mask in case.masks)
    count = counts[image]
    if count == 1:
        return [replace(case, masks=masks)]
    return [
        replace(
            case,
            name=f"{case.name}/{index:04d}",
            image=ImageFile(case.image.paths, index),
            masks=tuple(replace(mask, index=index) for mask in masks),
        )
        for index in range(count)
    ]


def all_slices(cases: Sequence[Case]) -> tuple[list[Case], list[str], tuple[str, ...]]:
    """Return the slices of all cases, what is wrong with some, and a note that counts them."""
    found: list[Case] = []
    problems: list[str] = []
    for case in cases:
        try:
            found += slices(case)
        except ValueError as error:
            problems.append(f"{case.image.path.name}: {error}")
    problems = folded(problems)
    volumes = len({case.image.paths for case in found if case.image.index is not None})
    notes = (f"{volumes} volumes give {sum(c.image.index is not None for c in found)} slices.",) if volumes else ()
    return found, problems, notes


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
