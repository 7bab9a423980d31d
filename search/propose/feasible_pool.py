"""A pool of nets that meet every limit, and the choice of the next one among them."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import numpy as np

from lmnet.search.pricing import Candidate, Pricer
from lmnet.search.propose.surrogate import Array, fit_surrogate
from lmnet.search.space import Point
from lmnet.search.space_survey import repaired

POOL, DRAWN = 512, 256
"""So many feasible nets are kept to choose from; so many of them, with the highest expected scores, have a draw."""
DRAWS = 8
"""So many points are drawn anew for each choice, and as many near the best nets."""
GROWN, GROWING = 1, 12
"""And so many are grown towards the limits, each by so many tries."""
ENUMERABLE = 20_000
"""Spaces of at most so many points are gone through where draws find nothing new."""
FIRST, FIRST_DRAWS, GROWN_FIRST, GROWING_FIRST = 256, 768, 160, 40
"""An empty pool is filled with so many nets, by at most so many draws; the first time so many are grown, by so many
tries."""

Observation = tuple[Candidate, float]


class FeasiblePool:
    """Chooses feasible nets that nobody has trained.

    Args:
        pricer: computes the costs of points.
        seed: of the draws.
    """

    def __init__(self, pricer: Pricer, *, seed: int) -> None:
        self._pricer = pricer
        self._rng = random.Random(seed)
        self._draws = np.random.default_rng(seed)
        self._nets: dict[str, Candidate] = {}
        self._is_larger_better = True
        self._was_filled = False

    def choose(self, observed: Sequence[Observation], taken: Collection[str]) -> Candidate | None:
        """Return a feasible net: the best in one draw of the likeliest nets' scores, by what costs and knobs say.

        Args:
            observed: trained nets and their scores, the oldest first.
            taken: hashes of nets that are not to be returned.

        Returns:
            None where no other net is left.
        """
        known = {one.hash for one, _ in observed} | set(taken)
        self._refresh([one for one, _ in sorted(observed, key=lambda each: -each[1])[:DRAWS]], known)
        while self._nets:
            nets = list(self._nets.values())
            costs, knobs = self._described(nets)
            seen = self._described([one for one, _ in observed])
            model = fit_surrogate(*seen, np.array([score for _, score in observed], float), reference=costs)
            self._is_larger_better = model.slope >= 0
            likely = np.argsort(-model.mean(costs, knobs))[:DRAWN]
            for place in likely[np.argsort(-model.draw(costs[likely], knobs[likely], self._draws))].tolist():
                found = self._pricer.price(self._nets.pop(nets[place].hash).point)  # measures a cost where it must
                if found.is_feasible:
                    return found
                known.add(found.hash)
            self._refresh([], known)
        return None

    def _refresh(self, best: Sequence[Candidate], known: Collection[str]) -> None:
        """Drop what is known, then draw some nets anew: evenly, near the limits, near the best ones; the oldest go."""
        self._nets = {key: one for key, one in self._nets.items() if key not in known}
        wanted, draws, grown, tries = POOL + DRAWS, DRAWS, GROWN, GROWING
        if not self._nets:
            wanted, draws = FIRST, FIRST_DRAWS
            if not self._was_filled:  # else few nets are left
                grown, tries = GROWN_FIRST, GROWING_FIRST
        self._was_filled = True
        for _ in range(draws):
            if len(self._nets) < wanted:
                self._add(self._drawn(), known)
        if not self._nets and self._pricer.space.size <= ENUMERABLE:
            points = list(self._pricer.space.all_points())
            self._rng.shuffle(points)
            for point in points:
                if len(self._nets) < POOL:
                    self._add(point, known)
        for _ in range(grown if self._nets else 0):
            self._add(self._grown(self._rng.choice(list(self._nets.values())), tries), known)
        for one in best:
            self._add(self._pricer.space.mutated(one.point, self._rng, self._rng.randint(1, 2)), known)
        for key in list(self._nets)[: max(0, len(self._nets) - POOL)]:
            del self._nets[key]

    def _drawn(self) -> Point:
        """Return a point: even, or near a net of the pool, which is feasible and often has feasible neighbours."""
        if self._nets and self._rng.random() < 0.5:
            near = self._rng.choice(list(self._nets.values()))
            return self._pricer.space.mutated(near.point, self._rng, self._rng.randint(1, 3))
        point = self._pricer.space.sample(self._rng)
        if not self._nets:
            moved = repaired(self._pricer, point, self._rng)
            return point if moved is None else moved.point
        return point

    def _grown(self, one: Candidate, tries: int = GROWING) -> Point:
        """Return a point near a net that costs more, up to the limits: many good nets are as large as they may be.

        Where larger nets turned out worse, it costs less.
        """
        for _ in range(tries):
            moved = self._pricer.plan(self._pricer.space.mutated(one.point, self._rng))
            if moved.is_feasible and moved.gmacs != one.gmacs and (moved.gmacs > one.gmacs) == self._is_larger_better:
                one = moved
        return one.point

    def _add(self, point: Point, known: Collection[str]) -> bool:
        one = self._pricer.plan(point)
        if not one.is_feasible or one.hash in self._nets or one.hash in known:
            return False
        self._nets[one.hash] = one
        return True

    def _described(self, nets: Sequence[Candidate]) -> tuple[Array, Array]:
        """Return the costs, multiply-accumulates first, and the knobs of nets, each from 0 to 1."""
        lasts = [max(1, len(knob.values) - 1) for knob in self._pricer.space.knobs]
        costs = np.array([[one.gmacs, one.params] for one in nets], float).reshape(-1, 2)
        return costs, np.array([one.point for one in nets], float).reshape(-1, len(lasts)) / lasts
