"""Layout images/ + masks/ with one mask for each image under the same name (Kvasir-SEG and most others)."""

from __future__ import annotations

import re
from pathlib import Path

from lmnet.training.data.cases import Case, Found
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.walk import all_slices, image_paths, left_out, name_of

IMAGES = ("images", "imgs", "image", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations", "segmentations", "gt", "ground_truth", "groundtruth")
_ENDING = re.compile(r"[ _.-]?(mask|masks|segmentation|seg|label|labels|gt|groundtruth|ground_truth)$", re.IGNORECASE)
_LISTED = 10


def find(path: Path) -> Found | None:
    """Return the cases of a folder with images/ and masks/ (or imgs/, labels/, ... in any case), else None.

    Names are compared without their endings and without _mask, _seg, _label, _gt, ..., whatever their case: a.jpg may
    have a.png, a_mask.png or A_GT.png as its mask. Sub-folders of images/ are patients: their cases stay together in a
    split.
    """
    images_dir, masks_dir = _folder(path, IMAGES), _folder(path, MASKS)
    if images_dir is None and masks_dir is None:
        return None
    if images_dir is None or masks_dir is None:
        there = images_dir or masks_dir
        lacks = "a folder of masks (masks/, labels/, ...)" if images_dir else "a folder of images (images/, imgs/, ...)"
        return Found("folders", (), (f"there is {there.name if there else ''}/, but {lacks} is missing.",))
    problems = _twice(images_dir) + _twice(masks_dir)
    images = {name_of(file, images_dir): file for file in reversed(image_paths(images_dir))}
    masks = {name_of(file, masks_dir): file for file in reversed(image_paths(masks_dir))}
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
        group = key.rpartition("/")[0] or key
        cases.append(Case(name=key, image=ImageFile((image,)), masks=(ImageFile((masks[mask_key],)),), group=group))
    alone = [f"{masks_dir.name}/{masks[key].relative_to(masks_dir)}" for key in sorted(masks.keys() - used)]
    if images and masks and not cases:
        problems.append(
            f"no image has a mask of its name: {images_dir.name}/ holds {_some(images)}; {masks_dir.name}/ holds "
            f"{_some(masks)}. A mask has its image's name, or that with _mask, _seg, _label or _gt behind it."
        )
    else:
        problems += _listed(without, f"an image has no mask in {masks_dir.name}/.")
        problems += _listed(alone, f"a mask has no image in {images_dir.name}/.")
    found, more, notes = all_slices(cases)
    layout = "kvasir" if "kvasir" in path.resolve().name.lower() else "folders"
    notes += left_out(path, [images_dir, masks_dir], cases) if not problems else ()
    return Found(layout, tuple(found), (*problems, *more), notes)


def _folder(path: Path, names: tuple[str, ...]) -> Path | None:
    if not path.is_dir():
        return None
    children = {child.name.casefold(): child for child in sorted(path.iterdir(), reverse=True) if child.is_dir()}
    return next((children[name] for name in names if name in children), None)


def _plain(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return (folder + slash + (_ENDING.sub("", name) or name)).casefold()


def _some(files: dict[str, Path]) -> str:
    names = [files[key].name for key in sorted(files)[:3]]
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
