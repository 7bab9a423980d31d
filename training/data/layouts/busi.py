"""Layout of the breast ultrasound set (Dataset_BUSI_with_GT): CLASS/CLASS (N).png with _mask.png, _mask_1.png ..."""

from __future__ import annotations

import re
from pathlib import Path

from lmnet.training.data.cases import Case, Found
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.walk import image_paths, left_out

_CLASSES = ("benign", "malignant", "normal")
_MASK = re.compile(r"^(?P<image>.+)_mask(?:_\d+)?$")


def find(path: Path) -> Found | None:
    """Return the cases of a folder with benign/, malignant/ or normal/, else None.

    Several masks of one image (several lesions) are joined. Images of the class normal have empty masks. The class is
    the stratum: every side of a split has its share of each. A further mask of another size than its image is
    stretched to it, with a note: the published set has one, benign (4)_mask_1.png.
    """
    folders = [path / name for name in _CLASSES if (path / name).is_dir()]
    if not folders:
        return None
    cases: list[Case] = []
    problems: list[str] = []
    for folder in folders:
        images: dict[str, Path] = {}
        masks: dict[str, list[Path]] = {}
        for file in image_paths(folder):
            match = _MASK.match(file.stem)
            if match:
                masks.setdefault(match["image"], []).append(file)
            else:
                images[file.stem] = file
        for stem, image in images.items():
            name = f"{folder.name}/{stem}"
            if stem in masks:
                files = tuple(sorted(masks[stem], key=lambda file: (len(file.stem), file.stem)))
                cases.append(
                    Case(
                        name,
                        ImageFile((image,)),
                        tuple(ImageFile((file,)) for file in files),
                        group=name,
                        stratum=folder.name,
                        resize_further_masks=True,
                    )
                )
            else:
                problems.append(f"{folder.name}/{image.name}: an image has no mask {stem}_mask.png.")
        problems += [
            f"{folder.name}/{file.name}: a mask has no image {stem}.png."
            for stem, files in masks.items()
            if stem not in images
            for file in files
        ]
    notes = left_out(path, folders, cases) if not problems else ()
    return Found("busi", tuple(sorted(cases, key=_class_and_number)), tuple(problems), notes)


def _class_and_number(case: Case) -> tuple[str, int, str]:
    number = re.search(r"\((\d+)\)$", case.name)
    return case.stratum, int(number.group(1)) if number else 0, case.name
