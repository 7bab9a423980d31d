"""The samplers of a search: its own model, the pool in random order, and Optuna's TPE, behind one interface."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial

from lmnet.search.nets.pricing import Candidate, Pricer
from lmnet.search.nets.space import Point
from lmnet.search.nets.survey import repair
from lmnet.search.propose.pool import ENUMERABLE, FeasiblePool, Look, Observation, Steps
from lmnet.search.propose.prior import Prior

STARTUP = 8
"""Number of nets with a score from which TPE is used; proposals before are random."""
INFEASIBLE_IN_ROW = 20
"""After this many infeasible proposals in a row, the last one is repaired instead of asking again."""
KNOWN_IN_ROW = 3
"""After this many proposals of known nets in a row, a neighbour of the last one is taken."""
NEIGHBOURS = 300
"""Upper limit on the neighbours that are tried."""


class Sampler(Protocol):
    """Chooses nets, in small steps."""

    def fill(self, look: Look) -> Iterator[None]:
        """Prepare the sampler, or go on with that."""

    def choose(self, look: Look) -> Steps:
        """Choose a net that meets every limit and is not trained yet."""


def make_sampler(
    name: str,
    pricer: Pricer,
    *,
    seed: int,
    session: int,
    pending: Callable[[], Sequence[Point]] = tuple,
    prior: Prior | None = None,
) -> Sampler:
    """Return a sampler.

    Args:
        name: model, random or tpe.
        pricer: computes the costs of points.
        seed: random seed of the study.
        session: number of trials at the start, so that a resumed study makes new proposals.
        pending: returns the points of the nets in training, on all machines.
        prior: what earlier trainings show; only the sampler model uses it.
    """
    if name == "tpe":
        tpe_seed = int.from_bytes(hashlib.sha256(f"{seed}/{session}".encode()).digest()[:4], "big")
        return Tpe(pricer, seed=tpe_seed, pending=pending)
    return FeasiblePool(pricer, seed=seed + session, is_random=name == "random", prior=prior)


class Tpe:
    """Optuna's TPE. It may propose nets over a limit; these are rejected, and after many the last one is repaired.

    Nets in training count as bad ones until they have a score (Optuna's "constant liar"), so that workers get different
    nets.

    Args:
        pricer: computes the costs of points.
        seed: random seed of the proposals.
        pending: returns the points of the nets in training, on all machines.
    """

    def __init__(self, pricer: Pricer, *, seed: int, pending: Callable[[], Sequence[Point]] = tuple) -> None:
        self._pricer, self._seed, self._rng, self._pending = pricer, seed, random.Random(seed), pending
        self._asked = 0
        self._refused: list[tuple[Point, Mapping[str, float]]] = []
        # numbers with an order as whole steps, all else as categories
        self._distributions: dict[str, BaseDistribution] = {}
        for knob in pricer.space.knobs:
            last = len(knob.values) - 1
            categories = CategoricalDistribution(list(range(last + 1)))
            self._distributions[knob.name] = IntDistribution(0, last) if knob.is_ordered else categories

    def fill(self, look: Look) -> Iterator[None]:
        """Do nothing: there is nothing to prepare."""
        yield from ()

    def choose(self, look: Look) -> Steps:
        """Ask Optuna until a proposal is feasible and new, or take a net near a proposal."""
        observed, taken = look()
        study = self._study(observed)
        known = infeasible = 0
        while True:
            trial = study.ask(self._distributions)
            point = tuple(trial.params[knob.name] for knob in self._pricer.space.knobs)
            asked = self._pricer.price(point)
            found: Candidate | None = asked
            yield
            if not asked.is_feasible:
                for name, value in asked.violations.items():
                    trial.set_constraint(name, value)
                study.tell(trial, state=TrialState.PRUNED)
                self._refused.append((point, asked.violations))
                infeasible += 1
                if infeasible >= 10 * INFEASIBLE_IN_ROW:  # no net nearby can be moved into the limits
                    return (yield from self._any(taken))
                found = None
                if infeasible >= INFEASIBLE_IN_ROW:
                    found = yield from repair(self._pricer, point, self._rng)
            else:
                study.tell(trial, state=TrialState.FAIL)
            if found is not None and found.hash not in taken:
                return found
            known += found is not None
            if known >= KNOWN_IN_ROW:
                near = yield from self._nearby(point, taken)
                return near or (yield from self._any(taken))

    def _study(self, observed: Sequence[Observation]) -> optuna.Study:
        """Return a study in memory that holds the scores, the nets in training, and the proposals that were refused."""
        self._asked += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = TPESampler(
                seed=(self._seed + self._asked) % 2**32,
                n_startup_trials=STARTUP,
                n_ei_candidates=48,
                multivariate=True,
                constant_liar=True,
            )
        # by the scored trials: TPE's own count takes in the refused ones, and would call most scored ones good
        sampler._gamma = lambda count: min(25, -(-len(observed) // 5))  # as an argument it is deprecated
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for one, score in observed:
            study.add_trial(self._trial(TrialState.COMPLETE, one.point, one.violations, score))
        for point, violations in self._refused:
            study.add_trial(self._trial(TrialState.PRUNED, point, violations))
        for point in self._pending():
            study.add_trial(self._trial(TrialState.RUNNING, point, {}))
        return study

    def _trial(
        self, state: TrialState, point: Point, violations: Mapping[str, float], score: float | None = None
    ) -> optuna.trial.FrozenTrial:
        return create_trial(
            state=state,
            value=score,
            params={knob.name: index for knob, index in zip(self._pricer.space.knobs, point, strict=True)},
            distributions=self._distributions,
            constraints=dict(violations),
        )

    def _nearby(self, point: Point, taken: Collection[str]) -> Steps:
        """Return a new net a few knobs away, the fewer the better."""
        for attempt in range(NEIGHBOURS):
            moved = self._pricer.space.mutated(point, self._rng, 1 + attempt * len(point) // NEIGHBOURS)
            found = yield from repair(self._pricer, moved, self._rng)
            if found is not None and found.hash not in taken:
                return found
        return None

    def _any(self, taken: Collection[str]) -> Steps:
        """Return any new net of a small space."""
        if self._pricer.space.size > ENUMERABLE:
            return None
        points = list(self._pricer.space.all_points())
        self._rng.shuffle(points)
        for point in points:
            found = self._pricer.price(point)
            yield
            if found.is_feasible and found.hash not in taken:
                return found
        return None
