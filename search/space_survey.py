"""The survey before trial 0: how large a space is, what its nets cost, how much of it is feasible."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from lmnet.search.pricing import Candidate, Pricer
from lmnet.search.space import Point

SAMPLES = 32


@dataclass(frozen=True)
class Survey:
    """What is known about a space before anything is trained.

    Args:
        size: number of points.
        cheapest: the buildable net of fewest MACs that was found.
        dearest: the one of most.
        feasible_share: share of evenly drawn points that meet every limit.
        start: the spec's own net; None where it is outside the ranges.
    """

    size: int
    cheapest: Candidate
    dearest: Candidate
    feasible_share: float
    start: Candidate | None


def survey(pricer: Pricer, *, seed: int = 0, samples: int = SAMPLES) -> Survey:
    """Look over a space.

    Raises:
        ValueError: no net can be built, or none meets the limits; the message names the knob to widen.
    """
    space, rng = pricer.space, random.Random(seed)
    free = Pricer(space, type(pricer.limits)())  # prices without limits, so nothing is measured
    priced = [free.price(space.sample(rng)) for _ in range(samples)]
    start = space.start
    if start is not None:
        priced.append(free.price(start))
    buildable = [candidate for candidate in priced if not candidate.problem]
    if not buildable:
        raise ValueError(
            f"search: a space must hold nets that can be built, got none of {len(priced)}: {priced[0].problem} "
            "Change the ranges in search."
        )
    ends = []
    for sign in (1, -1):
        best = min(buildable, key=_by_gmacs(sign))
        ends.append(_descend(free, best, _by_gmacs(sign)))
    cheapest, dearest = ends
    smallest = cheapest if pricer.limits.max_params is None else _descend(free, cheapest, _params)
    _check_reach(pricer, free, cheapest, dearest, smallest)
    limits = pricer.limits
    met = sum(
        all(value <= 0 for value in limits.violations(gmacs=one.gmacs, params=one.params).values())
        for one in buildable[:samples]
    )
    _check_any(pricer, buildable, cheapest, rng)
    return Survey(space.size, cheapest, dearest, met / samples, None if start is None else pricer.price(start))


def repaired(pricer: Pricer, point: Point, rng: random.Random, *, steps: int = 200) -> Candidate | None:
    """Return a feasible net near a point: knobs are moved, one at a time, as long as that lowers the excess.

    Returns:
        None where this ends at a net that misses a limit still.
    """
    here = pricer.price(point)
    for _ in range(steps):
        if here.is_feasible:
            return here
        nearby = [
            pricer.price(pricer.space.moved(here.point, position, index))
            for position, knob in enumerate(pricer.space.knobs)
            for index in (here.point[position] - 1, here.point[position] + 1)
            if 0 <= index < len(knob.values)
        ]
        better = [one for one in nearby if _badness(one) < _badness(here)]
        if not better:
            return None
        here = rng.choice(better)
    return here if here.is_feasible else None


def _badness(candidate: Candidate) -> tuple[bool, float]:
    return candidate.problem is not None, candidate.excess


def _by_gmacs(sign: int) -> Callable[[Candidate], tuple[bool, float]]:
    return lambda candidate: (candidate.problem is not None, sign * candidate.gmacs)


def _params(candidate: Candidate) -> tuple[bool, float]:
    return candidate.problem is not None, candidate.params


def _descend(pricer: Pricer, here: Candidate, key: Callable[[Candidate], tuple[bool, float]]) -> Candidate:
    """Return where moving one knob at a time, to its best value, ends."""
    while True:
        before = here
        for position, knob in enumerate(pricer.space.knobs):
            last = len(knob.values) - 1
            indices = (0, last) if knob.is_ordered else range(last + 1)  # costs rise or fall along an ordered knob
            every = [pricer.price(pricer.space.moved(here.point, position, index)) for index in indices]
            here = min([here, *every], key=key)
        if key(here) >= key(before):
            return before


def _check_reach(pricer: Pricer, free: Pricer, cheapest: Candidate, dearest: Candidate, smallest: Candidate) -> None:
    limits = pricer.limits
    if limits.max_gflops is not None and cheapest.gmacs > limits.max_gflops:
        knob = _strongest(free, cheapest, lambda one: one.gmacs)
        got = f"max_gflops={limits.max_gflops:g} and {cheapest.gmacs:.4g} for the cheapest net"
        raise ValueError(
            f"search: a limit must be within the space's reach, got {got}. {_widen(pricer, knob, 'below')}"
        )
    if limits.min_gflops is not None and dearest.gmacs < limits.min_gflops:
        knob = _strongest(free, dearest, lambda one: one.gmacs)
        got = f"min_gflops={limits.min_gflops:g} and {dearest.gmacs:.4g} for the dearest net"
        raise ValueError(
            f"search: a limit must be within the space's reach, got {got}. {_widen(pricer, knob, 'above')}"
        )
    if limits.max_params is not None and smallest.params > limits.max_params:
        knob = _strongest(free, smallest, lambda one: one.params)
        got = f"max_params={limits.max_params:g} and {smallest.params} for the smallest net"
        raise ValueError(
            f"search: a limit must be within the space's reach, got {got}. {_widen(pricer, knob, 'below')}"
        )


def _check_any(pricer: Pricer, buildable: list[Candidate], cheapest: Candidate, rng: random.Random) -> None:
    """Refuse limits that no net meets together, the measured latency included."""
    for one in [cheapest, *sorted(buildable, key=lambda one: one.gmacs)[:: max(1, len(buildable) // 8)]]:
        if repaired(pricer, one.point, rng) is not None:
            return
    misses = pricer.price(cheapest.point).violations
    worst = max(misses, key=lambda name: misses[name])
    limits = ", ".join(f"{name}={value:g}" for name, value in pricer.limits.describe().items())
    knob = _strongest(Pricer(pricer.space, type(pricer.limits)()), cheapest, lambda one: one.gmacs)
    raise ValueError(
        f"search: the limits must be within the space's reach together, got {limits}; the cheapest net "
        f"({cheapest.gmacs:.4g} GMACs, {cheapest.params} parameters) misses {worst}. {_widen(pricer, knob, 'below')}"
    )


def _strongest(free: Pricer, at: Candidate, figure: Callable[[Candidate], float]) -> int:
    """Return the knob whose values change a figure most."""

    def span(position: int) -> float:
        last = len(free.space.knobs[position].values) - 1
        found = [free.price(free.space.moved(at.point, position, index)) for index in (0, last)]
        figures = [figure(one) for one in found if not one.problem]
        return max(figures) - min(figures) if figures else 0.0

    return max(range(len(free.space.knobs)), key=span)


def _widen(pricer: Pricer, position: int, side: str) -> str:
    knob = pricer.space.knobs[position]
    end = (min if side == "below" else max)(knob.values) if knob.is_ordered else list(knob.values)
    return f"Widen search.{knob.variable} {side} {end}, or change the limit."
