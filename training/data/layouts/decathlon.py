"""Layout of the Medical Segmentation Decathlon: dataset.json with a list of training images and labels (NIfTI).

Source: http://medicaldecathlon.com, arXiv 2106.05735.
"""

from __future__ import annotations

from pathlib import Path

from lmnet.training.data.cases import Case, Found
from lmnet.training.data.image_files import ImageFile, file_stem
from lmnet.training.data.layouts.nnunet import read_dataset_json, read_labels
from lmnet.training.data.walk import all_slices


def find(path: Path) -> Found | None:
    """Return the slices of a Decathlon task, else None. A volume is a group; its fourth axis holds the channels."""
    content = read_dataset_json(path)
    if content is None or "file_ending" in content or not isinstance(content.get("training"), list):
        return None
    problems, labels = read_labels(content.get("labels"))
    cases = []
    for entry in content["training"]:
        if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
            problems.append(f"dataset.json: a training entry names no image and label: {entry!r}.")
            continue
        image, label = path / str(entry["image"]), path / str(entry["label"])
        absent = [file.name for file in (image, label) if not file.is_file()]
        if absent:
            problems.append(f"dataset.json: {', '.join(absent)} is not there.")
            continue
        name = file_stem(image)
        cases.append(Case(name=name, image=ImageFile((image,)), masks=(ImageFile((label,)),), group=name))
    found, more, notes = all_slices(cases)
    return Found("decathlon", tuple(found), (*problems, *more), notes, labels)
