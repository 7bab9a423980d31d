"""Layout of the brain MRI set (LGG, kaggle_3m): PATIENT/PATIENT_N.tif beside PATIENT/PATIENT_N_mask.tif."""

from __future__ import annotations

import re
from pathlib import Path

from lmnet.training.data.cases import Case, Found
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.walk import image_paths, left_out

_MASK = "_mask"


def find(path: Path) -> Found | None:
    """Return the cases of a folder of patients, else None.

    The patient is the group: slices of one brain look alike, so a split by slice (as the authors' is) would test on
    images that are all but in the training set.
    """
    if not path.is_dir() or (path / "images").is_dir():
        return None
    files = [file for file in image_paths(path) if file.parent.parent == path and _is_tiff(file)]
    masks = {file.with_suffix("").as_posix().removesuffix(_MASK): file for file in files if file.stem.endswith(_MASK)}
    if not masks:
        return None
    images = {file.with_suffix("").as_posix(): file for file in files if not file.stem.endswith(_MASK)}
    problems = [
        f"{file.relative_to(path)}: an image has no mask {file.stem}{_MASK}{file.suffix}."
        for key, file in images.items()
        if key not in masks
    ] + [
        f"{file.relative_to(path)}: a mask has no image {Path(key).name}{file.suffix}."
        for key, file in masks.items()
        if key not in images
    ]
    cases = [
        Case(
            name=image.relative_to(path).with_suffix("").as_posix(),
            image=ImageFile((image,)),
            masks=(ImageFile((masks[key],)),),
            group=image.parent.name,
        )
        for key, image in images.items()
        if key in masks
    ]
    notes = left_out(path, [path], cases) if not problems else ()
    return Found("lgg", tuple(sorted(cases, key=_patient_and_slice)), tuple(problems), notes)


def _is_tiff(file: Path) -> bool:
    return file.suffix.lower() in (".tif", ".tiff")


def _patient_and_slice(case: Case) -> tuple[str, int, str]:
    number = re.search(r"(\d+)$", case.name)
    return case.group, int(number.group(1)) if number else 0, case.name
