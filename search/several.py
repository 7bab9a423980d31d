"""Preparation of a search over several families: pretrained encoders, image sizes, and notes for the user."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from lmnet.builder.models import build_model, load_encoder
from lmnet.builder.planner import Planner
from lmnet.builder.problems import SpecError
from lmnet.search.nets.families import Families, first_point
from lmnet.search.nets.space import Point, Space

ENCODER = "timm_encoder"
NAMED = 6
"""Most families that one line of text names."""


@dataclass(frozen=True)
class Encoders:
    """Which families start from a pretrained encoder.

    Args:
        loaded: names of the families whose encoder has weights.
        missing: for families with a timm encoder but no weights, the reason by family name.
        without: names of the families without a timm encoder.
        left_out: for families that lose choices of another encoder without weights, these choices by family name.
    """

    loaded: tuple[str, ...]
    missing: dict[str, str]
    without: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Choice:
    """A value of a knob, the encoders of the net that has it, and that net; the first one is a family's own net."""

    knob: str
    value: Any
    encoders: tuple[str, ...]
    point: Point

    def __str__(self) -> str:
        return f"{self.knob}={self.value}"


def check_encoders(space: Space, source: str) -> None:
    """Load the weights of every encoder that the nets of a family may have.

    Args:
        space: the space of one family.
        source: auto, package, hub or a file, see ``lmnet.builder.models.load_encoder``.

    Raises:
        ValueError: an encoder has no weights, or a net has no timm encoder; the message names the choice.
    """
    known: dict[tuple[str, ...], str] = {}
    own, *others = _choices(space)
    if problem := _problem(space, own, source, known):
        raise ValueError(problem)
    for choice in others:
        if problem := _problem(space, choice, source, known):
            raise ValueError(f"search: the choice {choice} has no pretrained encoder: {problem}")


def _choices(space: Space) -> list[_Choice]:
    """Return the family's own net, and the nets with another value of one knob that may change the encoder."""
    planner, own = Planner(space.spec), first_point(space)
    found = [_Choice("", None, _encoders_of(planner, space.values(own)), own)]
    for position, knob in enumerate(space.knobs):
        if knob.is_ordered:  # an encoder is a name
            continue
        for index, value in enumerate(knob.values):
            point = space.moved(own, position, index)
            try:
                encoders = _encoders_of(planner, space.values(point))
            except SpecError:
                continue  # no net can be built there
            if encoders != found[0].encoders:
                found.append(_Choice(knob.name, value, encoders, point))
    return found


def _encoders_of(planner: Planner, values: dict[str, Any]) -> tuple[str, ...]:
    return tuple(node.options["model"] for node in planner.plan(values).nodes if node.block == ENCODER)


def _problem(space: Space, choice: _Choice, source: str, known: dict[tuple[str, ...], str]) -> str:
    """Return why the encoders of a choice have no weights; empty if they have. Each encoder is loaded once."""
    if choice.encoders not in known:
        try:
            load_encoder(build_model(space.spec.override(space.values(choice.point))), source)
            known[choice.encoders] = ""
        except ValueError as err:
            known[choice.encoders] = str(err)
    return known[choice.encoders]


def with_encoders(space: Families, source: str) -> tuple[Families, Encoders]:
    """Try to load the encoders of each family.

    A family whose own encoder has no weights begins with random weights. One whose own encoder has some loses the
    choices of encoders that have none.

    Args:
        space: the families.
        source: auto, package, hub or a file, see ``lmnet.builder.models.load_encoder``.

    Returns:
        The families without these choices, and what was found.

    Raises:
        ValueError: no family has a timm encoder whose weights can be found.
    """
    loaded, missing, without, left_out = [], dict[str, str](), [], dict[str, tuple[str, ...]]()
    known: dict[tuple[str, ...], str] = {}
    families = []
    for family in space.families:
        name = family.spec.name
        own, *others = _choices(family)
        families.append(family)
        if not any(choice.encoders for choice in (own, *others)):
            without.append(name)
        elif problem := _problem(family, own, source, known):
            missing[name] = problem
        else:
            loaded.append(name)
            lost = [choice for choice in others if _problem(family, choice, source, known)]
            if lost:
                left_out[name] = tuple(map(str, lost))
                families[-1] = Space(
                    family.spec, {one.knob: [each.value for each in lost if each.knob == one.knob] for one in lost}
                )
    if not loaded:
        reasons = "".join(f" {name}: {reason}" for name, reason in list(missing.items())[:1])
        raise ValueError(
            f"search: pretrained_encoder={source}: no family has a timm encoder with pretrained weights.{reasons} "
            "Leave pretrained_encoder out, or add a family like efficientnet_lite0_lm_s."
        )
    return Families(families), Encoders(tuple(loaded), missing, tuple(without), left_out)


def sides(space: Space) -> dict[str, int]:
    """Return the longer side of each family's own input size, by name."""
    specs = (space.families[place].spec for place in space.open)
    return {spec.name: max(spec.layout.input.size) for spec in specs}


def family_notes(
    space: Space, *, size: int | None, encoders: Encoders | None, is_own_size: bool = False
) -> tuple[str, ...]:
    """Return lines of text about sizes and pretrained encoders; no line if there is only one family.

    Args:
        space: the families.
        size: side of the training images in pixels; None for a user's objective, or if each net has its own size.
        encoders: the families that start from a pretrained encoder; None if the option is not used.
        is_own_size: whether each net is trained at its own size.
    """
    if not isinstance(space, Families):
        return ()
    lines = []
    if len(set(sides(space).values())) > 1:
        lines.append(_size_note(space, size, is_own_size=is_own_size))
    if encoders is not None:
        lines += _encoder_notes(encoders, sides(space).keys())
    return tuple(lines)


def _encoder_notes(encoders: Encoders, names: Collection[str]) -> list[str]:
    """Return lines about the encoders of the named families."""
    lines = [f"pretrained encoder: {_named(name for name in encoders.loaded if name in names) or 'none'}"]
    for name, lost in encoders.left_out.items():
        if name in names:
            lines.append(f"{name}: no pretrained encoder for {_named(lost)}, so no net with it is trained")
    lines += [
        f"no pretrained encoder for {name}, so random weights: {reason}"
        for name, reason in encoders.missing.items()
        if name in names
    ]
    if without := [name for name in encoders.without if name in names]:
        lines.append(f"no timm encoder, so random weights: {_named(without)}")
    return lines


def _size_note(space: Families, size: int | None, *, is_own_size: bool) -> str:
    own = sides(space)
    each = [f"{side} px {_named([name for name in own if own[name] == side])}" for side in sorted(set(own.values()))]
    text = f"input sizes: {'; '.join(each)}. The cost of a net is computed at its own size"
    if is_own_size:
        varied = [space.families[place].spec.name for place in space.open if space.families[place].moves_size]
        text += f", and each net is trained at its own size, because input.size is a knob of {_named(varied)}"
    elif size is not None:
        smaller = " (smaller ones at their own size)" if min(own.values()) < size else ""
        text += f", and all are trained at {size} px{smaller}"
    return f"{text}. --set input.size=[S,S] gives all the same size."


def _named(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
