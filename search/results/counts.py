"""The state of a study: its best net, its front, its counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lmnet.search.nets.limits import COSTS
from lmnet.search.nets.space import Point, Space
from lmnet.search.study.trials import is_cut_off, is_infeasible
from lmnet.search.train.under_way import UnderWay

ROLES = {
    "best": "the best net",
    "start": "the starting net",
    "largest": "the largest net within the limits",
    "family": "the best net of its family",
    "finalist": "another of the best nets",
}
"""Names of the nets that a verdict compares."""


def role_name(role: str, family: str = "") -> str:
    """Return the name of a net that a verdict compares; with its family if the search has several."""
    if not family:
        return ROLES.get(role, role)
    if role == "family":
        return f"the best net of {family}"
    name = {"start": "the best starting net", "largest": "the largest net of its family"}.get(role, ROLES[role])
    return f"{name} ({family})"


@dataclass(frozen=True)
class Scored:
    """A trained net.

    Args:
        number: number of its trial.
        point: its point in the space.
        hash: hash of its architecture.
        score: its score, from the objective.
        costs: costs by the names of ``COSTS``, re-parameterised, at the spec's input size; measured ones only
            if a limit needed them.
        epochs: number of epochs of its training run.
        seconds: duration of its training run.
    """

    number: int
    point: Point
    hash: str
    score: float
    costs: Mapping[str, float]
    epochs: int = 0
    seconds: float = 0.0

    @property
    def gmacs(self) -> float:
        """10⁹ multiply-accumulates."""
        return self.costs["gmacs"]

    @property
    def params(self) -> int:
        """Parameters."""
        return int(self.costs["params"])

    @property
    def latency_ms(self) -> float | None:
        """Measured time of one image; None if it was not measured."""
        return self.costs.get("latency_ms")


@dataclass(frozen=True)
class Tally:
    """A study's counts and nets.

    Args:
        trials: number of trials with a score.
        failed: number of training runs that gave no score, by reason.
        cut_off: number of training runs that were interrupted or whose process died; they are repeated.
        running: number of training runs under way.
        infeasible: number of proposals that missed a limit and were not trained.
        scored: the nets with a score, in the order of their trials.
        last_error: message of the last failed training run.
        under_way: the training runs of this process, while it searches.
        confirming: during the confirmation, its finished training runs and their total; else None.
        chosen: hash of the best finalist by the confirmation; None without a confirmation.
    """

    trials: int
    failed: dict[str, int]
    cut_off: int
    running: int
    infeasible: int
    scored: tuple[Scored, ...]
    last_error: str = ""
    under_way: tuple[UnderWay, ...] = ()
    confirming: tuple[int, int] | None = None
    chosen: str | None = None

    @property
    def best(self) -> Scored | None:
        """The net chosen by the verdict, else the one with the highest score; of equals, the cheaper one."""
        chosen = [one for one in self.scored if one.hash == self.chosen]
        return next(iter([*chosen, *self.ranked]), None)

    @property
    def ranked(self) -> list[Scored]:
        """All nets, the highest score first, of equals the cheaper one."""
        return sorted(self.scored, key=lambda one: (-one.score, one.gmacs))

    @property
    def front(self) -> tuple[Scored, ...]:
        """The Pareto front of score and MACs, the cheapest net first."""
        front: list[Scored] = []
        for one in sorted(self.scored, key=lambda one: (one.gmacs, -one.score)):
            if not front or one.score > front[-1].score:
                front.append(one)
        return tuple(front)

    def at(self, point: Point | None) -> Scored | None:
        """Return the net at a point, if it has a score."""
        return next((one for one in self.scored if one.point == point), None)

    def start(self, space: Space) -> Scored | None:
        """Return the starting net, if it has a score; of several families, that with the highest score."""
        starts = space.starts
        return next((one for one in self.ranked if one.point in starts), None)

    def best_of_families(self, space: Space) -> list[Scored]:
        """Return the net of each family with the highest score, the highest first."""
        best: dict[int, Scored] = {}
        for one in self.ranked:
            best.setdefault(space.family_of(one.point), one)
        return list(best.values())


def tally(trials: Iterable[FrozenTrial], space: Space) -> Tally:
    """Count a study's trials."""
    failed: dict[str, int] = {}
    last_error = ""
    scored, cut_off, running, infeasible = [], 0, 0, 0
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            scored.append(_scored(trial, space))
        elif trial.state == TrialState.RUNNING:
            running += 1
        elif is_cut_off(trial):
            cut_off += 1
        elif trial.state == TrialState.FAIL:
            reason = trial.user_attrs["result"]["reason"]
            failed[reason] = failed.get(reason, 0) + 1
            last_error = trial.user_attrs["result"].get("error") or reason
        elif is_infeasible(trial):
            infeasible += 1
    return Tally(len(scored), failed, cut_off, running, infeasible, tuple(scored), last_error)


def with_verdict(verdict: dict[str, Any] | None, counts: Tally) -> tuple[Tally, dict[str, Any] | None]:
    """Return the counts with the chosen net, and the verdict; neither if the finalists are other nets now."""
    if verdict is None:
        return counts, None
    finalists = verdict.get("finalists", [verdict.get("best")])
    if [one.hash for one in counts.ranked[: len(finalists)]] != finalists:
        return counts, None
    return replace(counts, chosen=verdict["best"]), verdict


def used_up_text(counts: Tally) -> str:
    """Return the line for a space without a further feasible net, with the number of failures."""
    failures = sum(counts.failed.values())
    why = f" or has failed ({failures} failed; the last: {counts.last_error})" if failures else ""
    return f"Stopped: every feasible net is trained{why}."


def _scored(trial: FrozenTrial, space: Space) -> Scored:
    facts: dict[str, Any] = trial.user_attrs
    result = facts.get("result", {})
    assert trial.value is not None
    return Scored(
        trial.number,
        space.point(trial.params),
        facts["hash"],
        trial.value,
        {cost.name: facts[cost.name] for cost in COSTS if facts.get(cost.name) is not None},
        result.get("epochs", 0),
        result.get("seconds", 0.0),
    )
