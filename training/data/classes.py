"""The classes of a data set: their names and the colours that they are shown in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Color = tuple[int, int, int]

IGNORED = 255
"""The number of a mask's pixel that belongs to no class: kept out of the loss and of every metric."""

COLORS: tuple[Color, ...] = (
    (0, 0, 0),
    (0, 255, 128),
    (255, 214, 0),
    (0, 176, 255),
    (213, 0, 249),
    (255, 109, 0),
    (118, 255, 3),
    (24, 255, 255),
)
"""Colours of classes that the data set gives none: they show on pink tissue and on grey scans."""


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    Args:
        name: as tables and files show it.
        color: red, green, blue.
    """

    name: str
    color: Color


def make_classes(count: int, names: Sequence[str] = (), colors: Sequence[Color] = ()) -> tuple[ClassInfo, ...]:
    """Return classes; names that are not given are background, lesion, or class 1, class 2, ...

    Args:
        count: number of classes, background included.
        names: names of all classes.
        colors: colours of all classes.

    Raises:
        ValueError: another number of names than of classes, or a name twice.
    """
    if names and (len(names) != count or len(set(names)) != count):
        raise ValueError(
            f"classes: there are {count}, and the names are {', '.join(names)}. Give {count} different names, "
            "background first."
        )
    usual = ["background", "lesion"] if count == 2 else ["background", *(f"class {i}" for i in range(1, count))]
    shades = [*colors, *(COLORS[i] if i < len(COLORS) else _spread(i) for i in range(len(colors), count))]
    return tuple(ClassInfo(name, color) for name, color in zip(names or usual, shades, strict=False))


def _spread(index: int) -> Color:
    """A colour far from its neighbours in number."""
    return (index * 97 % 200 + 55, index * 57 % 200 + 55, index * 151 % 200 + 55)
