"""Read the state of a study from its storage; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import optuna

from lmnet.search.results.counts import tally, with_verdict
from lmnet.search.results.summary import SearchResult
from lmnet.search.study.fingerprint import FINGERPRINT, SPEC, VERDICT, kept_space
from lmnet.search.study.storage import open_storage, retry, without_password


def read_status(storage: str, study_name: str | None = None, *, folder: str | Path | None = None) -> SearchResult:
    """Return the state of a study.

    Args:
        storage: Optuna's URL.
        study_name: name of the study; None if the storage has one only.
        folder: folder with its results; None for the folder of a SQLite storage.

    Raises:
        ValueError: there is no such study, or it is from another program.
    """
    if storage.startswith("sqlite:///") and not Path(storage.removeprefix("sqlite:///")).is_file():
        raise ValueError(f"storage: there is no file for {storage}. Start a study with lmnet-search.")
    with open_storage(storage) as opened:
        names = retry(lambda: optuna.get_all_study_names(opened))
        if study_name is None and len(names) == 1:
            study_name = names[0]
        if study_name is None or study_name not in names:
            missing = "no study_name is given" if study_name is None else f"there is no study {study_name}"
            raise ValueError(
                f"status: {missing}. {without_password(storage)} has these studies: {', '.join(names) or 'none'}."
            )
        study = retry(lambda: optuna.load_study(study_name=study_name, storage=opened))
        attrs = study.user_attrs
        if FINGERPRINT not in attrs or SPEC not in attrs:
            raise ValueError(f"status: {study_name} is a study of another program. Give one that lmnet-search made.")
        space = kept_space(attrs[SPEC])
        counts, verdict = with_verdict(attrs.get(VERDICT), tally(study.get_trials(deepcopy=False), space))
    if folder is None and storage.startswith("sqlite:///"):
        folder = Path(storage.removeprefix("sqlite:///")).parent
    has_folder = folder is not None and (Path(folder) / "best.yaml").exists()
    place = Path(folder) if has_folder and folder else None
    is_own = "recipe" not in attrs[FINGERPRINT].get("objective", {})
    return SearchResult(study_name, storage, place, space, counts, None, verdict, is_own=is_own)
