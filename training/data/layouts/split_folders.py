"""Layout train/, val/ and test/, each with images/ and masks/: the split is that of the folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lmnet.training.data.cases import SIDE_NAMES, Found
from lmnet.training.data.layouts import folders


def find(path: Path) -> Found | None:
    """Return the cases of a folder with train/ and val/ or test/ (or valid/, validation/, ...), else None."""
    if not path.is_dir():
        return None
    parts = {SIDE_NAMES[c.name.casefold()]: c for c in sorted(path.iterdir()) if c.name.casefold() in SIDE_NAMES}
    found = {side: folders.find(folder) for side, folder in parts.items() if folder.is_dir()}
    if len(found) < 2 or any(each is None for each in found.values()):
        return None
    cases, problems, notes, sides = [], [], [], {}
    for side, each in found.items():
        assert each is not None
        top = parts[side].name
        for case in each.cases:
            cases.append(replace(case, name=f"{top}/{case.name}", group=case.group.removeprefix(f"{top}/")))
            sides[cases[-1].name] = side
        problems += [f"{top}/{problem}" for problem in each.problems]
        notes += [f"{top}/: {note}" for note in each.notes]
    shown = ", ".join(f"{parts[side].name}/ = {side} {len(each.cases)}" for side, each in found.items() if each)
    cases.sort(key=lambda case: case.name)
    return Found(
        "folders", tuple(cases), tuple(problems), (f"the split is that of the folders: {shown}.", *notes), {}, sides
    )
