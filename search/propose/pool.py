"""A pool of nets that meet every limit, and the choice of the next one among them.

Filling the pool for the first time takes up to a minute on a machine that knows no node of the space. So all is done in
small steps: a generator yields after each net whose cost it has computed. And no choice waits for the whole pool: it is
filled in stages, and the first choices use the nets of the first stages. Which nets a choice sees depends on its
number, not on the speed of the machine, so the same seed gives the same proposals.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from inspect import GEN_CLOSED, getgeneratorstate

import numpy as np
from numpy.typing import NDArray

from lmnet.search.nets.description import COLUMNS
from lmnet.search.nets.pricing import Candidate, Pricer
from lmnet.search.nets.space import Point
from lmnet.search.nets.survey import repair
from lmnet.search.propose.prior import Prior
from lmnet.search.propose.surrogate import MAX_OBSERVATIONS, Array, fit_surrogate

POOL_SIZE = 512
"""Upper limit on the nets in the pool, for each family."""
MOST_FAMILIES = 3
"""With more families than this, the pool does not grow."""
SAMPLED_SCORES = 256
"""Number of nets, with the highest expected scores, for which a score is sampled."""
DRAWS = 8
"""New points for each choice, and mutations of the best nets for each choice."""
GROWN, GROWING = 1, 12
"""Number of nets that are enlarged towards the limits for each choice, and tries for each net."""
ENUMERABLE = 20_000
"""If random points bring nothing new, all points of a family are tried, up to this size of its space."""
FIRST_SIZE, FIRST_DRAWS = 256, 768
"""Number of nets that fill an empty pool, and upper limit on the points that are tried for them."""
FIRST_GROWN, FIRST_GROWING = 160, 40
"""Number of nets that are enlarged when the pool is first filled, and tries for each net."""
STAGES = (1 / 16, 3 / 16, 3 / 4)
"""The stages of the first filling, as shares of it. The n-th choice needs the first n stages."""

Observation = tuple[Candidate, float]
Look = Callable[[], tuple[Sequence[Observation], Collection[str]]]
"""Returns the trained nets with their scores, the oldest first, and the hashes of nets that must not be proposed."""
Steps = Generator[None, None, Candidate | None]
"""Small steps to a proposal; None if no net is left."""


class FeasiblePool:
    """Chooses feasible nets that are not trained yet.

    Args:
        pricer: computes the costs of points.
        seed: random seed of the choices.
        is_random: take nets of the pool in random order; without it the surrogate model chooses.
        prior: what earlier trainings show; None for nothing.
    """

    def __init__(self, pricer: Pricer, *, seed: int, is_random: bool = False, prior: Prior | None = None) -> None:
        self.nets: dict[str, Candidate] = {}
        self._pricer, self._is_random, self._prior = pricer, is_random, prior
        self._scale = min(len(pricer.space.open), MOST_FAMILIES)
        self._size = self._scale * POOL_SIZE
        self._rng = random.Random(seed)
        self._score_rng = np.random.default_rng(seed)
        self._is_larger_better = True
        self._fill_rng = random.Random(f"fill/{seed}")  # its own: filling goes on between any two choices
        self._filling: Generator[None, None, None] | None = None
        self._stages: list[list[Candidate]] = []  # new nets of each stage that is done
        self._used = 0  # stages whose nets were added to the pool

    def choose(self, look: Look) -> Steps:
        """Choose a feasible net: for each of the most promising a score is sampled, and the highest one wins."""
        observed, known = _looked(look)
        self._drop(known)
        is_renewed = self._used == len(STAGES)
        yield from self._renew(known) if is_renewed else self._use_stage(look)
        if not self._is_random:
            for one, _ in sorted(observed, key=lambda each: -each[1])[:DRAWS]:
                self._add(self._pricer.space.mutated(one.point, self._rng, self._rng.randint(1, 2)), self.nets, known)
                yield
        self._trim()
        while True:
            observed, known_now = _looked(look)
            known = known | known_now  # other nets were taken meanwhile, and some miss a measured limit
            self._drop(known)
            if not self.nets and is_renewed:
                return None
            for hash_ in self._ranked(observed):
                one = self.nets.pop(hash_)
                is_early = self._used < len(STAGES) and not self._is_random  # few nets of the pool are near the limits
                point = (
                    (yield from self._grow(one, FIRST_GROWING, self._rng, is_larger=self._is_larger_better))
                    if is_early
                    else one.point
                )
                found = self._pricer.price(point)  # measures a cost if a limit needs it
                yield
                if found.is_feasible and found.hash not in known:
                    return found
                known.add(found.hash)
            is_renewed = self._used == len(STAGES)
            yield from self._renew(known) if is_renewed else self._use_stage(look)
            self._trim()

    def fill(self, look: Look) -> Iterator[None]:
        """Fill the pool for the first time, or go on with that; once it is filled, do nothing."""
        if self._filling is None or getgeneratorstate(self._filling) == GEN_CLOSED:  # an exception may have ended it
            self._filling = self._first_fill(_looked(look)[1])
        for _ in self._filling:  # not ``yield from``, which ends the filling when its user stops
            yield

    def _use_stage(self, look: Look) -> Iterator[None]:
        """Add the nets of the next stage to the pool; if it is not done yet, do it."""
        filling = self.fill(look)
        while len(self._stages) == self._used:
            next(filling, None)
            yield
        self.nets |= {one.hash: one for one in self._stages[self._used] if one.hash not in self.nets}
        self._used += 1
        self._drop(_looked(look)[1])

    def _first_fill(self, known: set[str]) -> Generator[None, None, None]:
        """Do the stages that are not done.

        Random nets are kept apart from enlarged ones: with mutations of these, later stages would hold larger nets.
        """
        found = {one.hash: one for nets in self._stages for one in nets}
        drawn = dict(found)
        for share in STAGES[len(self._stages) :]:
            before = len(found)
            wanted, draws, grown = (
                round(share * count) for count in (self._scale * FIRST_SIZE, self._scale * FIRST_DRAWS, FIRST_GROWN)
            )
            yield from self._draw(drawn, known, len(drawn) + wanted, draws, self._fill_rng)
            if not drawn and len(self._stages) == len(STAGES) - 1:
                yield from self._list(drawn, known, self._fill_rng)
            found |= drawn
            yield from self._enlarge(found, known, grown, FIRST_GROWING, self._fill_rng, is_larger=True)
            self._stages.append(list(found.values())[before:])

    def _renew(self, known: Collection[str]) -> Iterator[None]:
        """Add nets to the pool: some at random, some near the limits. An empty pool gets many."""
        wanted, draws = self._size + DRAWS, DRAWS
        if not self.nets:
            wanted, draws = self._scale * FIRST_SIZE, self._scale * FIRST_DRAWS
        yield from self._draw(self.nets, known, wanted, draws, self._rng)
        if not self.nets:
            yield from self._list(self.nets, known, self._rng)
        yield from self._enlarge(self.nets, known, GROWN, GROWING, self._rng, is_larger=self._is_larger_better)

    def _draw(
        self, nets: dict[str, Candidate], known: Collection[str], wanted: int, draws: int, rng: random.Random
    ) -> Iterator[None]:
        """Add random nets until there is the wanted number of nets, by at most a number of draws."""
        near: dict[int, list[Candidate]] = {}
        for one in nets.values():
            near.setdefault(self._pricer.space.family_of(one.point), []).append(one)
        for _ in range(draws):
            if len(nets) < wanted:
                point = yield from self._drawn(near, rng)
                if (added := self._add(point, nets, known)) is not None:
                    near.setdefault(self._pricer.space.family_of(point), []).append(added)
                yield

    def _list(self, nets: dict[str, Candidate], known: Collection[str], rng: random.Random) -> Iterator[None]:
        """Add all nets of small spaces, in random order, up to the size of the pool."""
        points = self._pricer.space.few_points(ENUMERABLE)
        rng.shuffle(points)
        for point in points:
            if len(nets) < self._size:
                self._add(point, nets, known)
                yield

    def _enlarge(
        self,
        nets: dict[str, Candidate],
        known: Collection[str],
        count: int,
        tries: int,
        rng: random.Random,
        *,
        is_larger: bool,
    ) -> Iterator[None]:
        """Add nets near the limits, each grown from one of the nets; cheaper ones unless larger nets are better."""
        for _ in range(count if nets and not self._is_random else 0):
            point = yield from self._grow(rng.choice(list(nets.values())), tries, rng, is_larger=is_larger)
            self._add(point, nets, known)

    def _ranked(self, observed: Sequence[Observation]) -> list[str]:
        """Return the hashes of the nets in the pool, most promising first."""
        nets = list(self.nets.values())
        if self._is_random or not nets:
            return [one.hash for one in self._rng.sample(nets, len(nets))]
        costs, knobs, families = self._described(nets)
        newest = observed[-MAX_OBSERVATIONS:]
        seen = [one for one, _ in newest]
        seen_costs, seen_knobs, seen_families = self._described(seen)
        hints = self._hints(nets)
        model = fit_surrogate(
            seen_costs,
            seen_knobs,
            np.array([score for _, score in newest], float),
            reference=costs,
            families=seen_families,
            reference_families=families,
            hints=self._hints(seen),
            reference_hints=hints,
        )
        self._is_larger_better = model.slope >= 0
        likely = _promising(model.mean(costs, knobs, families, hints), families)
        own, own_hints = (None if each is None else each[likely] for each in (families, hints))
        order = likely[np.argsort(-model.sample(costs[likely], knobs[likely], self._score_rng, own, own_hints))]
        return [nets[place].hash for place in order.tolist()]

    def _drop(self, known: Collection[str]) -> None:
        self.nets = {hash_: one for hash_, one in self.nets.items() if hash_ not in known}

    def _trim(self) -> None:
        """Drop the oldest nets above the pool's size."""
        for hash_ in list(self.nets)[: max(0, len(self.nets) - self._size)]:
            del self.nets[hash_]

    def _drawn(self, near: Mapping[int, Sequence[Candidate]], rng: random.Random) -> Generator[None, None, Point]:
        """Return a random point, or one near a net of the pool, as a feasible net often has feasible neighbours.

        Each of several families gets the same number of points.

        Args:
            near: the nets of the pool by family.
            rng: source of random numbers.
        """
        space = self._pricer.space
        family = rng.choice(space.open) if len(space.families) > 1 else 0
        nets = near.get(family, [])
        if nets and rng.random() < 0.5:
            return space.mutated(rng.choice(nets).point, rng, rng.randint(1, 3))
        point = space.sample(rng, family)
        if not nets:
            moved = yield from repair(self._pricer, point, rng)
            return point if moved is None else moved.point
        return point

    def _grow(self, one: Candidate, tries: int, rng: random.Random, *, is_larger: bool) -> Generator[None, None, Point]:
        """Return a point near a net that costs more, up to the limits; or less.

        Many good nets are as large as the limits allow.
        """
        for _ in range(tries):
            moved = self._pricer.plan(self._pricer.space.mutated(one.point, rng))
            yield
            if moved.is_feasible and moved.gmacs != one.gmacs and (moved.gmacs > one.gmacs) == is_larger:
                one = moved
        return one.point

    def _add(self, point: Point, nets: dict[str, Candidate], known: Collection[str]) -> Candidate | None:
        """Add the net at a point to nets and return it; None if it misses a limit, is known or is there already."""
        one = self._pricer.plan(point)
        if not one.is_feasible or one.hash in nets or one.hash in known:
            return None
        nets[one.hash] = one
        if self._prior is not None:
            self._pricer.describe(point)  # here, as this is a small step; it is remembered
        return one

    def _described(self, nets: Sequence[Candidate]) -> tuple[Array, Array, Array | None]:
        """Return the costs (GMACs, parameters), the knobs (each from 0 to 1) and the families of nets."""
        space = self._pricer.space
        costs = np.array([[one.gmacs, one.params] for one in nets], float).reshape(-1, 2)
        knobs, families = space.coordinates([one.point for one in nets])
        return costs, knobs, families if len(space.families) > 1 else None

    def _hints(self, nets: Sequence[Candidate]) -> Array | None:
        """Return what earlier trainings show of nets; None for nothing."""
        if self._prior is None:
            return None
        descriptions = np.array([self._pricer.describe(one.point) for one in nets])
        return self._prior.expected(descriptions.reshape(len(nets), len(COLUMNS)))


def _promising(means: Array, families: Array | None) -> NDArray[np.intp]:
    """Return the indices of the nets with the highest means, the same number from each family."""
    if families is None:
        return np.argsort(-means)[:SAMPLED_SCORES]
    groups = [np.flatnonzero(families == family) for family in np.unique(families)]
    share = max(1, SAMPLED_SCORES // len(groups))
    return np.concatenate([rows[np.argsort(-means[rows])[:share]] for rows in groups])


def _looked(look: Look) -> tuple[Sequence[Observation], set[str]]:
    observed, taken = look()
    return observed, {one.hash for one, _ in observed} | set(taken)
