"""A list of images and masks in a CSV or JSON file, for data whose layout is none of the others."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from lmnet.training.data.cases import SIDE_NAMES, Case, Found
from lmnet.training.data.errors import folded
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.walk import all_slices

_COLUMNS = ("image", "mask", "group", "split", "name")
_SIDES = ("train", "val", "test")


def find(path: Path) -> Found | None:
    """Return the cases that a .csv or .json file lists, else None.

    A row has image and mask (paths from the file's folder), and may have group (patient), split (train, val or test)
    and name; further columns are left out with a note. Columns are separated by commas, semicolons or tabs. JSON is a
    list of objects with these keys.
    """
    if path.suffix.lower() not in (".csv", ".tsv", ".json") or not path.is_file():
        return None
    try:
        rows, left = _known_columns(_rows(path))
    except (OSError, ValueError) as error:
        return Found("table", (), (f"{path.name}: it cannot be read ({error}).",))
    cases, problems, sides = [], [], {}
    for number, row in enumerate(rows, start=1):
        if not row.get("image") or not row.get("mask"):
            problems.append(f"{path.name}: row {number} has no image or no mask.")
            continue
        image, mask = _place(path.parent, str(row["image"])), _place(path.parent, str(row["mask"]))
        problems += [f"{path.name}: row {number}: there is no {file}." for file in (image, mask) if not file.is_file()]
        name = str(row.get("name") or Path(str(row["image"]).replace("\\", "/")).with_suffix("").as_posix())
        side = str(row.get("split") or "").strip()
        side = SIDE_NAMES.get(side.casefold(), side)
        if side and side not in _SIDES:
            problems.append(f"{path.name}: row {number} has split {side!r}. Use train, val or test.")
        cases.append(Case(name, ImageFile((image,)), (ImageFile((mask,)),), str(row.get("group") or name)))
        sides[name] = side
    if len(sides) < len(cases):
        problems.append(f"{path.name}: {len(cases) - len(sides)} rows have a name that another row has.")
    if any(sides.values()) and not all(sides.values()):
        problems.append(f"{path.name}: {sum(not s for s in sides.values())} rows have no split, and others have one.")
    if problems:
        return Found("table", (), tuple(folded(problems)))
    found, more, notes = all_slices(cases)
    notes = (*notes, *left)
    given = {case.name: sides.get(case.name) or sides.get(case.name.rpartition("/")[0], "") for case in found}
    return Found("table", tuple(found), tuple(more), notes, sides={name: side for name, side in given.items() if side})


def _place(folder: Path, text: str) -> Path:
    """Return the file that a list names; a backslash is a separator if no file has it in its name."""
    path = folder / text
    return path if "\\" not in text or path.is_file() else folder / text.replace("\\", "/")


def _known_columns(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return the rows with the columns that have a meaning, and a note that names the others.

    Raises:
        ValueError: there is no column image or no column mask.
    """
    keys = {key: str(key).strip().casefold() for row in rows for key in row}
    for column in ("image", "mask"):
        if rows and column not in keys.values():
            found = ", ".join(str(key) for key in keys) or "none"
            raise ValueError(
                f"it has no column {column}; its columns are {found}. The columns are {', '.join(_COLUMNS)}"
            )
    twice = [name for name in _COLUMNS if sum(name == each for each in keys.values()) > 1]
    if twice:
        raise ValueError(f"it has the column {twice[0]} twice")
    left = sorted(str(key) for key, name in keys.items() if name not in _COLUMNS and str(key).strip())
    notes = (f"columns without a meaning here are left out: {', '.join(left[:8])}.",) if left else ()
    return [{keys[key]: value for key, value in row.items() if keys[key] in _COLUMNS} for row in rows], notes


def _rows(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if path.suffix.lower() == ".json":
        rows = json.loads(text)
        if isinstance(rows, dict) and {"images", "annotations"} <= rows.keys():
            raise ValueError(
                "it is a COCO file of polygons. Draw them as masks first, one image a mask, and list those"
            )
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it must be a list of objects with image and mask")
        return rows
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True, delimiter=separator)
    rows = [
        {
            key or "": (value or "").strip() if isinstance(value, str) or value is None else value
            for key, value in row.items()
        }
        for row in reader
    ]
    return [row for row in rows if any(row.values())]
