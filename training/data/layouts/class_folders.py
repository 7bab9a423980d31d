"""Layout images/ + masks/0/, masks/1/, ...: one folder of masks for each class (U-Net++ and what came from it)."""

from __future__ import annotations

from pathlib import Path

from lmnet.training.data.cases import Case, Found
from lmnet.training.data.errors import folded
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.layouts.folders import IMAGES, MASKS, folder_of, patient_of
from lmnet.training.data.walk import image_paths, left_out, name_of


def find(path: Path) -> Found | None:
    """Return the cases of a folder whose masks/ holds nothing but folders named by numbers, else None.

    The first number is the first class after the background, the next the second, and so on.
    """
    images_dir, masks_dir = folder_of(path, IMAGES), folder_of(path, MASKS)
    if images_dir is None or masks_dir is None:
        return None
    children = [child for child in masks_dir.iterdir() if not child.name.startswith(".")]
    numbered = sorted((c for c in children if c.is_dir() and c.name.isdecimal()), key=lambda c: int(c.name))
    images = {name_of(file, images_dir): file for file in image_paths(images_dir)}
    if not numbered or len(numbered) < len(children) or not images:
        return None
    if any(name.partition("/")[0] == folder.name for folder in numbered for name in images):
        return None  # patients named by numbers
    masks = [{name_of(file, folder): file for file in image_paths(folder)} for folder in numbered]
    cases, problems = [], []
    for name, image in sorted(images.items()):
        lacking = [folder.name for folder, files in zip(numbered, masks, strict=True) if name not in files]
        problems += [f"{images_dir.name}/{image.name}: an image has no mask in {masks_dir.name}/{n}/." for n in lacking]
        if not lacking:
            files = tuple(ImageFile((each[name],)) for each in masks)
            classes = tuple(range(1, len(files) + 1))
            cases.append(Case(name, ImageFile((image,)), files, patient_of(name), mask_classes=classes))
    for folder, each in zip(numbered, masks, strict=True):
        more = sorted(each.keys() - images.keys())
        problems += [f"{masks_dir.name}/{folder.name}/{n}: a mask has no image in {images_dir.name}/." for n in more]
    shown = ", ".join(f"{masks_dir.name}/{folder.name}/ = class {n}" for n, folder in enumerate(numbered, start=1))
    notes: tuple[str, ...] = (f"each folder of masks is a class: {shown}; of masks that overlap the last counts.",)
    notes += left_out(path, [images_dir, masks_dir], cases) if not problems else ()
    return Found("folders", tuple(cases), tuple(folded(problems)), notes)
