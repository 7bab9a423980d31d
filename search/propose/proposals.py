"""Where the next candidate comes from: what was cut off, the spec's own net, the sampler, and its neighbourhood."""

from __future__ import annotations

import random

from optuna.trial import Trial, TrialState

from lmnet.search.pricing import Candidate, Pricer
from lmnet.search.propose.feasible_pool import ENUMERABLE, FeasiblePool
from lmnet.search.propose.mirror import MirrorStudy
from lmnet.search.space import Point
from lmnet.search.space_survey import repaired
from lmnet.search.study.ledger import Ledger

INFEASIBLE_IN_ROW = 20
"""So many infeasible proposals in a row, and the last is moved into the limits instead of asking again."""
KNOWN_IN_ROW = 3
"""So many proposals in a row that are known, and a neighbour of the last is taken instead."""
NEIGHBOURS = 300


class Proposals:
    """Gives feasible candidates that nobody has trained.

    Args:
        pricer: computes the costs of points.
        mirror: what the sampler looks at.
        ledger: knows what is trained.
        seed: of the draws beside the sampler's.
    """

    def __init__(self, pricer: Pricer, mirror: MirrorStudy, ledger: Ledger, *, seed: int) -> None:
        self._pricer, self._mirror, self._ledger = pricer, mirror, ledger
        self._rng = random.Random(seed)
        self._pool = FeasiblePool(pricer, seed=seed) if mirror.is_model else None
        self._seen: set[int] = set()
        self.learn()

    def learn(self) -> None:
        """Tell the sampler of the trials that earlier sessions and other searches made."""
        for trial in self._ledger.trials:
            if trial.number in self._seen or not trial.state.is_finished():
                continue
            self._seen.add(trial.number)
            infeasible = any(value > 0 for value in trial.constraints.values())
            if trial.state == TrialState.COMPLETE or infeasible:
                self._mirror.learn(self._ledger.space.point(trial.params), trial.value, trial.constraints)

    def note_own(self, number: int) -> None:
        """Leave a trial out of ``learn``: the sampler knows it already."""
        self._seen.add(number)

    def next(self) -> tuple[Candidate, Trial | None] | None:
        """Return a candidate, and the sampler's trial where it is the sampler's; None where the space is used up."""
        taken = self._ledger.taken()
        for trial in self._ledger.unfinished():
            return self._pricer.price(self._ledger.space.point(trial.params)), None
        start = self._ledger.space.start
        if start is not None and self._is_new(self._pricer.price(start), taken):
            return self._pricer.price(start), None
        if self._pool is None:
            return self._proposed(taken)
        observed = [(self._pricer.plan(point), score) for point, score in self._mirror.scored]
        while True:
            found = self._pool.choose(observed, taken)
            if found is None or self._is_new(found, taken):
                return None if found is None else (found, None)
            taken = taken | {found.hash}

    def _proposed(self, taken: set[str]) -> tuple[Candidate, Trial | None] | None:
        known = infeasible = 0
        while True:
            trial, point = self._mirror.ask()
            candidate = self._pricer.price(point)
            if not candidate.is_feasible:
                self._mirror.refuse(trial, candidate.violations)
                infeasible += 1
                if infeasible >= 10 * INFEASIBLE_IN_ROW:  # nothing near can be repaired
                    far = self._any(taken)
                    return None if far is None else (far, None)
                moved = repaired(self._pricer, point, self._rng) if infeasible >= INFEASIBLE_IN_ROW else None
                if moved is not None and self._is_new(moved, taken):
                    return moved, None
                known += moved is not None
            elif self._is_new(candidate, taken):
                return candidate, trial
            else:
                self._mirror.forget(trial)
                known += 1
            if known >= KNOWN_IN_ROW:
                near = self._nearby(point, taken) or self._any(taken)
                return None if near is None else (near, None)

    def _is_new(self, candidate: Candidate, taken: set[str]) -> bool:
        if not candidate.is_feasible or candidate.hash in taken:
            return False
        return not self._ledger.is_busy_elsewhere(candidate)

    def _nearby(self, point: Point, taken: set[str]) -> Candidate | None:
        """Return a new candidate a few knobs away, the fewer the better."""
        for attempt in range(NEIGHBOURS):
            moved = self._pricer.space.mutated(point, self._rng, 1 + attempt * len(point) // NEIGHBOURS)
            candidate = repaired(self._pricer, moved, self._rng)
            if candidate is not None and self._is_new(candidate, taken):
                return candidate
        return None

    def _any(self, taken: set[str]) -> Candidate | None:
        """Return any new candidate of a small space."""
        if self._pricer.space.size > ENUMERABLE:
            return None
        points = list(self._pricer.space.all_points())
        self._rng.shuffle(points)
        return next((one for one in map(self._pricer.price, points) if self._is_new(one, taken)), None)
