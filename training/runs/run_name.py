"""Which folder a run has: its own if it was begun before, else a new one whose name says what it is."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from lmnet.training.runs.run_folder import Request, RunFolder

RUNS = Path("runs")
NAMED_BY_LAYOUT = ("synthetic", "kvasir", "lgg", "busi")
"""Layouts that are one public data set each; others are named by their folder."""
_SHOWN = 3
"""Most differences that a folder's name lists."""
_SHORT = {"epochs": "ep", "size": "px", "batch_size": "bs"}


def data_name(layout: str, path: str) -> str:
    """Return the name of a data set for a folder's name: of a public one its own, else that of its folder or list."""
    if layout in NAMED_BY_LAYOUT:
        return layout
    place = Path(path).resolve()
    name = place.stem if place.suffix in (".csv", ".json") else place.name
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:40] or layout


def find_folder(request: Request, *, layout: str) -> RunFolder:
    """Return the folder of a run that names none.

    It is the folder in runs/ in which the same run was begun, by earlier versions too. Else it is
    runs/MODEL-DATA-RECIPE-sSEED, and if another run has that name, one with what differs behind it: ``-px256``.

    Args:
        request: the run.
        layout: layout of its data.
    """
    tail = f"{request.recipe.name}-s{request.seed}"
    name = f"{request.model}-{data_name(layout, request.data)}-{tail}"
    earlier = f"{request.model}-{layout}-{tail}"
    begun = [
        RunFolder(path)
        for stem in dict.fromkeys((name, earlier))
        for path in sorted(RUNS.glob(f"{stem}*"))
        if RunFolder(path).is_run
    ]
    for allowed in ((), ("recipe.epochs",)):  # the very same run before one that is to be trained further
        for folder in begun:
            is_same = not set(changes_of(folder, request)) - set(allowed)
            if is_same and int(folder.manifest()["recipe"]["epochs"]) <= request.recipe.epochs:
                return folder
    first = RunFolder(RUNS / name)
    if not first.path.exists():
        return first
    differs = changes_of(first, request) if first.is_run else {}
    suffix = "-".join(_part(key, value) for key, (_, value) in list(differs.items())[:_SHOWN])
    named = RunFolder(RUNS / f"{name}-{suffix}") if suffix else first
    if not named.path.exists():
        return named
    digest = hashlib.sha256(json.dumps(request.facts(), sort_keys=True).encode()).hexdigest()[:6]
    return RunFolder(named.path.with_name(f"{named.path.name}-{digest}"))


def changes_of(folder: RunFolder, request: Request) -> dict[str, tuple[Any, Any]]:
    """Return what differs between the run in a folder and a request, as (before, now) by key; see ``RunFolder``."""
    try:
        return folder.changes(request)
    except ValueError:  # of another format
        return {"format": ("", "other")}


def _part(key: str, value: Any) -> str:
    """Return a difference as a part of a folder's name."""
    name = key.rpartition(".")[2]
    text = re.sub(r"[^A-Za-z0-9._-]+", "_", str(value)).strip("._-")
    if key == "fingerprint":
        return f"data_{text[:6]}"
    if key == "spec_hash":
        return f"net_{text[:6]}"
    if key == "start":
        return f"from_{text.partition('.')[0][:24]}" if text != "random" else "random"
    if key == "teacher":
        return f"teacher_{text[:16]}" if text else "no_teacher"
    return f"{_SHORT.get(name, name + '_')}{text[:24]}"
