"""How much each knob of a space changes a net's cost, known before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from lmnet.builder.table import make_table
from lmnet.search.nets.families import first_point
from lmnet.search.nets.pricing import Candidate, Pricer

MINOR = 0.01
"""A knob that changes the cost by less than this share is shown as minor."""


@dataclass(frozen=True)
class KnobEffect:
    """One knob over its whole range, with all other knobs fixed.

    Args:
        name: name of the knob.
        values: its values, as text.
        cheapest: the net with the fewest multiply-accumulates along it.
        dearest: the net with the most.
        share: their difference, as a share of the cost of the net with all knobs fixed.
    """

    name: str
    values: str
    cheapest: Candidate
    dearest: Candidate
    share: float


def explain(pricer: Pricer) -> tuple[Candidate, list[KnobEffect]]:
    """Vary each knob of a space alone; return the net at which the others are fixed, and the effects, largest first.

    That net is the starting net, or the middle of the ranges if the start is outside of them. Values with which no net
    can be built are left out.

    Raises:
        ValueError: no net can be built there.
    """
    space = pricer.space
    point = first_point(space)
    middle = pricer.plan(point)
    if middle.problem is not None:
        raise ValueError(f"search: no net can be built in the middle of the space: {middle.problem} Change the ranges.")
    effects = []
    for position, knob in enumerate(space.knobs):
        along = [pricer.plan(space.moved(point, position, index)) for index in range(len(knob.values))]
        nets = sorted((one for one in along if one.problem is None), key=lambda one: one.gmacs)
        share = (nets[-1].gmacs - nets[0].gmacs) / middle.gmacs
        effects.append(KnobEffect(knob.name, _shown(list(knob.values)), nets[0], nets[-1], share))
    return middle, sorted(effects, key=lambda one: -one.share)


def explain_table(middle: Candidate, effects: list[KnobEffect]) -> Table:
    """Return the effects as a table."""
    rows = []
    for one in effects:
        params = f"{one.cheapest.params / 1e6:.2f} to {one.dearest.params / 1e6:.2f} M"
        share = f"{one.share:.1%}" + (" (minor)" if one.share < MINOR else "")
        rows.append((one.name, one.values, f"{one.cheapest.gmacs:.3f} to {one.dearest.gmacs:.3f}", share, params))
    title = f"each knob from end to end, the others as in a net with {middle.gmacs:.3f} GMACs"
    return make_table(title, ("knob", "values", "GMACs", "share of cost", "parameters"), rows)


def _shown(values: list[object]) -> str:
    if len(values) > 6:
        return f"{values[0]}, {values[1]}, ..., {values[-1]}"
    return ", ".join(map(str, values))
