"""The owner of a results folder: one study writes into it."""

from __future__ import annotations

import contextlib
import json
import uuid
from pathlib import Path

import optuna

from lmnet.builder.files import write_durably
from lmnet.search.study.storage import retry

OWNER = "study.json"
STUDY_ID = "lmnet:id"
OURS = ("best.yaml", "best.safetensors", "report.html", "trials.csv", "weights", "run.json")
"""Names of files by which a folder of a search or a training run is recognised."""


def own_folder(folder: Path, study: optuna.Study) -> None:
    """Mark a folder as the results of a study, or check that it belongs to this study.

    Raises:
        ValueError: the folder holds the results of another study, or of something else.
    """
    key = retry(lambda: study.user_attrs).get(STUDY_ID)
    if key is None:
        key = uuid.uuid4().hex
        retry(lambda: study.set_user_attr(STUDY_ID, key))
        key = retry(lambda: study.user_attrs)[STUDY_ID]  # another search may have written at the same moment
    found = _found(folder)
    if found is None and any((folder / name).exists() for name in OURS):
        found = {"study": "another program"}
    if found is not None and found.get("id", key if found["study"] == study.study_name else "") != key:
        raise ValueError(
            f"search: {folder} holds the results of {found['study']}, and {study.study_name} would overwrite them. "
            "Give another --out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / OWNER, json.dumps({"study": study.study_name, "id": key}).encode())


def _found(folder: Path) -> dict[str, str] | None:
    """Return the study whose results a folder holds; folders of earlier versions have its name only."""
    for name in (OWNER, "search.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            return {key: str(content[key]) for key in ("study", "id") if key in content} | {"study": content["study"]}
    return None
