"""The space of a search: its points, and their conversion for the builder and for Optuna."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lmnet.builder.layout import INPUT_SIZE
from lmnet.builder.planner import Planner
from lmnet.builder.search_space import Knob, read_knobs
from lmnet.builder.spec import Spec

Array = NDArray[np.floating[Any]]
Point = tuple[int, ...]
"""A place in a space: for each knob, the index of its value."""


class Space:
    """Every architecture that a spec's ``search`` section allows.

    Args:
        spec: the spec.
        without: values that no net may have, by the name of their knob.

    Raises:
        SpecError: the section is wrong.
        ValueError: the section is missing or empty.
    """

    def __init__(self, spec: Spec, without: Mapping[str, Sequence[Any]] = MappingProxyType({})) -> None:
        self.spec = spec
        self.knobs: tuple[Knob, ...] = tuple(
            replace(knob, values=tuple(value for value in knob.values if value not in without.get(knob.name, ())))
            for knob in read_knobs(spec)
        )
        if not self.knobs:
            raise ValueError(
                f"search: {spec.name} has no search section. "
                "Add search: {width: {low: 8, high: 16, step: 4}} with a variable of its vars."
            )
        self.distributions: dict[str, BaseDistribution] = {knob.name: _distribution(knob) for knob in self.knobs}
        variables = Planner(spec).variables()
        self._own: dict[str, Any] = {knob.variable: variables.get(knob.variable) for knob in self.knobs}

    @property
    def size(self) -> int:
        """Number of points; some may be the same architecture, or none."""
        return math.prod(len(knob.values) for knob in self.knobs)

    @property
    def start(self) -> Point | None:
        """The spec's own values, or None if they are outside the ranges."""
        if any(knob.start not in knob.values for knob in self.knobs):
            return None
        return tuple(knob.values.index(knob.start) for knob in self.knobs)

    @property
    def families(self) -> tuple[Space, ...]:
        """The space of each family: this one alone, see ``lmnet.search.nets.families``."""
        return (self,)

    @property
    def open(self) -> list[int]:
        """The families whose nets may be proposed, by their places in ``families``."""
        return list(range(len(self.families)))

    @property
    def starts(self) -> list[Point]:
        """The starting net of each family whose own values are inside the ranges."""
        return [] if self.start is None else [self.start]

    @property
    def firsts(self) -> list[Point]:
        """Where the search of each family begins; a net that misses a limit there is not trained."""
        return self.starts

    @property
    def moves_size(self) -> bool:
        """Whether the input size is a knob, so that each net has its own input size."""
        return any(knob.variable == INPUT_SIZE for knob in self.knobs)

    def family_of(self, point: Point) -> int:
        """Return the place in ``families`` that a point belongs to."""
        return 0

    def turns(self, point: Point) -> list[tuple[int, Knob]]:
        """Return the knobs that may be turned at a point, each with its position in the point."""
        return list(enumerate(self.knobs))

    def values(self, point: Point) -> dict[str, Any]:
        """Return the variables at a point, for ``Planner.plan`` and ``Spec.override``."""
        values: dict[str, Any] = {name: list(own) if isinstance(own, list) else own for name, own in self._own.items()}
        for knob, index in zip(self.knobs, point, strict=True):
            value = knob.values[index]
            if knob.variable == INPUT_SIZE:
                values[INPUT_SIZE] = [value, value]
            elif knob.index is None:
                values[knob.variable] = value
            else:
                values[knob.variable][knob.index] = value
        return values

    def params(self, point: Point) -> dict[str, Any]:
        """Return a point as Optuna's parameters: numbers as they are, lists as JSON."""
        return {knob.name: _shown(knob.values[index]) for knob, index in zip(self.knobs, point, strict=True)}

    def point(self, params: Mapping[str, Any]) -> Point:
        """Return the point of Optuna's parameters, the inverse of ``params``."""
        return tuple(_index(knob, params[knob.name]) for knob in self.knobs)

    def distributions_at(self, point: Point) -> dict[str, BaseDistribution]:
        """Return Optuna's distributions of the parameters that a point has."""
        return self.distributions

    def sample(self, rng: random.Random, family: int | None = None) -> Point:
        """Return a point sampled evenly, of one family if it is given."""
        return tuple(rng.randrange(len(knob.values)) for knob in self.knobs)

    def moved(self, point: Point, position: int, index: int) -> Point:
        """Return a point with one knob at another of its values."""
        return (*point[:position], index, *point[position + 1 :])

    def mutated(self, point: Point, rng: random.Random, count: int = 1) -> Point:
        """Return a point with ``count`` knobs changed."""
        free = [position for position, knob in enumerate(self.knobs) if len(knob.values) > 1]
        for position in rng.sample(free, min(count, len(free))):
            others = [index for index in range(len(self.knobs[position].values)) if index != point[position]]
            point = self.moved(point, position, rng.choice(others))
        return point

    def coordinates(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Return the knobs of points, (N, K) from 0 to 1, and their families, (N,)."""
        lasts = [max(1, len(knob.values) - 1) for knob in self.knobs]
        return np.array(points, float).reshape(-1, len(lasts)) / lasts, np.zeros(len(points))

    def few_points(self, most: int) -> list[Point]:
        """Return every point, if there are no more than ``most``."""
        return list(self.all_points()) if self.size <= most else []

    def all_points(self) -> Iterator[Point]:
        """Yield every point; only for small spaces."""
        return product(*(range(len(knob.values)) for knob in self.knobs))

    def describe(self) -> dict[str, list[Any]]:
        """Return the values of each knob, to compare spaces."""
        return {knob.name: list(knob.values) for knob in self.knobs}


def _shown(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _index(knob: Knob, shown: Any) -> int:
    choices = [_shown(value) for value in knob.values]
    if shown in choices:
        return choices.index(shown)
    return min(range(len(choices)), key=lambda index: abs(choices[index] - shown))  # a float's last digit


def _distribution(knob: Knob) -> BaseDistribution:
    step = _even_step(knob.values) if knob.is_ordered else None
    if step is None:
        return CategoricalDistribution([_shown(value) for value in knob.values])
    if all(type(value) is int for value in knob.values):
        return IntDistribution(knob.values[0], knob.values[-1], step=int(step))
    return FloatDistribution(knob.values[0], knob.values[-1], step=step)


def _even_step(values: Sequence[float]) -> float | None:
    steps = {round(high - low, 9) for low, high in zip(values, values[1:], strict=False)}
    return steps.pop() if len(steps) == 1 else None
