"""Several families in one search: the space of all their nets, and the costs of these.

A family is a spec with its own space. A point of several families is the family's place, then the point in its space.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from lmnet.builder.search_space import Knob
from lmnet.builder.spec import Spec
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import KEPT, Candidate, Pricer
from lmnet.search.nets.space import Array, Point, Space

FAMILY = "family"
"""Optuna's parameter that names the family; the knobs are FAMILY_NAME.KNOB."""


class Families(Space):
    """The nets of several families. ``knobs`` and ``spec`` are those of each family: ``families[0].knobs``.

    Args:
        families: the space of each family.

    Attributes:
        left_out: why no net of a family is proposed, by its name. The survey fills it.

    Raises:
        ValueError: two families have the same name, or nets for other images.
    """

    def __init__(self, families: Sequence[Space]) -> None:
        self._families = tuple(families)
        self.names = [family.spec.name for family in families]
        self.left_out: dict[str, str] = {}
        twice = next((name for place, name in enumerate(self.names) if name in self.names[:place]), None)
        if twice is not None:
            raise ValueError(
                f"search: two families have the name {twice}. Leave one out, or change the name in its spec."
            )
        for what, key in (("input channels", "input.channels"), ("classes", "num_classes")):
            found = {family.spec.name: _number(family.spec, key) for family in families}
            if len(set(found.values())) > 1:
                each = ", ".join(f"{name} {number}" for name, number in found.items())
                raise ValueError(
                    f"search: the families differ in the number of {what}: {each}. Give them all the same by "
                    f"--set {key}=N."
                )
        self.distributions: dict[str, BaseDistribution] = {FAMILY: CategoricalDistribution(sorted(self.names))}
        for name, family in zip(self.names, families, strict=True):
            self.distributions |= {f"{name}.{knob}": kind for knob, kind in family.distributions.items()}
        self._widest = max(len(family.knobs) for family in families)

    @property
    def families(self) -> tuple[Space, ...]:
        """The space of each family."""
        return self._families

    @property
    def open(self) -> list[int]:
        """The families whose nets may be proposed: those that are not left out."""
        return [place for place, name in enumerate(self.names) if name not in self.left_out]

    @property
    def size(self) -> int:
        """Number of points of the families that are not left out."""
        return sum(self._families[place].size for place in self.open)

    @property
    def start(self) -> Point | None:
        """None: each family has a starting net of its own, see ``starts``."""
        return None

    @property
    def starts(self) -> list[Point]:
        """The starting net of each family that is not left out, if its values are inside the ranges."""
        return [(place, *start) for place in self.open if (start := self._families[place].start) is not None]

    @property
    def firsts(self) -> list[Point]:
        """The starting nets; the middle of the ranges for a family whose own values are outside of them."""
        return [(place, *first_point(self._families[place])) for place in self.open]

    @property
    def moves_size(self) -> bool:
        """Whether a family varies the input size; each net is then trained at its own size."""
        return any(family.moves_size for family in self._families)

    def family_of(self, point: Point) -> int:
        """Return the place in ``families`` that a point belongs to."""
        return point[0]

    def turns(self, point: Point) -> list[tuple[int, Knob]]:
        """Return the knobs of the point's family, each with its position in the point."""
        return list(enumerate(self._of(point).knobs, 1))

    def values(self, point: Point) -> dict[str, Any]:
        """Return the variables at a point, for the spec of its family."""
        return self._of(point).values(point[1:])

    def params(self, point: Point) -> dict[str, Any]:
        """Return a point as Optuna's parameters: the family, and its knobs under the family's name."""
        name = self.names[point[0]]
        own = self._of(point).params(point[1:])
        return {FAMILY: name, **{f"{name}.{knob}": value for knob, value in own.items()}}

    def point(self, params: Mapping[str, Any]) -> Point:
        """Return the point of Optuna's parameters, the inverse of ``params``."""
        name = params[FAMILY]
        own = {key.removeprefix(f"{name}."): value for key, value in params.items()}
        place = self.names.index(name)
        return (place, *self._families[place].point(own))

    def distributions_at(self, point: Point) -> dict[str, BaseDistribution]:
        """Return Optuna's distributions of the family and of its knobs."""
        return {name: self.distributions[name] for name in self.params(point)}

    def sample(self, rng: random.Random, family: int | None = None) -> Point:
        """Return a point sampled evenly, each family as often as another, or of one family."""
        place = rng.choice(self.open) if family is None else family
        return (place, *self._families[place].sample(rng))

    def mutated(self, point: Point, rng: random.Random, count: int = 1) -> Point:
        """Return a point of the same family with ``count`` knobs changed."""
        return (point[0], *self._of(point).mutated(point[1:], rng, count))

    def coordinates(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Return the knobs of points, (N, K), and their families, (N,).

        K is the largest number of knobs of any family. Values of a family with fewer knobs are scaled up, so that the
        mean square over K equals the mean over its own knobs.
        """
        knobs, families = np.zeros((len(points), self._widest)), np.array([point[0] for point in points], float)
        for place in {point[0] for point in points}:
            own, rows = self._families[place], np.flatnonzero(families == place)
            found, _ = own.coordinates([points[row][1:] for row in rows.tolist()])
            knobs[rows, : len(own.knobs)] = found * math.sqrt(self._widest / len(own.knobs))
        return knobs, families

    def few_points(self, most: int) -> list[Point]:
        """Return every point of the families that have no more than ``most``."""
        return [(place, *point) for place in self.open for point in self._families[place].few_points(most)]

    def all_points(self) -> Iterator[Point]:
        """Yield every point of the families that are not left out; only for small spaces."""
        for place in self.open:
            yield from ((place, *point) for point in self._families[place].all_points())

    def describe(self) -> dict[str, Any]:
        """Return the values of each family's knobs, to compare spaces."""
        return {name: family.describe() for name, family in zip(self.names, self._families, strict=True)}

    def _of(self, point: Point) -> Space:
        return self._families[point[0]]


class FamiliesPricer(Pricer):
    """Computes the costs of the nets of several families.

    Args:
        space: the families.
        limits: limits on the costs of a net.
        measure: returns a measured cost, see ``Pricer``.

    Attributes:
        each: computes the costs of each family.
    """

    space: Families

    def __init__(self, space: Families, limits: Limits, measure: Callable[[str, Spec], float] | None = None) -> None:
        self.space, self.limits, self.measure = space, limits, measure
        kept = max(1000, KEPT // len(space.families))
        self.each = tuple(
            Pricer(family, limits, measure, kept=kept, is_sized=space.moves_size) for family in space.families
        )

    def price(self, point: Point) -> Candidate:
        """Return the costs of the net at a point, and by how much it misses the limits."""
        return replace(self.each[point[0]].price(point[1:]), point=point)

    def plan(self, point: Point) -> Candidate:
        """Return the same as ``price`` without measured costs and limits on them."""
        return replace(self.each[point[0]].plan(point[1:]), point=point)

    def describe(self, point: Point) -> Array:
        """Return what the net at a point is, as ``Pricer.describe``."""
        return self.each[point[0]].describe(point[1:])

    def spec(self, point: Point) -> Spec:
        """Return the spec of the point's family with the point's values."""
        return self.each[point[0]].spec(point[1:])


def make_space(specs: Sequence[Spec]) -> Space:
    """Return the space of one spec, or of several families.

    Raises:
        SpecError: a search section is wrong.
        ValueError: there is no spec, one has no search section, or families do not go together.
    """
    if not specs:
        raise ValueError("search: no spec is given. Give a zoo name or a file.")
    return Space(specs[0]) if len(specs) == 1 else Families([Space(spec) for spec in specs])


def make_pricer(space: Space, limits: Limits, measure: Callable[[str, Spec], float] | None = None) -> Pricer:
    """Return the pricer of a space."""
    return FamiliesPricer(space, limits, measure) if isinstance(space, Families) else Pricer(space, limits, measure)


def first_point(space: Space) -> Point:
    """Return the starting net's point, or the middle of the ranges if its values are outside of them."""
    return space.start or tuple(len(knob.values) // 2 for knob in space.knobs)


def family_name(space: Space, point: Point) -> str:
    """Return the name of a point's family; empty if there is only one."""
    return space.names[space.family_of(point)] if isinstance(space, Families) else ""


def _number(spec: Spec, key: str) -> Any:
    return spec.layout.input.channels if key == "input.channels" else spec.layout.vars.get(key, 2)
