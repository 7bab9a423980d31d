"""Layout images/ + masks/ with one mask for each image under the same name (Kvasir-SEG and most others)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmnet.training.data.cases import SIDE_NAMES, Case, Found
from lmnet.training.data.errors import folded
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.walk import all_slices, files_in, image_paths, left_out, name_of

IMAGES = ("images", "imgs", "image", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations", "segmentations", "gt", "ground_truth", "groundtruth")
_ENDING = re.compile(r"[ _.-]?(mask|masks|segmentation|seg|label|labels|gt|groundtruth|ground_truth)$", re.IGNORECASE)
_LISTED = 10
_DRAW = "Draw polygons and boxes as masks first: one PNG an image, 0 for background, 255 for lesion."
_ADVICE = {".txt": _DRAW, ".json": _DRAW, ".xml": _DRAW, ".csv": _DRAW} | dict.fromkeys(
    (".hdr", ".img", ".mha", ".mhd", ".raw", ".nrrd", ".nhdr", ".mgz"), "Save them as .nii.gz, images and masks alike."
)


def find(path: Path) -> Found | None:
    """Return the cases of a folder with images/ and masks/ (or imgs/, labels/, ... in any case), else None.

    Names are compared without their endings and without _mask, _seg, _label, _gt, ..., whatever their case: a.jpg may
    have a.png, a_mask.png or A_GT.png as its mask. Sub-folders of images/ are patients: their cases stay together in a
    split; train/, val/ and test/ are the split itself.
    """
    images_dir, masks_dir = folder_of(path, IMAGES), folder_of(path, MASKS)
    if images_dir is None and masks_dir is None:
        return None
    if images_dir is None or masks_dir is None:
        there = images_dir or masks_dir
        lacks = "a folder of masks (masks/, labels/, ...)" if images_dir else "a folder of images (images/, imgs/, ...)"
        return Found("folders", (), (f"there is {there.name if there else ''}/, but {lacks} is missing.",))
    images = {name_of(file, images_dir): file for file in reversed(image_paths(images_dir))}
    masks = {name_of(file, masks_dir): file for file in reversed(image_paths(masks_dir))}
    unread = [unreadable(folder) for folder, files in ((images_dir, images), (masks_dir, masks)) if not files]
    if any(unread):
        return Found("folders", (), tuple(text for text in unread if text))
    problems = folded(_twice(images_dir) + _twice(masks_dir))
    by_stem: dict[str, str] = {}
    for key in sorted(masks, reverse=True):
        by_stem[_plain(key)] = key
    cases, used, without = [], set(), []
    for key, image in sorted(images.items()):
        mask_key = key if key in masks else by_stem.get(key.casefold(), by_stem.get(_plain(key)))
        if mask_key is None:
            without.append(f"{images_dir.name}/{image.relative_to(images_dir)}")
            continue
        used.add(mask_key)
        group = patient_of(key)
        cases.append(Case(name=key, image=ImageFile((image,)), masks=(ImageFile((masks[mask_key],)),), group=group))
    alone = [f"{masks_dir.name}/{masks[key].relative_to(masks_dir)}" for key in sorted(masks.keys() - used)]
    if images and masks and not cases:
        problems.append(
            f"no image has a mask of its name: {images_dir.name}/ holds {_some(images, images_dir)}; "
            f"{masks_dir.name}/ holds {_some(masks, masks_dir)}. A mask has its image's name, or that with "
            "_mask, _seg, _label or _gt behind it."
        )
    else:
        problems += _listed(without, f"an image has no mask in {masks_dir.name}/.")
        problems += _listed(alone, f"a mask has no image in {images_dir.name}/.")
    found, more, notes = all_slices(cases)
    layout = "kvasir" if "kvasir" in path.resolve().name.lower() else "folders"
    sides = _sides(found)
    notes += (*_meaning(found, sides, images_dir.name), *_others(path, masks_dir))
    notes += left_out(path, [images_dir, masks_dir], cases) if not problems else ()
    return Found(layout, tuple(found), (*problems, *more), notes, sides=sides)


def patient_of(key: str) -> str:
    """Return the patient of a name: its folder, without the folders of a split (train/, val/, test/)."""
    folders, _, _ = key.rpartition("/")
    parts = [part for part in folders.split("/") if part]
    if parts and parts[0].casefold() in SIDE_NAMES:
        parts = parts[1:]
    return "/".join(parts) or key


def unreadable(folder: Path) -> str:
    """Return what a folder without images holds, and what to do, for people."""
    files = files_in(folder)
    if not files:
        return f"{folder.name}/ is empty."
    endings = Counter(file.suffix.lower() or "without an ending" for file in files)
    listed = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(3))
    most = endings.most_common(1)[0][0]
    advice = _ADVICE.get(most, "Save them in a format that docs/data.md lists.")
    return f"{folder.name}/ holds no image that is read, but files: {listed}. {advice}"


def _sides(cases: Sequence[Case]) -> dict[str, str]:
    """Return the side of each case if all cases are in folders train/, val/ (valid/, validation/) and test/."""
    found = {
        case.name: SIDE_NAMES.get(case.name.partition("/")[0].casefold(), "") for case in cases if "/" in case.name
    }
    is_split = len(found) == len(cases) and all(found.values()) and len(set(found.values())) > 1
    return found if is_split else {}


def _meaning(cases: Sequence[Case], sides: Mapping[str, str], folder: str) -> tuple[str, ...]:
    """Say what the names of folders are taken to mean."""
    if sides:
        counts = Counter(sides.values())
        return (f"the folders of {folder}/ are the split: {', '.join(f'{s} {counts[s]}' for s in sorted(counts))}.",)
    groups = sorted({case.group for case in cases if case.image.index is None and case.group != case.name})
    if not groups:
        return ()
    shown = ", ".join(groups[:3]) + (", ..." if len(groups) > 3 else "")
    return (f"{len(groups)} folders of {folder}/ are taken as patients: {shown}.",)


def _others(path: Path, used: Path) -> tuple[str, ...]:
    """Name further folders of masks, which are not read."""
    others = [f"{c.name}/" for c in sorted(path.iterdir()) if c.is_dir() and c.name.casefold() in MASKS and c != used]
    return (f"{used.name}/ holds the masks; {', '.join(others)} is not read.",) if others else ()


def folder_of(path: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first folder of these names that holds images, or that exists."""
    if not path.is_dir():
        return None
    children = {child.name.casefold(): child for child in sorted(path.iterdir(), reverse=True) if child.is_dir()}
    there = [children[name] for name in names if name in children]
    if len(there) > 1:
        there.sort(key=lambda folder: not image_paths(folder))
    return there[0] if there else None


def _plain(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return (folder + slash + (_ENDING.sub("", name) or name)).casefold()


def _some(files: dict[str, Path], folder: Path) -> str:
    names = [files[key].relative_to(folder).as_posix() for key in sorted(files)[:3]]
    return f"{', '.join(names)}{', ...' if len(files) > len(names) else ''} ({len(files)})"


def _listed(files: list[str], problem: str) -> list[str]:
    """One line a file, at most ten, then a count."""
    lines = [f"{file}: {problem}" for file in files[:_LISTED]]
    return lines + ([f"and {len(files) - _LISTED} more files: {problem}"] if len(files) > _LISTED else [])


def _twice(folder: Path) -> list[str]:
    seen: dict[str, Path] = {}
    problems = []
    for file in image_paths(folder):
        first = seen.setdefault(name_of(file, folder), file)
        if first != file:
            problems.append(f"{folder.name}/{file.name}: two files have this name, the other is {first.name}.")
    return problems
