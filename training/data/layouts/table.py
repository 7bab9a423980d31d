"""A list of images and masks in a CSV or JSON file, for data whose layout is none of the others."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from lmnet.training.data.cases import Case, Found
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.walk import all_slices

_COLUMNS = ("image", "mask", "group", "split", "name")
_SIDES = ("train", "val", "test")


def find(path: Path) -> Found | None:
    """Return the cases that a .csv or .json file lists, else None.

    A row has image and mask (paths from the file's folder), and may have group (patient), split (train, val or test)
    and name. JSON is a list of objects with these keys.
    """
    if path.suffix.lower() not in (".csv", ".json") or not path.is_file():
        return None
    try:
        rows = _rows(path)
    except (OSError, ValueError) as error:
        return Found("table", (), (f"{path.name}: it cannot be read ({error}).",))
    cases, problems, sides = [], [], {}
    for number, row in enumerate(rows, start=1):
        unknown = sorted(set(row) - set(_COLUMNS))
        if unknown or not row.get("image") or not row.get("mask"):
            wrong = f"unknown columns {', '.join(unknown)}" if unknown else "no image or no mask"
            problems.append(f"{path.name}: row {number} has {wrong}. The columns are {', '.join(_COLUMNS)}.")
            continue
        image, mask = path.parent / str(row["image"]), path.parent / str(row["mask"])
        problems += [f"{path.name}: row {number}: there is no {file}." for file in (image, mask) if not file.is_file()]
        name = str(row.get("name") or Path(str(row["image"])).with_suffix("").as_posix())
        side = str(row.get("split") or "")
        if side and side not in _SIDES:
            problems.append(f"{path.name}: row {number} has split {side!r}. Use train, val or test.")
        cases.append(Case(name, ImageFile((image,)), (ImageFile((mask,)),), str(row.get("group") or name)))
        sides[name] = side
    if len(sides) < len(cases):
        problems.append(f"{path.name}: {len(cases) - len(sides)} rows have a name that another row has.")
    if any(sides.values()) and not all(sides.values()):
        problems.append(f"{path.name}: {sum(not s for s in sides.values())} rows have no split, and others have one.")
    if problems:
        return Found("table", (), tuple(problems))
    found, more, notes = all_slices(cases)
    given = {case.name: sides.get(case.name) or sides.get(case.name.rpartition("/")[0], "") for case in found}
    return Found("table", tuple(found), tuple(more), notes, sides={name: side for name, side in given.items() if side})


def _rows(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".json":
        rows = json.loads(text)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it must be a list of objects with image and mask")
        return rows
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    return [{key or "": value for key, value in row.items()} for row in reader]
