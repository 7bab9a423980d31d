"""Other studies of the same storage with the same objective: what they have trained need not be trained again."""

from __future__ import annotations

import time
from dataclasses import replace

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from lmnet.search.study.storage import retry
from lmnet.search.study.trials import outcome_of
from lmnet.search.train.outcome import Outcome

LOOK_EVERY_S = 15.0


class OtherStudies:
    """Looks up architectures in the other studies.

    Args:
        storage: that all are in.
        study: the one to leave out.
        key: the attribute's value that the studies must share.
    """

    ATTRIBUTE = "lmnet:objective"

    def __init__(self, storage: RDBStorage, study: optuna.Study, key: str) -> None:
        self._storage, self._own, self._key = storage, study.study_name, key
        self._studies: list[optuna.Study] = []
        self._looked = float("-inf")

    def outcome(self, hash_: str) -> Outcome | None:
        """Return what another study found for an architecture, or None."""
        for name, trial in self._find(hash_):
            if trial.state == TrialState.COMPLETE:
                return replace(outcome_of(trial), reused_from=name, seconds=0.0)
        return None

    def is_training(self, hash_: str, before: int | None = None) -> bool:
        """Return whether another study trains an architecture now, in a trial older than ``before``."""
        return any(
            trial.state == TrialState.RUNNING and (before is None or trial._trial_id < before)
            for _, trial in self._find(hash_)
        )

    def _find(self, hash_: str) -> list[tuple[str, FrozenTrial]]:
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looked = time.monotonic()
            self._studies = retry(self._look)
        return [
            (study.study_name, trial)
            for study in self._studies
            for trial in retry(lambda study=study: study.get_trials(deepcopy=False))  # type: ignore[misc]
            if trial.user_attrs.get("hash") == hash_
        ]

    def _look(self) -> list[optuna.Study]:
        names = [
            summary.study_name
            for summary in optuna.get_all_study_summaries(self._storage, include_best_trial=False)
            if summary.user_attrs.get(self.ATTRIBUTE) == self._key and summary.study_name != self._own
        ]
        return [optuna.load_study(study_name=name, storage=self._storage) for name in names]
