"""What the values of masks mean: which value is which class; ``mask_decision`` decides it for a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lmnet.training.data.classes import IGNORED, Color
from lmnet.training.data.image_files import RawImage

Pixels = npt.NDArray[np.uint8]

THRESHOLD = 127
"""A grey mask's pixel is lesion when its value is above this (the authors' rule)."""

NONZERO = "nonzero"
SHOWN = 8
_MOST_VALUES = 64
_SHADES = {float(shade): shade * 0x010101 for shade in range(256)}
WHOLE_WITHIN = 1e-3
"""A value of a mask of fractions that is this close to a whole number is that number: scaled labels are not exact."""


@dataclass(frozen=True)
class MaskOptions:
    """What the user says about the masks.

    Args:
        values: the value of each class, in order, background first; "nonzero" for 0 and everything else.
        colors: the colour of each class, in order, background first.
        ignore: the value of pixels that belong to no class.
    """

    values: tuple[float, ...] | str = ()
    colors: tuple[Color, ...] = ()
    ignore: float | None = None


@dataclass(frozen=True)
class MaskValues:
    """Which value of a mask is which class.

    Args:
        kind: "values" (each value is a class), "threshold" (above 127 is lesion), "nonzero" (all but 0 is lesion) or
            "colors" (each colour is a class).
        values: the value of each class, in order.
        colors: the colour of each class, in order; also what a palette gives to classes.
        ignore: the value of pixels that belong to no class.
    """

    kind: str = "values"
    values: tuple[float, ...] = (0, 255)
    colors: tuple[Color, ...] = ()
    ignore: float | None = None

    def apply(self, raw: RawImage) -> Pixels:
        """Return a mask's classes, (H, W) uint8, ``IGNORED`` for a pixel of none.

        Raises:
            ValueError: the mask has a value or colour that was not decided.
        """
        if self.kind == "colors":
            return _mapped(packed(colors_of(raw)), [pack(color) for color in self.colors], None, show_color)
        values = grey_of(raw)
        if values is None:
            raise ValueError("it has colours, and grey values were expected.")
        if self.kind == "threshold":
            return np.asarray(values > THRESHOLD, dtype=np.uint8)
        if self.kind == "nonzero":
            classes = np.asarray(values != 0, dtype=np.uint8)
            if self.ignore is not None:
                classes[values == self.ignore] = IGNORED
            return classes
        return _mapped(values, self.values, self.ignore, lambda value: f"{value:g}")

    def fits(self, values: Iterable[float], colors: Iterable[int]) -> bool:
        """Return whether masks of these grey values and colours (packed) can be read with this meaning."""
        if self.kind == "colors":
            known = {pack(color) for color in self.colors}
            return all(c in known for c in colors) and all(v in _SHADES and _SHADES[v] in known for v in values)
        found = set(values) - {self.ignore}
        if any(True for _ in colors):
            return False
        if self.kind == "threshold":
            return min(found, default=0) >= 0 and max(found, default=0) <= 255
        return self.kind == "nonzero" or found <= set(self.values)

    def describe(self, names: Sequence[str]) -> str:
        """Return what was decided, for people."""
        if self.kind == "threshold":
            meaning = f"above {THRESHOLD} = {names[1]}"
        elif self.kind == "nonzero":
            meaning = f"0 = {names[0]}, all else = {names[1]}"
        elif self.kind == "colors":
            meaning = ", ".join(f"{show_color(pack(c))} = {name}" for c, name in zip(self.colors, names, strict=False))
        else:
            meaning = ", ".join(f"{value:g} = {name}" for value, name in zip(self.values, names, strict=False))
        return meaning + (f", {self.ignore:g} = ignored" if self.ignore is not None else "")

    def dump(self) -> dict[str, Any]:
        """Return the meaning as JSON has it."""
        colors = [list(color) for color in self.colors]
        return {"kind": self.kind, "values": list(self.values), "colors": colors, "ignore": self.ignore}

    @classmethod
    def load(cls, content: Any) -> MaskValues:
        """Read what ``dump`` returned.

        Raises:
            ValueError: it is something else.
        """
        try:
            colors = tuple((int(r), int(g), int(b)) for r, g, b in content["colors"])
            ignore = content["ignore"]
            values = tuple(float(value) for value in content["values"])
            kind = str(content["kind"])
            ignored = None if ignore is None else float(ignore)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"masks must have kind, values, colors and ignore, got {content!r}.") from error
        if kind not in ("values", "threshold", "nonzero", "colors"):
            raise ValueError(f"masks: there is no kind {kind!r}.")
        return cls(kind, values, colors, ignored)


@dataclass(frozen=True)
class MaskSample:
    """What one mask file says about its data set's masks.

    Args:
        values: how many pixels have which grey value; empty for colour masks. At most some dozens are kept.
        colors: how many pixels have which colour (packed); empty for grey masks.
        is_lossy: from a JPEG.
        has_more: it has more values or colours than were kept.
        alpha: whether the shape is in the alpha channel only.
        palette: colours of the indices.
    """

    values: Mapping[float, int] = field(default_factory=dict)
    colors: Mapping[int, int] = field(default_factory=dict)
    is_lossy: bool = False
    has_more: bool = False
    alpha: bool = False
    palette: tuple[Color, ...] = ()


def whole(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values of which those within ``WHOLE_WITHIN`` of a whole number are that number."""
    if values.dtype.kind != "f":
        return values
    rounded = np.rint(values)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values - rounded) < WHOLE_WITHIN, rounded, values)


