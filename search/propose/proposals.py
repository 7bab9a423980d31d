"""The next net to train: interrupted ones first, then the starting net, then the choice of the sampler."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from optuna.trial import FrozenTrial

from lmnet.search.nets.pricing import Candidate, Pricer
from lmnet.search.nets.space import Point
from lmnet.search.nets.survey import repair
from lmnet.search.propose.pool import Observation, Steps
from lmnet.search.propose.sampler import Sampler


class Study(Protocol):
    """The facts about a study that proposals need; the ledger has them."""

    def taken(self) -> set[str]:
        """Return the hashes of nets that must not be trained again."""

    def unfinished(self) -> list[FrozenTrial]:
        """Return the trials that were cut off and must be trained again."""

    def scores(self) -> Sequence[FrozenTrial]:
        """Return the trials whose scores may be used, the oldest first."""


class Proposals:
    """Proposes feasible nets that are not trained yet.

    Args:
        pricer: computes the costs of points.
        sampler: chooses among feasible nets.
        study: the study so far.
    """

    def __init__(self, pricer: Pricer, sampler: Sampler, study: Study) -> None:
        self._pricer, self._sampler, self._study = pricer, sampler, study
        self._known: dict[int, Candidate] = {}
        self._firsts: dict[Point, Candidate | None] = {}

    def steps(self) -> Steps:
        """Look for the next net, in small steps; None if no feasible net is left."""
        for trial in self._study.unfinished():
            return self._pricer.price(self._pricer.space.point(trial.params))
        for point in self._pricer.space.firsts:
            if point not in self._firsts:
                self._firsts[point] = yield from self._first(point)
            first = self._firsts[point]
            if first is not None and first.hash not in self._study.taken():
                return first
        return (yield from self._sampler.choose(self._look))

    def _first(self, point: Point) -> Steps:
        """Return the first net of a family: its starting net, repaired if that misses a limit.

        In a search of one family, a starting net that misses a limit is left out.
        """
        start = self._pricer.price(point)
        if start.is_feasible:
            return start
        if len(self._pricer.space.families) == 1:
            return None
        return (yield from repair(self._pricer, point, random.Random(str(point))))

    def prepare(self) -> Iterator[None]:
        """Prepare the sampler in small steps, while all workers are busy."""
        return self._sampler.fill(self._look)

    def _look(self) -> tuple[list[Observation], Collection[str]]:
        observed = []
        for trial in self._study.scores():
            if trial.number not in self._known:
                self._known[trial.number] = self._pricer.plan(self._pricer.space.point(trial.params))
            assert trial.value is not None
            observed.append((self._known[trial.number], trial.value))
        return observed, self._study.taken()
