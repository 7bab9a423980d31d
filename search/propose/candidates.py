"""Where the next candidate comes from: what was cut off, the spec's own net, the sampler, and its neighbourhood."""

from __future__ import annotations

import random

from optuna.trial import Trial, TrialState

from lmnet.search.pricing import Candidate, Pricer
from lmnet.search.propose.proposer import Proposer
from lmnet.search.propose.surrogate import expected_improvements
from lmnet.search.space import Point
from lmnet.search.space_survey import repaired
from lmnet.search.study.ledger import Ledger

INFEASIBLE_IN_ROW = 20
"""So many infeasible proposals in a row, and the last is moved into the limits instead of asking again."""
KNOWN_IN_ROW = 3
"""So many proposals in a row that are known, and a neighbour of the last is taken instead."""
POOL = 8
"""So many of the sampler's proposals, fewer where most are infeasible, and as many even samples, are compared by what
cost and knobs promise."""
NEIGHBOURS = 300
ENUMERABLE = 20_000


class Candidates:
    """Gives feasible candidates that nobody has trained.

    Args:
        pricer: prices points.
        proposer: asks the sampler.
        ledger: knows what is trained, and writes infeasible proposals down.
        seed: of the draws beside the sampler's.
    """

    def __init__(self, pricer: Pricer, proposer: Proposer, ledger: Ledger, *, seed: int) -> None:
        self._pricer, self._proposer, self._ledger = pricer, proposer, ledger
        self._rng = random.Random(seed)
        self._written: set[Point] = set()
        self._seen: set[int] = set()
        self._refused = 0
        self.learn()

    def learn(self) -> None:
        """Tell the sampler of the trials that earlier sessions and other searches made."""
        for trial in self._ledger.trials:
            if trial.number in self._seen or not trial.state.is_finished():
                continue
            self._seen.add(trial.number)
            infeasible = any(value > 0 for value in trial.constraints.values())
            if trial.state == TrialState.COMPLETE or infeasible:
                self._proposer.learn(self._ledger.space.point(trial.params), trial.value, trial.constraints)

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
        return self._chosen(taken)

    def _chosen(self, taken: set[str]) -> tuple[Candidate, Trial | None] | None:
        """Return the sampler's proposal, or of several the one of which cost and knobs promise most."""
        first = self._proposed(taken)
        if first is None or not (self._proposer.is_warm and self._proposer.is_cheap):
            return first
        pool = [first]
        refused = self._refused
        while len(pool) < POOL and self._refused - refused < INFEASIBLE_IN_ROW:
            other = self._proposed(taken | {candidate.hash for candidate, _ in pool})
            if other is None:
                break
            pool.append(other)
        for _ in range(POOL):
            drawn = repaired(self._pricer, self._pricer.space.sample(self._rng), self._rng)
            if drawn is not None and self._is_new(drawn, taken):
                pool.append((drawn, None))
        seen = [self._pricer.price(point) for point, _ in self._proposer.scored]
        scores = [score for _, score in self._proposer.scored]
        new = [candidate for candidate, _ in pool]
        promise = expected_improvements(
            [self._costs(one) for one in seen],
            [self._knobs(one) for one in seen],
            scores,
            [self._costs(one) for one in new],
            [self._knobs(one) for one in new],
        )
        best = int(promise.argmax())
        for place, (_, trial) in enumerate(pool):
            if trial is not None and place != best:
                self._proposer.forget(trial)
        return pool[best]

    def _knobs(self, candidate: Candidate) -> list[float]:
        return [
            index / max(1, len(knob.values) - 1)
            for index, knob in zip(candidate.point, self._pricer.space.knobs, strict=True)
        ]

    @staticmethod
    def _costs(candidate: Candidate) -> tuple[float, float]:
        return candidate.gmacs, float(candidate.params)

    def _proposed(self, taken: set[str]) -> tuple[Candidate, Trial | None] | None:
        known = infeasible = 0
        while True:
            trial, point = self._proposer.propose()
            candidate = self._pricer.price(point)
            if not candidate.is_feasible:
                self._refuse(trial, candidate)
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
                self._proposer.forget(trial)
                known += 1
            if known >= KNOWN_IN_ROW:
                near = self._nearby(point, taken) or self._any(taken)
                return None if near is None else (near, None)

    def _refuse(self, trial: Trial, candidate: Candidate) -> None:
        self._refused += 1
        self._proposer.refuse(trial, candidate.violations)
        if candidate.point not in self._written:
            self._written.add(candidate.point)
            self._seen.add(self._ledger.record_infeasible(candidate))

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
