"""Preparation of a search over several families: pretrained encoders, image sizes, and notes for the user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
    """

    loaded: tuple[str, ...]
    missing: dict[str, str]
    without: tuple[str, ...]


def check_encoders(space: Space, source: str) -> None:
    """Load the weights of every encoder that the nets of a family may have.

    Args:
        space: the space of one family.
        source: auto, package, hub or a file, see ``lmnet.builder.models.load_encoder``.

    Raises:
        ValueError: an encoder has no weights, or a net has no timm encoder; the message names the choice.
    """
    own = first_point(space)
    for point in _encoders_of(space).values():
        try:
            load_encoder(build_model(space.spec.override(space.values(point))), source)
        except ValueError as err:
            changed = [knob.name for knob, now, was in zip(space.knobs, point, own, strict=True) if now != was]
            if not changed:
                raise
            choice = ", ".join(f"{name}={space.params(point)[name]}" for name in changed)
            raise ValueError(f"search: the choice {choice} has no pretrained encoder: {err}") from None


def _encoders_of(space: Space) -> dict[tuple[str, ...], Point]:
    """Return the encoders that the nets of a family may have, each with a point that has it; () for none."""
    planner, own = Planner(space.spec), first_point(space)
    points = [own]
    for position, knob in enumerate(space.knobs):
        if not knob.is_ordered:  # an encoder is a name
            points += [space.moved(own, position, index) for index in range(len(knob.values))]
    found: dict[tuple[str, ...], Point] = {}
    for point in points:
        try:
            nodes = planner.plan(space.values(point)).nodes
        except SpecError:
            continue  # no net can be built there
        found.setdefault(tuple(node.options["model"] for node in nodes if node.block == ENCODER), point)
    return found


def find_encoders(space: Space, source: str) -> Encoders:
    """Try to load the encoders of each family whose nets may be proposed. One without weights leaves out its family.

    Args:
        space: the families.
        source: auto, package, hub or a file, see ``lmnet.builder.models.load_encoder``.

    Raises:
        ValueError: no family has a timm encoder whose weights can be found.
    """
    loaded, missing, without = [], dict[str, str](), []
    for family in (space.families[place] for place in space.open):
        name = family.spec.name
        if not any(_encoders_of(family)):
            without.append(name)
            continue
        try:
            check_encoders(family, source)
            loaded.append(name)
        except ValueError as err:
            missing[name] = str(err).removeprefix("search: ")
    if not loaded:
        reasons = "".join(f" {name}: {reason}" for name, reason in list(missing.items())[:1])
        raise ValueError(
            f"search: pretrained_encoder={source}: no family has a timm encoder with pretrained weights.{reasons} "
            "Leave pretrained_encoder out, or add a family like efficientnet_lite0_lm_s."
        )
    return Encoders(tuple(loaded), missing, tuple(without))


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
        lines.append(f"pretrained encoder: {_named(encoders.loaded)}")
        lines += [f"no pretrained encoder for {name}: {reason}" for name, reason in encoders.missing.items()]
        if encoders.without:
            lines.append(f"no timm encoder, so random weights: {_named(encoders.without)}")
    return tuple(lines)


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