def _eight_bit(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return colours of 16 bits as 8 bits if that loses nothing: writers repeat the byte, 0x7f becomes 0x7f7f."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2 and not (values % 257).any():
        return np.asarray(values // 257, dtype=np.uint8)
    return values


def grey_of(raw: RawImage) -> npt.NDArray[Any] | None:
    """Return a mask's one value a pixel, (H, W), or None if it has colours.

    A palette image gives its indices, but for palettes of grey shades, which give the shades.
    """
    values = raw.values
    if raw.palette is not None:
        shades = raw.palette
        used = shades[np.unique(values[values < len(shades)])]
        is_grey = len(used) > 0 and bool((used == used[:, :1]).all()) and {0, 255} >= set(used[:, 0].tolist())
        return shades[np.minimum(values[..., 0], len(shades) - 1), 0] if is_grey else values[..., 0]
    if values.shape[2] == 1:
        return whole(values[..., 0])
    values = _eight_bit(values)
    limit = 24 if raw.is_lossy else 0
    wide = np.float64 if values.dtype.kind == "f" else np.int64
    spread = values.max(axis=2).astype(wide) - values.min(axis=2)
    return whole(values[..., 0]) if spread.max(initial=0) <= limit else None


def colors_of(raw: RawImage) -> Pixels:
    """Return a mask's colours, (H, W, 3).

    Raises:
        ValueError: they have more than 8 bits, or it has two channels.
    """
    if raw.palette is not None:
        return np.asarray(raw.palette[np.minimum(raw.values[..., 0], len(raw.palette) - 1)])
    values = _eight_bit(raw.values)
    if values.shape[2] == 1:
        shades = np.asarray(np.clip(whole(values), 0, 255), dtype=np.uint8)
        if (shades == whole(values)).all():
            return np.repeat(shades, 3, axis=2)
    if values.dtype != np.uint8 or values.shape[2] < 3:
        raise ValueError(
            f"a mask must have one value or one 8-bit colour a pixel, and it has {values.shape[2]} channels of "
            f"{values.dtype}. Save it as a grey PNG of class numbers."
        )
    return values[..., :3]


def sample(raw: RawImage) -> MaskSample:
    """Take the sample of a mask."""
    grey = grey_of(raw)
    if raw.alpha is not None and len(np.unique(raw.alpha)) > 1:
        shown = grey if grey is not None else packed(colors_of(raw))
        if len(np.unique(shown)) <= 1:
            return MaskSample(alpha=True)
    if grey is None:
        colors, counts = np.unique(packed(colors_of(raw)), return_counts=True)
        kept = dict(Counter(dict(zip(colors.tolist(), counts.tolist(), strict=True))).most_common(_MOST_VALUES))
        return MaskSample(colors=kept, is_lossy=raw.is_lossy, has_more=len(colors) > len(kept))
    values, counts = np.unique(grey, return_counts=True)
    limit = 256 if grey.dtype == np.uint8 else _MOST_VALUES
    kept_values = dict(zip(values[:limit].tolist(), counts[:limit].tolist(), strict=True))
    palette = (
        tuple((int(r), int(g), int(b)) for r, g, b in raw.palette[:_MOST_VALUES]) if raw.palette is not None else ()
    )
    return MaskSample(kept_values, is_lossy=raw.is_lossy, has_more=len(values) > limit, palette=palette)


def _mapped(
    values: npt.NDArray[Any], classes: Sequence[float], ignore: float | None, show: Callable[[float], str]
) -> Pixels:
    result = np.full(values.shape, IGNORED, dtype=np.uint8)
    is_known = np.zeros(values.shape, dtype=bool)
    for number, value in enumerate(classes):
        here = values == value
        result[here] = number
        is_known |= here
    if ignore is not None:
        is_known |= values == ignore
    if not is_known.all():
        unknown = np.unique(values[~is_known])[:SHOWN].tolist()
        raise ValueError(f"it has the values {', '.join(show(value) for value in unknown)}, which are no class.")
    return result


def packed(colors: Pixels) -> npt.NDArray[np.int64]:
    """Return each colour (..., 3) as one number."""
    parts = colors.astype(np.int64)
    return parts[..., 0] * 65536 + parts[..., 1] * 256 + parts[..., 2]


def pack(color: Color) -> int:
    """Return a colour as one number."""
    return color[0] * 65536 + color[1] * 256 + color[2]


def unpack(packed: int) -> Color:
    """Return the colour of a number."""
    return packed // 65536, packed // 256 % 256, packed % 256


def show_color(packed: float) -> str:
    """Return the colour of a number as people write it."""
    return f"#{int(packed):06x}"
