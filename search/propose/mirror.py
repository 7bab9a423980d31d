"""An in-memory mirror of the study, which Optuna's sampler looks at.

It makes a proposal cost a millisecond whatever database holds the study, and lets the sampler see knobs as it
can use them best: numbers with an order as whole steps, everything else as categories.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import Trial, TrialState, create_trial

from lmnet.search.propose.samplers import make_sampler
from lmnet.search.space import Point, Space
from lmnet.search.study.storage import quiet_optuna

MODELLED = 200
"""So many infeasible proposals are scored for a sampler that models scored trials only; its time grows with them."""


class MirrorStudy:
    """Asks a sampler for points, and tells it what became of them.

    Args:
        space: the space.
        sampler: model, tpe, gp, nsga2 or random.
        seed: of the study.
        session: what else the draws depend on: the number of trials at the start, so that a resumed study continues
            with new draws instead of repeating its first ones.

    Attributes:
        scored: every point with a score, and the score.
        is_model: whether candidates are chosen from the feasible pool, and the sampler is not asked.
    """

    def __init__(self, space: Space, *, sampler: str, seed: int, session: int) -> None:
        self.space = space
        mixed = int.from_bytes(hashlib.sha256(f"{seed}/{session}".encode()).digest()[:4], "big")
        with quiet_optuna(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                direction="maximize",
                sampler=make_sampler(sampler, seed=mixed, finished=lambda: len(self.scored)),
                storage=optuna.storages.InMemoryStorage(),
            )
        self.is_model = sampler == "model"
        # Optuna's GPSampler looks at complete trials only, and would propose a pruned one again and again
        self._models_complete_only = sampler == "gp"
        self._modelled = 0
        self.scored: list[tuple[Point, float]] = []
        self._points: dict[str, Point] = {}
        self._distributions: dict[str, BaseDistribution] = {}
        for knob in space.knobs:
            count = len(knob.values)
            self._distributions[knob.name] = (
                IntDistribution(0, count - 1) if knob.is_ordered else CategoricalDistribution(list(range(count)))
            )
        self._open: dict[str, Trial] = {}

    def ask(self) -> tuple[Trial, Point]:
        """Return a point, and the mirror's trial for ``refuse``, ``forget`` or ``start``."""
        trial = self._study.ask(self._distributions)
        return trial, tuple(trial.params[knob.name] for knob in self.space.knobs)

    def refuse(self, trial: Trial, violations: Mapping[str, float]) -> None:
        """Teach the sampler that a proposal is infeasible."""
        for name, value in violations.items():
            trial.set_constraint(name, value)
        worst = self._infeasible_value()
        self._study.tell(trial, worst, state=TrialState.PRUNED if worst is None else TrialState.COMPLETE)

    def forget(self, trial: Trial) -> None:
        """Take a proposal back: it is known already, or not used."""
        self._study.tell(trial, state=TrialState.FAIL)

    def begin(self, key: str, point: Point, violations: Mapping[str, float], trial: Trial | None = None) -> None:
        """Note that a feasible candidate is in training.

        Args:
            key: a name for ``finish``.
            point: the candidate's.
            violations: those of its costs.
            trial: the proposal; None where the candidate came from elsewhere.
        """
        if trial is None:
            self._study.enqueue_trial({knob.name: index for knob, index in zip(self.space.knobs, point, strict=True)})
            trial = self._study.ask(self._distributions)
        for name, value in violations.items():
            trial.set_constraint(name, value)
        self._open[key] = trial
        self._points[key] = point

    def finish(self, key: str, score: float | None) -> None:
        """Tell the sampler a candidate's score, or None where its training run failed."""
        trial, point = self._open.pop(key), self._points.pop(key)
        if score is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, score)
            self.scored.append((point, score))

    def learn(self, point: Point, score: float | None, violations: Mapping[str, float]) -> None:
        """Tell the sampler of a trial of an earlier session or another machine; no score where it is infeasible."""
        value = score if score is not None else self._infeasible_value()
        self._study.add_trial(
            create_trial(
                state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
                value=value,
                params={knob.name: index for knob, index in zip(self.space.knobs, point, strict=True)},
                distributions=self._distributions,
                constraints=dict(violations),
            )
        )
        if score is not None:
            self.scored.append((point, score))

    def _infeasible_value(self) -> float | None:
        """Return the score that the mirror gives an infeasible point: the worst known, or None for none."""
        if not self._models_complete_only or not self.scored or self._modelled >= MODELLED:
            return None
        self._modelled += 1
        return min(score for _, score in self.scored)
