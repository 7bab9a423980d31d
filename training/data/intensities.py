"""What the numbers of images mean: how a data set's values become 0 to 255, decided once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
SAMPLES = 4096
"""Pixels of each image and channel that are looked at."""
POOLED = 2**18
"""Pixels of a whole set, each channel, that the range is taken from: its memory does not grow with the set."""

_PADDING_SHARE = 0.01

OPTION = "--intensity-range LOW,HIGH"


@dataclass(frozen=True)
class Intensities:
    """How values become 0 to 255.

    Args:
        ranges: (low, high) of each channel, or one for all: low and what is below becomes 0, high and above 255. Empty
            for 8-bit images, which are taken as they are.
    """

    ranges: tuple[tuple[float, float], ...] = ()

    def apply(self, values: Values) -> Pixels:
        """Return values (H, W, C) as uint8; nan becomes 0.

        Raises:
            ValueError: the values are not of the kind that was decided, or the number of channels is another.
        """
        if not self.ranges:
            if values.dtype != np.uint8:
                raise ValueError(f"it has {kind(values)} values, and 8-bit images were expected. Give {OPTION}.")
            return values
        if len(self.ranges) not in (1, values.shape[2]):
            raise ValueError(f"it has {values.shape[2]} channels, and {len(self.ranges)} were expected.")
        low, high = (np.array(side, dtype=np.float64) for side in zip(*self.ranges, strict=True))
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = (values.astype(np.float64) - low) * (255 / (high - low))
        return np.nan_to_num(np.round(np.clip(scaled, 0, 255)), nan=0.0).astype(np.uint8)

    def describe(self) -> str:
        """Return what was decided, for people."""
        if not self.ranges:
            return "8 bit, as they are"
        shown = ", ".join(f"{low:g} to {high:g}" for low, high in self.ranges)
        return f"{shown} become 0 to 255"

    def dump(self) -> list[list[float]]:
        """Return the ranges as JSON has them."""
        return [list(each) for each in self.ranges]

    @classmethod
    def load(cls, content: Any) -> Intensities:
        """Read what ``dump`` returned.

        Raises:
            ValueError: it is something else.
        """
        try:
            ranges = tuple((float(low), float(high)) for low, high in content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"intensities must be a list of [low, high], got {content!r}.") from error
        if not all(low < high for low, high in ranges):
            raise ValueError(f"intensities must have low below high, got {content!r}.")
        return cls(ranges)


@dataclass(frozen=True)
class IntensitySample:
    """What one image says about its data set's intensities.

    Args:
        kind: 8-bit, 16-bit, float, ...
        samples: (S, C) some of its finite values, evenly spread.
        bad: number of values that are infinite or not a number.
    """

    kind: str
    samples: Values
    bad: int = 0


def kind(values: Values) -> str:
    """Return the kind of numbers, for messages: 8-bit, 16-bit, float, ..."""
    return "float" if values.dtype.kind == "f" else f"{8 * values.dtype.itemsize}-bit"


def sample(values: Values, is_padding: npt.NDArray[np.bool_] | None = None) -> IntensitySample:
    """Take the sample of an image; it is a copy, so that the image's memory can be freed.

    Args:
        values: (H, W, C).
        is_padding: (H, W): pixels that were never measured and are left out.
    """
    if values.dtype == np.uint8:
        return IntensitySample("8-bit", values[:0, 0].copy())
    flat = values.reshape(-1, values.shape[2])
    if is_padding is not None and not is_padding.all():
        flat = flat[~is_padding.ravel()]
    is_finite = np.isfinite(flat).all(axis=1) if values.dtype.kind == "f" else np.ones(len(flat), dtype=bool)
    finite = flat[is_finite]
    return IntensitySample(kind(values), finite[:: max(1, len(finite) // SAMPLES)].copy(), int((~is_finite).sum()))


def padding(samples: Sequence[IntensitySample]) -> float | None:
    """Return the value that fills what was never measured, such as -2000 around a scan, or None.

    It is the lowest value of all, negative, of more than 1 % of the pixels, and lies below the rest by more than half
    of the rest's range.
    """
    pooled = np.concatenate([each.samples.ravel() for each in samples] or [np.zeros(0)])
    if not len(pooled) or pooled.dtype == np.uint8:
        return None
    lowest = float(pooled.min())
    is_lowest = pooled == lowest
    if lowest >= 0 or not _PADDING_SHARE < is_lowest.mean() < 1:
        return None
    low, high = np.percentile(pooled[~is_lowest].astype(np.float64), [LOW_PERCENT, HIGH_PERCENT])
    return lowest if low - lowest > (high - low) / 2 else None


def decide(samples: Sequence[IntensitySample], given: tuple[float, float] | None = None) -> Intensities:
    """Decide how a data set's values become 0 to 255.

    8-bit images are taken as they are. Others run from the 0.5 to the 99.5 percentile of the set, channel by channel.

    Args:
        samples: one an image.
        given: the range that the user wants.

    Raises:
        ValueError: some images have 8 bits and others have more; no image has a finite value.
    """
    if given is not None:
        return Intensities((given,))
    kinds = [each.kind for each in samples]
    if set(kinds) <= {"8-bit"}:
        return Intensities()
    if "8-bit" in kinds:
        counts = ", ".join(f"{kinds.count(name)} {name}" for name in sorted(set(kinds)))
        raise ValueError(f"images of several kinds: {counts}. Convert them to one kind, or give {OPTION}.")
    widths = {each.samples.shape[1] for each in samples}
    if len(widths) > 1:
        raise ValueError(f"images of {', '.join(map(str, sorted(widths)))} channels. Convert them to one kind.")
    step = max(1, sum(len(each.samples) for each in samples) // POOLED)
    pooled = np.concatenate([each.samples[::step] for each in samples])
    if not len(pooled):
        raise ValueError("no image has a finite value.")
    fill = padding(samples)
    if fill is not None:
        pooled = pooled[(pooled != fill).all(axis=1)]
    low, high = np.percentile(pooled.astype(np.float64), [LOW_PERCENT, HIGH_PERCENT], axis=0)
    flat = high <= low
    low, high = np.where(flat, pooled.min(axis=0), low), np.where(flat, pooled.max(axis=0), high)
    high = np.where(high <= low, low + 1, high)  # one value throughout: black
    return Intensities(tuple(zip(low.tolist(), high.tolist(), strict=True)))
