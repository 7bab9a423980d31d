"""Layout images/ + masks/ with one mask for each image under the same name (Kvasir-SEG and most others)."""

from __future__ import annotations

from pathlib import Path

from lmnet.training.data.cases import Case, Found, pictures_in

_MASK_ENDINGS = ("", "_mask", "_segmentation", "_gt")


def find(path: Path) -> Found | None:
    """Return the cases of a folder with images/ and masks/, else None.

    Names are compared without their endings, so that a.jpg may have a.png or a_mask.png as its mask. Sub-folders of
    images/ are patients: their cases stay together in a split.
    """
    images_dir, masks_dir = path / "images", path / "masks"
    if not (images_dir.is_dir() or masks_dir.is_dir()):
        return None
    images = {_key(file, images_dir): file for file in reversed(pictures_in(images_dir))}
    masks = {_key(file, masks_dir): file for file in reversed(pictures_in(masks_dir))}
    problems = _twice(images_dir) + _twice(masks_dir)
    cases, used = [], set()
    for key, image in sorted(images.items()):
        mask_key = next((key + ending for ending in _MASK_ENDINGS if key + ending in masks), None)
        if mask_key is None:
            problems.append(f"images/{image.relative_to(images_dir)}: an image must have a mask, got none in masks/.")
            continue
        used.add(mask_key)
        group = key.rpartition("/")[0] or key
        cases.append(Case(name=key, image=image, masks=(masks[mask_key],), group=group))
    problems += [
        f"masks/{masks[key].relative_to(masks_dir)}: a mask must have an image, got none in images/."
        for key in sorted(masks.keys() - used)
    ]
    layout = "kvasir" if "kvasir" in path.resolve().name.lower() else "folders"
    return Found(layout, tuple(cases), tuple(problems))


def _key(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _twice(folder: Path) -> list[str]:
    seen: dict[str, Path] = {}
    problems = []
    for file in pictures_in(folder):
        first = seen.setdefault(_key(file, folder), file)
        if first != file:
            problems.append(f"{folder.name}/{file.name}: a name must be there once, got {first.name} too.")
    return problems
