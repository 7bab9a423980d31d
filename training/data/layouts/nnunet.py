"""Layout of nnU-Net v2's raw data sets: dataset.json, imagesTr/NAME_0000.ENDING, labelsTr/NAME.ENDING.

Source: nnU-Net, documentation/dataset_format.md (https://github.com/MIC-DKFZ/nnUNet).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lmnet.training.data.cases import Case, Found
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.walk import all_slices, files_in, left_out

_CHANNEL = re.compile(r"^(?P<name>.+)_(?P<channel>\d{4})$")


def find(path: Path) -> Found | None:
    """Return the cases of a raw data set of nnU-Net, else None.

    Volumes become slices; a case is a group, so that its slices stay on one side of a split. Every channel is a file.
    """
    content = read_dataset_json(path)
    if content is None or "file_ending" not in content:
        return None
    ending = str(content["file_ending"])
    problems, labels = read_labels(content.get("labels"))
    channels = len(content.get("channel_names") or content.get("modality") or {}) or 1
    images: dict[str, dict[int, Path]] = {}
    for file in _files(path / "imagesTr", ending):
        match = _CHANNEL.match(file.name.removesuffix(ending))
        if match:
            images.setdefault(match["name"], {})[int(match["channel"])] = file
    masks = {file.name.removesuffix(ending): file for file in _files(path / "labelsTr", ending)}
    cases = []
    for name, files in images.items():
        if sorted(files) not in (list(range(channels)), [0]):  # one RGB file may hold three channels
            have = ", ".join(f"{channel:04d}" for channel in sorted(files))
            problems.append(f"imagesTr/{name}: dataset.json names {channels} channels, and there are {have}.")
        elif name not in masks:
            problems.append(f"imagesTr/{name}: there is no labelsTr/{name}{ending}.")
        else:
            image = ImageFile(tuple(files[channel] for channel in sorted(files)))
            cases.append(Case(name=name, image=image, masks=(ImageFile((masks[name],)),), group=name))
    problems += [
        f"labelsTr/{masks[n].name}: there is no imagesTr/{n}_0000{ending}." for n in sorted(masks.keys() - images)
    ]
    found, more, notes = all_slices(cases)
    notes += left_out(path, [path / "imagesTr", path / "labelsTr"], cases) if not problems else ()
    return Found("nnunet", tuple(found), (*problems, *more), notes, labels)


def _files(folder: Path, ending: str) -> list[Path]:
    """Return the files of a folder with an ending, without those that tools leave behind (._NAME of macOS)."""
    return [file for file in files_in(folder) if file.parent == folder and file.name.endswith(ending)]


def read_dataset_json(path: Path) -> dict[str, Any] | None:
    """Return a folder's dataset.json if it has one and imagesTr/, else None."""
    if not (path / "imagesTr").is_dir() or not (path / "dataset.json").is_file():
        return None
    try:
        content = json.loads((path / "dataset.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_labels(content: Any) -> tuple[list[str], dict[str, int]]:
    """Return what is wrong with the labels of a dataset.json, and the labels as name → value.

    nnU-Net v2 writes name → value, Medical Decathlon and nnU-Net v1 value → name.
    """
    if not isinstance(content, dict):
        return ["dataset.json: it has no labels."], {}
    labels = {}
    for key, value in content.items():
        name, number = (value, key) if isinstance(value, str) and str(key).isdecimal() else (key, value)
        if not str(number).isdecimal():
            return [f"dataset.json: label {name} is {number!r}; regions of several values are not read."], {}
        labels[str(name)] = int(number)
    return [], labels
