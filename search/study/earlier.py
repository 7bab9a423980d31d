"""What earlier studies of ``lmnet-search`` teach: their nets, described without their knobs, and the scores."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

from lmnet.builder.problems import SpecError
from lmnet.search.nets.description import COLUMNS
from lmnet.search.nets.families import FamiliesPricer, make_pricer
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.propose.prior import Lesson
from lmnet.search.study.fingerprint import FINGERPRINT, SPEC, kept_space
from lmnet.search.study.owner import OWNER
from lmnet.search.study.storage import open_storage, retry, without_password

DATABASE = "study.db"


def read_lessons(given: str | Path, *, own_url: str, own_name: str) -> list[Lesson]:
    """Return a lesson of each earlier study that has trained nets; no study is changed.

    Args:
        given: folder of a search's results, or the URL of a storage, all of whose studies count.
        own_url: storage of the study that learns, which is no earlier one.
        own_name: name of that study.

    Raises:
        ValueError: there is no such folder or storage, or it has no study of ``lmnet-search`` beside the one that
            learns.
    """
    url, name = _place(str(given))
    lessons = []
    with open_storage(url) as storage:
        names = retry(lambda: optuna.get_all_study_names(storage)) if name is None else [name]
        for each in names:
            if _is_same(url, own_url) and each == own_name:
                continue
            try:
                study = retry(lambda each=each: optuna.load_study(study_name=each, storage=storage))  # type: ignore[misc]
            except KeyError:
                continue
            if retry(lambda study=study: study.user_attrs).keys() >= {FINGERPRINT, SPEC}:  # type: ignore[misc]
                lessons.append(_lesson(study))
    if not lessons:
        raise ValueError(
            f"prior: {without_password(url)} has no study of lmnet-search beside this one. Name the results folder of "
            "an earlier search, or its storage."
        )
    return lessons


def _place(given: str) -> tuple[str, str | None]:
    """Return the URL of a storage and, if a folder was given, the name of its study."""
    if "://" in given:
        file = given.removeprefix("sqlite:///")
        if given.startswith("sqlite:///") and not Path(file).is_file():
            raise ValueError(f"prior: the file must exist, got {given}. Check the path.")
        return given, None
    folder = Path(given)
    if not (folder / DATABASE).is_file():
        raise ValueError(
            f"prior: {given} must be none, the results folder of an earlier search with its {DATABASE}, or the URL of "
            "a storage (sqlite:///FILE, postgresql://...). Check the path, or leave --prior out."
        )
    try:
        name = str(json.loads((folder / OWNER).read_text(encoding="utf-8"))["study"])
    except (OSError, ValueError, KeyError):
        name = None
    return f"sqlite:///{folder / DATABASE}", name


def _is_same(url: str, other: str) -> bool:
    files = [each.removeprefix("sqlite:///") for each in (url, other) if each.startswith("sqlite:///")]
    return url == other or (len(files) == 2 and Path(files[0]).resolve() == Path(files[1]).resolve())


def _lesson(study: optuna.Study) -> Lesson:
    attrs = retry(lambda: study.user_attrs)
    found, scores, refused = [], [], []
    try:
        pricer = make_pricer(kept_space(attrs[SPEC]), Limits())
        objective = attrs[FINGERPRINT].get("objective", {})
        if objective.get("encoder") is not None:
            set_pretrained(pricer, objective.get("encoder of"))
        for trial in retry(lambda: study.get_trials(deepcopy=False)):
            if trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value):
                try:
                    found.append(pricer.describe(pricer.space.point(trial.params)))
                    scores.append(trial.value)
                except SpecError as err:  # a block refuses now what it took then
                    refused.append(err)
        if refused and not found:
            raise refused[0]
    except (SpecError, ValueError) as err:
        first = str(err).splitlines()[0]
        raise ValueError(
            f"prior: the nets of study {study.study_name} cannot be built ({first}). Give --import for blocks of your "
            "own, or leave --prior out."
        ) from None
    return Lesson(np.array(found).reshape(len(found), len(COLUMNS)), np.array(scores), study.study_name)


def set_pretrained(pricer: Pricer, families: Sequence[str] | None) -> None:
    """Tell a pricer that encoders start from weights.

    Args:
        pricer: of one family or several.
        families: names of the families whose encoders do; None for all.
    """
    for each in pricer.each if isinstance(pricer, FamiliesPricer) else [pricer]:
        each.is_pretrained = families is None or each.space.spec.name in families
