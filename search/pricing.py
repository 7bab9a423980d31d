"""Pricing: what an architecture would cost, known in a millisecond and before any weight exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lmnet.builder.planner import Planner
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import Spec
from lmnet.search.limits import Limits
from lmnet.search.space import Point, Space

KEPT = 20_000
"""How many prices are remembered; the oldest go first."""


@dataclass(frozen=True)
class Candidate:
    """A priced point of a space.

    Args:
        point: where it is.
        hash: the architecture's; empty where no net can be built there.
        gmacs: 10⁹ multiply-accumulates, re-parameterised, at the spec's input size.
        params: parameters, re-parameterised.
        latency_ms: measured; None where no limit asks for it, or another limit is missed already.
        violations: by how much each limit is missed; feasible where none is above 0.
        problem: why no net can be built, or None.
    """

    point: Point
    hash: str
    gmacs: float
    params: int
    latency_ms: float | None
    violations: Mapping[str, float]
    problem: str | None = None

    @property
    def is_feasible(self) -> bool:
        """Whether a net can be built and meets every limit."""
        return all(value <= 0 for value in self.violations.values())

    @property
    def excess(self) -> float:
        """The sum of all violations."""
        return sum(max(0.0, value) for value in self.violations.values())


class ProposingStopped(Exception):  # noqa: N818
    """The search ends while candidates are looked for."""


class Pricer:
    """Prices points, and remembers the prices.

    Args:
        space: the space.
        limits: what a net may cost.
        latency: measures a net of the spec that it is given, in milliseconds; needed for a limit on latency.
    """

    def __init__(self, space: Space, limits: Limits, latency: Callable[[Spec], float] | None = None) -> None:
        self.space, self.limits, self.latency = space, limits, latency
        self.planner = Planner(space.spec)
        self._known: dict[Point, Candidate] = {}
        self._latencies: dict[str, float] = {}
        self.must_stop: Callable[[], bool] = lambda: False

    def price(self, point: Point) -> Candidate:
        """Return what the net at a point costs and by how much it misses the limits.

        Raises:
            ProposingStopped: ``must_stop`` says so: the time is up, or Ctrl-C was pressed.
        """
        if self.must_stop():
            raise ProposingStopped
        known = self._known.get(point)
        if known is None:
            known = self._price(point)
            if len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[point] = known
        return known

    def spec(self, point: Point) -> Spec:
        """Return the spec with the point's values."""
        return self.space.spec.override(self.space.values(point))

    def _price(self, point: Point) -> Candidate:
        values: dict[str, Any] = self.space.values(point)
        try:
            plan = self.planner.plan(values)
        except SpecError as error:
            return Candidate(point, "", 0.0, 0, None, {"buildable": 1.0}, str(error.problems[0]))
        gmacs, params = plan.deploy_macs / 1e9, plan.deploy_params
        violations = self.limits.violations(gmacs=gmacs, params=params)
        latency_ms = None
        if self.limits.max_latency_ms is not None and all(value <= 0 for value in violations.values()):
            assert self.latency is not None
            latency_ms = self._latencies.get(plan.hash)
            if latency_ms is None:
                latency_ms = self._latencies[plan.hash] = self.latency(self.spec(point))
            violations = self.limits.violations(gmacs=gmacs, params=params, latency_ms=latency_ms)
        return Candidate(point, plan.hash, gmacs, params, latency_ms, violations)
