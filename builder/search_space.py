"""The ``search:`` section of a spec as knobs: which variables may change, and every value each may take."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from lmnet.builder.layout import INPUT_SIZE, MAX_SIZE, MIN_SIZE, RangeSpec
from lmnet.builder.planner import Planner
from lmnet.builder.problems import Path, Problem, SpecError, did_you_mean
from lmnet.builder.spec import Spec

MAX_VALUES = 1000
_ITEM = re.compile(r"[^\[]+\[([0-9]{1,4})\]")


@dataclass(frozen=True)
class Knob:
    """One number, or other value, that a search may change.

    Args:
        name: ``width``, ``depth[0]`` for an item of a list, or ``input.size``.
        variable: the variable that it belongs to; of the input's size, ``input.size``.
        index: which item of a list variable; None for the whole variable.
        values: every value that it may take, in the spec's order.
        start: the spec's own value.
    """

    name: str
    variable: str
    index: int | None
    values: tuple[Any, ...]
    start: Any

    @property
    def is_ordered(self) -> bool:
        """Whether the values are numbers in rising order, so that neighbours are alike."""
        if any(type(value) not in (int, float) for value in self.values):
            return False
        return all(low < high for low, high in zip(self.values, self.values[1:], strict=False))


def read_knobs(spec: Spec) -> tuple[Knob, ...]:
    """Return the knobs of a spec's ``search`` section, in its order; none if it has no such section.

    Raises:
        SpecError: with every range that is wrong: an unknown variable, bounds that are missing, swapped or not whole
            steps apart, choices that repeat or are of another kind than the variable's value, a block that a node may
            be and that does not give what the node's own block gives.
    """
    planner = Planner(spec)
    variables = planner.variables()
    problems: list[Problem] = planner.choice_problems()
    knobs: list[Knob] = []
    for key, given in spec.layout.search.items():
        path: Path = ("search", key)
        name, _, item = key.partition("[")
        if key == INPUT_SIZE:
            variables = {**variables, INPUT_SIZE: spec.layout.input.size[0]}
        if name not in variables:
            message = f"search must name variables, got {key}. {did_you_mean(name, variables)}"
            problems.append(spec.document.problem(path, message, at_key=True))
            continue
        try:
            if key == INPUT_SIZE:
                _check_sizes(spec, given)
            found = [_item_knob(key, variables[name], given)] if item else _knobs_of(name, variables[name], given)
            twice = [knob.name for knob in found if any(_overlap(knob, other) for other in knobs)]
            if twice:
                raise _Fault(f"{twice[0]} has two keys in search. Remove one of them.")
            knobs += found
        except _Fault as fault:
            problems.append(spec.document.problem((*path, *fault.place), str(fault)))
    if problems:
        raise SpecError(problems)
    return tuple(knobs)


class _Fault(Exception):  # noqa: N818
    """What is wrong with one range."""

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


def _check_sizes(spec: Spec, given: RangeSpec) -> None:
    """Refuse sides that no input may have."""
    height, width = spec.layout.input.size
    if height != width:
        raise _Fault(
            f"input.size is the side of a square in search, got {height}x{width} as the spec's. Make it square."
        )
    for side in given.choices or [given.low, given.high]:
        if side is not None and (type(side) is not int or not MIN_SIZE <= side <= MAX_SIZE):
            raise _Fault(f"a side must be from {MIN_SIZE} to {MAX_SIZE} pixels, got {side!r}. Write a whole number.")


def _overlap(one: Knob, other: Knob) -> bool:
    return one.variable == other.variable and (one.index == other.index or None in (one.index, other.index))


def _item_knob(key: str, own: Any, given: RangeSpec) -> Knob:
    """Return the knob of one item of a list variable, from a key such as ``width[0]``."""
    found = _ITEM.fullmatch(key)
    name, count = key.partition("[")[0], len(own) if isinstance(own, list) else 0
    if found is None or int(found[1]) >= count:
        known = f"{name}[0] to {name}[{count - 1}]" if count else f"no list: {name}={own!r}"
        raise _Fault(f"an item must be one of the list's, got {key} of {known}. Write {name}{'[0]' * bool(count)}.")
    if given.each is not None:
        raise _Fault(f"each is for a whole list, got it for {key}. Write its low and high, or choices.", "each")
    index = int(found[1])
    return Knob(f"{name}[{index}]", name, index, _values_of(given, own[index]), own[index])


def _knobs_of(name: str, own: Any, given: RangeSpec) -> list[Knob]:
    if given.each is None:
        return [Knob(name, name, None, _values_of(given, own), own)]
    others = [key for key in ("low", "high", "step", "choices") if getattr(given, key) is not None]
    if others:
        raise _Fault(f"each must stand alone, got {others[0]} beside it. Write each: {{low, high, step}}.", others[0])
    if not isinstance(own, list) or not own:
        raise _Fault(f"each needs a list variable, got {name}={own!r}. Write low and high, or choices.", "each")
    inner = RangeSpec(choices=given.each) if isinstance(given.each, list) else given.each
    if inner.each is not None:
        raise _Fault("each must hold choices or a range, got each inside each. Remove one.", "each")
    knobs = []
    for index, item in enumerate(own):
        try:
            values = _values_of(inner, item)
        except _Fault as fault:
            place = fault.place[1:] if isinstance(given.each, list) else fault.place
            raise _Fault(str(fault), "each", *place) from fault
        knobs.append(Knob(f"{name}[{index}]", name, index, values, item))
    return knobs


def _values_of(given: RangeSpec, own: Any) -> tuple[Any, ...]:
    if given.choices is None:
        return _range_of(given, own)
    others = [key for key in ("low", "high", "step") if getattr(given, key) is not None]
    if others:
        raise _Fault(f"choices must stand alone, got {others[0]} beside them. Remove one.", others[0])
    for index, choice in enumerate(given.choices):
        if _kind(choice) != _kind(own):
            message = f"a choice must be of the variable's kind, got {choice!r} for {own!r}. Change the choice."
            raise _Fault(message, "choices", index)
        if choice in given.choices[:index]:
            raise _Fault(f"{choice!r} is listed twice. Remove one.", "choices", index)
    return tuple(given.choices)


def _range_of(given: RangeSpec, own: Any) -> tuple[Any, ...]:
    low, high, step = given.low, given.high, given.step
    if low is None or high is None:
        raise _Fault(f"a range needs low and high, or choices, got {_shown(given)}. Write low: 4, high: 16, step: 4.")
    if _kind(own) != "number":
        raise _Fault(f"a range needs a variable that is a number, got {own!r}. Write choices, or each for a list.")
    if low > high:
        raise _Fault(f"low must be at most high, got low={low}, high={high}. Swap them.", "low")
    if step is None:
        if not all(type(bound) is int for bound in (low, high)):
            raise _Fault(f"a range of fractions needs a step, got low={low}, high={high}. Write step: 0.5.")
        step = 1
    if not step > 0:
        raise _Fault(f"step must be above 0, got step={step}. Write step: 1.", "step")
    if type(own) is int and any(type(bound) is not int for bound in (low, high, step)):
        message = f"a whole variable needs whole bounds, got low={low}, high={high}, step={step}. Write whole numbers."
        raise _Fault(message)
    steps = round((high - low) / step)
    if not math.isclose(low + steps * step, high, rel_tol=1e-9, abs_tol=1e-9):
        message = f"high must be whole steps above low, got low={low}, high={high}, step={step}. "
        raise _Fault(message + f"Use high: {_tidy(low + math.floor((high - low) / step) * step)}.", "high")
    if steps >= MAX_VALUES:
        raise _Fault(f"a range must have at most {MAX_VALUES} values, got {steps + 1}. Raise step.", "step")
    return tuple(_tidy(low + index * step) for index in range(steps + 1))


def _tidy(value: int | float) -> int | float:
    return value if isinstance(value, int) else round(value, 12)


def _kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def _shown(given: RangeSpec) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in given.model_dump(exclude_none=True).items()) or "nothing"
