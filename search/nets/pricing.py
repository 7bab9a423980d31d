"""The costs of an architecture, computed in about a millisecond and before it is built."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lmnet.builder.planner import Planner
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import Spec
from lmnet.search.nets.description import Array, describe
from lmnet.search.nets.estimate import Estimator
from lmnet.search.nets.limits import COSTS, Limits
from lmnet.search.nets.space import Point, Space

T = TypeVar("T")
KEPT = 20_000
"""Number of candidates that are kept in memory."""


@dataclass(frozen=True)
class Candidate:
    """A point of a space with its costs.

    Args:
        point: its place in the space.
        hash: hash of the architecture, with ``@`` and the input size if that is a knob; empty if no net can be built.
        costs: the net's costs by the names of ``COSTS``, re-parameterised, at the spec's input size. A measured cost is
            there only if a limit needs it and all other limits are met.
        violations: relative excess over each limit; feasible if none is above 0.
        problem: why no net can be built, or None.
    """

    point: Point
    hash: str
    costs: Mapping[str, float]
    violations: Mapping[str, float]
    problem: str | None = None

    @property
    def gmacs(self) -> float:
        """10⁹ multiply-accumulates; 0 if no net can be built."""
        return self.costs.get("gmacs", 0.0)

    @property
    def params(self) -> int:
        """Parameters; 0 if no net can be built."""
        return int(self.costs.get("params", 0))

    @property
    def latency_ms(self) -> float | None:
        """Measured time of one image; None if it was not measured."""
        return self.costs.get("latency_ms")

    @property
    def is_feasible(self) -> bool:
        """Whether a net can be built and meets every limit."""
        return all(value <= 0 for value in self.violations.values())

    @property
    def excess(self) -> float:
        """The sum of all violations."""
        return sum(max(0.0, value) for value in self.violations.values())


class Pricer:
    """Computes the costs of points, and keeps them in memory.

    Args:
        space: the space.
        limits: limits on the costs of a net.
        measure: returns the named measured cost of a spec's net; needed if a limit is on a measured cost.
        kept: number of candidates to keep in memory; the oldest are dropped first.
        is_sized: whether nets of different input sizes are different candidates; None: if the space varies the size.

    Attributes:
        is_pretrained: whether the nets' timm encoder starts from weights; it changes what they are described as.
    """

    is_pretrained = False

    def __init__(
        self,
        space: Space,
        limits: Limits,
        measure: Callable[[str, Spec], float] | None = None,
        *,
        kept: int = KEPT,
        is_sized: bool | None = None,
    ) -> None:
        self.space, self.limits, self.measure = space, limits, measure
        self.planner = Planner(space.spec)
        self._kept, self._is_sized = kept, space.moves_size if is_sized is None else is_sized
        self._known: dict[Point, Candidate] = {}
        self._planned: dict[Point, Candidate] = {}
        self._measured: dict[tuple[str, str], float] = {}
        self._estimators = {cost.name: Estimator() for cost in limits.measured}
        self._descriptions: dict[Point, Array] = {}

    def price(self, point: Point) -> Candidate:
        """Return the costs of the net at a point, and by how much it misses the limits.

        A measured cost is measured for every net that may meet the limits. If the nets measured so far show that a net
        misses one, its cost is their estimate.
        """
        return self._remember(self._known, point, self._price)

    def plan(self, point: Point) -> Candidate:
        """Return the same as ``price`` without measured costs and limits on them."""
        return self._remember(self._planned, point, self._plan)

    def spec(self, point: Point) -> Spec:
        """Return the spec with the point's values."""
        return self.space.spec.override(self.space.values(point))

    def describe(self, point: Point) -> Array:
        """Return what the net at a point is, by the names of ``lmnet.search.nets.description.COLUMNS``.

        Raises:
            SpecError: the net cannot be built.
        """
        return self._remember(self._descriptions, point, self._describe)

    def _describe(self, point: Point) -> Array:
        return describe(self.planner.plan(self.space.values(point)), is_pretrained=self.is_pretrained)

    def _plan(self, point: Point) -> Candidate:
        values: dict[str, Any] = self.space.values(point)
        try:
            plan = self.planner.plan(values)
        except SpecError as error:
            return Candidate(point, "", {}, {"buildable": 1.0}, str(error.problems[0]))
        costs = {cost.name: cost.of(plan) for cost in COSTS if cost.of is not None}
        # an architecture's hash leaves the size out, but at another size it is another candidate
        hash_ = f"{plan.hash}@{plan.input_shape[1]}" if self._is_sized else plan.hash
        return Candidate(point, hash_, costs, self.limits.violations(**costs))

    def _price(self, point: Point) -> Candidate:
        planned = self.plan(point)
        if not (self.limits.measured and planned.is_feasible):
            return planned
        assert self.measure is not None
        costs = dict(planned.costs)
        for cost in self.limits.measured:
            key = cost.name, planned.hash
            if key not in self._measured:
                if (estimate := self._missed(cost.name, planned)) is not None:
                    costs[cost.name] = estimate
                    continue
                self._measured[key] = self.measure(cost.name, self.spec(point))
                self._estimators[cost.name].add(*self._described(planned), self._measured[key])
            costs[cost.name] = self._measured[key]
        return replace(planned, costs=costs, violations=self.limits.violations(**costs))

    def _missed(self, cost: str, planned: Candidate) -> float | None:
        """Return an estimate of a measured cost with which a net surely misses a limit; None if it must be measured."""
        interval = self._estimators[cost].interval(*self._described(planned))
        if interval is None:
            return None
        ends = [self.limits.violations(**{cost: end}) for end in interval]
        if any(all(each[name] > 0 for each in ends) for name in ends[0]):
            return sum(interval) / 2
        return None

    def _described(self, planned: Candidate) -> tuple[list[float], list[float]]:
        """Return the computed costs and the knobs of a net, as ``Estimator`` takes them."""
        knobs: list[float] = self.space.coordinates([planned.point])[0][0].tolist()
        return [max(value, 1e-9) for value in planned.costs.values()], knobs

    def _remember(self, known: dict[Point, T], point: Point, make: Callable[[Point], T]) -> T:
        """Return what is known about a point; the oldest is dropped if too much is known."""
        if point not in known:
            if len(known) >= self._kept:
                known.pop(next(iter(known)))
            known[point] = make(point)
        return known[point]


def finish(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
