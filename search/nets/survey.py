"""The survey before trial 0: the size of a space, the costs of its nets, and the share that is feasible."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace

from lmnet.search.nets.families import FamiliesPricer
from lmnet.search.nets.limits import COSTS, Limit
from lmnet.search.nets.pricing import Candidate, Pricer, finish
from lmnet.search.nets.space import Point

SAMPLES = 32
SHOWN = 4
"""Most families for which a message gives the reason."""


@dataclass(frozen=True)
class Survey:
    """Facts about a space before anything is trained.

    Args:
        size: number of points.
        cheapest: the buildable net with the fewest MACs that was found.
        dearest: the buildable net with the most MACs that was found.
        feasible_share: share of evenly sampled points that meet every limit.
        start: the starting net; None if its values are outside the ranges, or if there are several families.
        families: the survey of each family that is searched, by name; empty if there is only one.
        left_out: why other families are not searched, by name.
    """

    size: int
    cheapest: Candidate
    dearest: Candidate
    feasible_share: float
    start: Candidate | None
    families: Mapping[str, Survey] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def survey(pricer: Pricer, *, seed: int = 0, samples: int = SAMPLES) -> Survey:
    """Survey a space. Families without a net within the limits are left out.

    Raises:
        ValueError: no net can be built, or none meets the limits; the message names the knob to widen.
    """
    if isinstance(pricer, FamiliesPricer):
        return _survey_families(pricer, seed=seed, samples=samples)
    space, rng = pricer.space, random.Random(seed)
    priced = [pricer.plan(space.sample(rng)) for _ in range(samples)]
    start = None if space.start is None else pricer.price(space.start)  # measured first, never estimated
    if start is not None:
        priced.append(pricer.plan(start.point))
    buildable = [candidate for candidate in priced if not candidate.problem]
    if not buildable:
        raise ValueError(
            f"search: none of {len(priced)} sampled nets of the space can be built: {priced[0].problem} "
            "Change the ranges in search."
        )
    ends = [_end(pricer, buildable, "gmacs", sign) for sign in (1, -1)]
    for limit in pricer.limits.rows:
        _check_reach(pricer, limit, buildable)
    cheapest, dearest = ends
    met = sum(one.is_feasible for one in buildable[:samples])
    _check_any(pricer, buildable, cheapest, rng)
    return Survey(space.size, cheapest, dearest, met / samples, start)


def _survey_families(pricer: FamiliesPricer, *, seed: int, samples: int) -> Survey:
    found: dict[str, Survey] = {}
    left_out: dict[str, str] = {}
    for name, each in zip(pricer.space.names, pricer.each, strict=True):
        try:
            found[name] = survey(each, seed=seed, samples=samples)
        except ValueError as err:
            left_out[name] = str(err).removeprefix("search: ")
    if not found:
        limits = ", ".join(f"{name}={value:g}" for name, value in pricer.limits.describe().items())
        reasons = [f"{name}: {reason}" for name, reason in left_out.items()][:SHOWN]
        more = f" And {len(left_out) - SHOWN} more." if len(left_out) > SHOWN else ""
        raise ValueError(f"search: no family has a net within the limits, {limits}. {' '.join(reasons)}{more}")
    pricer.space.left_out = left_out
    surveys, places = list(found.values()), pricer.space.open
    ends = [
        [replace(one, point=(place, *one.point)) for place, one in zip(places, each, strict=True)]
        for each in ([one.cheapest for one in surveys], [one.dearest for one in surveys])
    ]
    return Survey(
        sum(one.size for one in surveys),
        min(ends[0], key=lambda one: one.gmacs),
        max(ends[1], key=lambda one: one.gmacs),
        sum(one.feasible_share for one in surveys) / len(surveys),
        None,
        found,
        left_out,
    )


def repair(
    pricer: Pricer, point: Point, rng: random.Random, *, steps: int = 200
) -> Generator[None, None, Candidate | None]:
    """Find a feasible net near a point: change one knob at a time, as long as that lowers the excess.

    A generator that yields after each net that it has priced.

    Returns:
        The net; None if no change lowers the excess any more.
    """
    here = pricer.price(point)
    for _ in range(steps):
        if here.is_feasible:
            return here
        nearby = []
        for position, knob in pricer.space.turns(here.point):
            for index in (here.point[position] - 1, here.point[position] + 1):
                if 0 <= index < len(knob.values):
                    nearby.append(pricer.price(pricer.space.moved(here.point, position, index)))
                    yield
        better = [one for one in nearby if _badness(one) < _badness(here)]
        if not better:
            return None
        here = rng.choice(better)
    return here if here.is_feasible else None


def repaired(pricer: Pricer, point: Point, rng: random.Random) -> Candidate | None:
    """Return the result of ``repair``, without steps."""
    return finish(repair(pricer, point, rng))


def largest_within(pricer: Pricer, point: Point) -> Candidate:
    """Return the feasible net with the most MACs that is found from a feasible point, one knob at a time."""
    here = pricer.price(point)
    while True:
        nearby = [
            pricer.price(pricer.space.moved(here.point, position, index))
            for position, knob in pricer.space.turns(here.point)
            for index in range(len(knob.values))
        ]
        best = max((one for one in nearby if one.is_feasible), key=lambda one: one.gmacs, default=here)
        if best.gmacs <= here.gmacs:
            return here
        here = best


def _badness(candidate: Candidate) -> tuple[bool, float]:
    return candidate.problem is not None, candidate.excess


def _end(pricer: Pricer, buildable: list[Candidate], cost: str, sign: int) -> Candidate:
    """Return the net with the lowest cost that is found, or with the highest if the sign is -1.

    Each knob in turn is set to its best value, until no change helps.
    """

    def key(candidate: Candidate) -> tuple[bool, float]:
        return candidate.problem is not None, sign * candidate.costs.get(cost, 0.0)

    here = min(buildable, key=key)
    while True:
        before = here
        for position, knob in enumerate(pricer.space.knobs):
            last = len(knob.values) - 1
            indices = (0, last) if knob.is_ordered else range(last + 1)  # costs rise or fall along an ordered knob
            every = [pricer.plan(pricer.space.moved(here.point, position, index)) for index in indices]
            here = min([here, *every], key=key)
        if key(here) >= key(before):
            return before


def _check_reach(pricer: Pricer, limit: Limit, buildable: list[Candidate]) -> None:
    """Raise if no net meets a limit; limits on measured costs are not checked."""
    cost = next(cost for cost in COSTS if cost.name == limit.cost)
    if cost.of is None:
        return
    best = _end(pricer, buildable, cost.name, limit.sign)
    if best.violations[limit.name] <= 0:
        return
    end = "lowest" if limit.sign > 0 else "highest"
    raise ValueError(
        f"search: no net meets {limit.name}={pricer.limits.bound(limit):g}; the {end} that was found in this space is "
        f"{cost.text(best.costs[cost.name])} {cost.label}. {_widen(pricer, best, cost.name, limit.sign)}"
    )


def _check_any(pricer: Pricer, buildable: list[Candidate], cheapest: Candidate, rng: random.Random) -> None:
    """Raise if no net meets all limits together, the measured latency included."""
    for one in [cheapest, *sorted(buildable, key=lambda one: one.gmacs)[:: max(1, len(buildable) // 8)]]:
        if repaired(pricer, one.point, rng) is not None:
            return
    misses = pricer.price(cheapest.point).violations
    worst = max(misses, key=lambda name: misses[name])
    limits = ", ".join(f"{name}={value:g}" for name, value in pricer.limits.describe().items())
    raise ValueError(
        f"search: no net was found that meets all limits ({limits}); the cheapest net ({cheapest.gmacs:.4g} "
        f"GMACs, {cheapest.params} parameters) misses {worst}. {_widen(pricer, cheapest, 'gmacs', 1)}"
    )


def _widen(pricer: Pricer, at: Candidate, cost: str, sign: int) -> str:
    """Return advice: the knob that changes a cost most, and the end of its range to widen (lower cost for sign 1)."""

    def ends(position: int) -> list[tuple[float, int]]:
        last = len(pricer.space.knobs[position].values) - 1
        found = [(pricer.plan(pricer.space.moved(at.point, position, index)), index) for index in (0, last)]
        return [(sign * one.costs[cost], index) for one, index in found if not one.problem]

    def span(position: int) -> float:
        costs = [value for value, _ in ends(position)]
        return max(costs) - min(costs) if costs else 0.0

    position = max(range(len(pricer.space.knobs)), key=span)
    knob = pricer.space.knobs[position]
    if not knob.is_ordered:
        change = f"Give search.{knob.variable} other values than {list(knob.values)}"
    else:
        index = min(ends(position))[1]
        is_low = knob.values[index] == min(knob.values)
        change = f"Widen search.{knob.variable} {'below' if is_low else 'above'} {knob.values[index]}"
    return f"{change}, or change the limit."
