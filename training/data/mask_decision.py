"""Deciding what a data set's masks mean, once, from all its files; what can be read in two ways is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lmnet.training.data.classes import Color
from lmnet.training.data.mask_values import (
    NONZERO,
    SHOWN,
    THRESHOLD,
    WHOLE_WITHIN,
    MaskOptions,
    MaskSample,
    MaskValues,
    pack,
    show_color,
    unpack,
)


@dataclass(frozen=True)
class DecidedMasks:
    """What masks meant when a net was trained.

    Args:
        values: which value was which class.
        names: the classes' names, background first.
    """

    values: MaskValues
    names: tuple[str, ...]


_DARK, _BRIGHT = 32, 223
_EDGE_SHARE = 0.1
"""In masks with grey edges, at most this share of all pixels is neither dark nor bright."""


def decide(
    samples: Sequence[MaskSample],
    options: MaskOptions,
    num_classes: int | None,
    labels: Mapping[str, int] | None = None,
    known: DecidedMasks | None = None,
) -> MaskValues:
    """Decide what a data set's masks mean.

    Args:
        samples: one a file.
        options: what the user says.
        num_classes: number of the model's classes; None if there is no model yet.
        labels: names and values that the data set itself gives; "ignore" is a value that belongs to no class.
        known: what was decided when the net was trained; used unless ``options`` say something else.

    Raises:
        ValueError: the values can be read in two ways or in none; with the values found and the option that settles it.
    """
    if any(each.alpha for each in samples):
        count = sum(each.alpha for each in samples)
        raise ValueError(
            f"masks: in {count} of {len(samples)} files the shape is in the alpha channel alone. Save it as a grey "
            "image: 0 for background, 255 for lesion."
        )
    if options.colors:
        return MaskValues("colors", colors=options.colors)
    values: Counter[float] = Counter()
    colors: Counter[int] = Counter()
    for each in samples:
        values.update(each.values)
        colors.update(each.colors)
    if options.values == NONZERO:
        return MaskValues(NONZERO, (0, 1), ignore=options.ignore)
    if known is not None and not options.values:
        return _as_known(known, values, colors, samples, options, labels)
    if colors:
        return _decide_colors(colors, values, samples, options)
    palette = next((each.palette for each in samples if each.palette), ())
    if options.values:
        assert not isinstance(options.values, str)
        return _given(values, tuple(options.values), options.ignore, palette)
    if labels:
        ignore = next((float(value) for name, value in labels.items() if name.lower() == "ignore"), options.ignore)
        named = sorted(value for name, value in labels.items() if name.lower() != "ignore")
        return _given(values, tuple(map(float, named)), ignore, palette)
    if any(each.is_lossy for each in samples):
        return _decide_grey(values, samples)
    return _decide_values(values, samples, options, num_classes, palette)


def _as_known(
    known: DecidedMasks,
    values: Counter[float],
    colors: Counter[int],
    samples: Sequence[MaskSample],
    options: MaskOptions,
    labels: Mapping[str, int] | None,
) -> MaskValues:
    """Read masks as those that the net was trained on.

    Where the values do not fit, masks of two classes, or of 0, 1, 2, ... in training, may be written in another usual
    way that can be read in one way only.
    """
    decided, names = known.values, known.names
    if options.ignore is not None:
        decided = replace(decided, ignore=options.ignore)
    is_more = any(each.has_more for each in samples)
    fits = decided.fits(values, colors) and not (is_more and decided.kind in ("values", "colors"))
    if fits and decided.kind != "threshold":
        return decided
    is_usual = decided.values == tuple(range(len(names))) if len(names) > 2 else decided.values[0] < decided.values[1]
    if is_usual and decided.kind != "colors":
        try:
            anew = decide(samples, options, len(names), labels)
            if len(names) == 2 or anew.values == decided.values:
                return anew
        except ValueError:
            if fits and min(values, default=0) < _DARK and max(values, default=0) > _BRIGHT:
                return decided
    found = _list(values) if values else " ".join(show_color(color) for color, _ in colors.most_common(SHOWN))
    raise ValueError(
        f"masks: their values are {found}{' and more' if is_more else ''}, and the net was trained with "
        f"{decided.describe(names)}. Give the value of each class in this order ({', '.join(names)}): --mask-values "
        f"V,V,... or --mask-colors."
    )


def _given(
    found: Counter[float], values: tuple[float, ...], ignore: float | None, palette: tuple[Color, ...]
) -> MaskValues:
    values = tuple(float(round(each)) if abs(each - round(each)) < WHOLE_WITHIN else each for each in values)
    unknown = sorted(set(found) - set(values) - {ignore})
    if unknown:
        raise ValueError(
            f"masks: their values are {_list(found)}, and {_list(unknown)} "
            f"{'is' if len(unknown) == 1 else 'are'} no class. Give every value: --mask-values 0,1,... and "
            "--ignore-value."
        )
    return MaskValues("values", values, _class_colors(palette, values), ignore)


def _decide_values(
    values: Counter[float],
    samples: Sequence[MaskSample],
    options: MaskOptions,
    num_classes: int | None,
    palette: tuple[Color, ...],
) -> MaskValues:
    found = set(values) - ({options.ignore} if options.ignore is not None else set())
    is_more = any(each.has_more for each in samples)
    if not is_more and found <= {0, 255} and options.ignore != 255:
        return MaskValues(ignore=options.ignore)
    whole = all(float(value).is_integer() and value >= 0 for value in found)
    classes = num_classes or 2
    ignore = options.ignore
    if whole and not is_more and ignore is None and 255 in found and max(found - {255}) < classes:
        ignore = 255.0
        found -= {255}
    if whole and not is_more and found and max(found) < classes:
        numbers = tuple(float(number) for number in range(classes))
        return MaskValues("values", numbers, _class_colors(palette, numbers), ignore)
    total = sum(values.values())
    middle = sum(count for value, count in values.items() if _DARK <= value <= _BRIGHT)
    ends = min(values, default=0) < _DARK and 255 >= max(values, default=0) > _BRIGHT
    if whole and ends and len(values) > 3 and middle <= _EDGE_SHARE * total and ignore is None and not palette:
        return MaskValues("threshold", (0, 255))
    raise ValueError(_advice(values, is_more, classes, whole))


def _advice(values: Counter[float], is_more: bool, classes: int, whole: bool) -> str:
    """Say what was found, what it could mean, and which option says so."""
    shown = f"masks: their values are {_list(values)}{' and more' if is_more else ''}"
    numbers = sorted(values)
    if len(numbers) == 2 and not is_more:
        return (
            f"{shown}. If {numbers[0]:g} is background and {numbers[1]:g} the lesion, give --mask-values "
            f"{numbers[0]:g},{numbers[1]:g}."
        )
    if not whole or is_more or len(numbers) > SHOWN:
        return (
            f"{shown}. If 0 is background and every other value lesion, give --mask-values nonzero; else save the "
            "masks as class numbers 0, 1, 2, ..."
        )
    given = ",".join(f"{number:g}" for number in numbers)
    return (
        f"{shown}, and the net has {classes} classes. If each value is a class, give --mask-values {given} and a net "
        f"with {len(numbers)} classes; if a value is to be left out, --ignore-value {numbers[-1]:g}; if each object "
        "has a value of its own and all are lesion, --mask-values nonzero."
    )


def _decide_grey(values: Counter[float], samples: Sequence[MaskSample]) -> MaskValues:
    """JPEG masks: near 0 and near 255, cut between."""
    total = sum(values.values())
    middle = sum(count for value, count in values.items() if _DARK <= value <= _BRIGHT)
    if max(values) > 255 or middle > _EDGE_SHARE * total or (max(values) > _DARK and max(values) <= THRESHOLD):
        common = [value for value, _ in values.most_common(SHOWN)]
        raise ValueError(
            f"masks: JPEG files whose values lie between black and white (most often {_list(common)}). JPEG blurs "
            "values: save the masks as PNG, or give --mask-values nonzero if everything above 0 is lesion."
        )
    return MaskValues("threshold", (0, 255))


def _decide_colors(
    colors: Counter[int], values: Counter[float], samples: Sequence[MaskSample], options: MaskOptions
) -> MaskValues:
    found = Counter(colors)
    for value, count in values.items():
        if 0 <= value <= 255:
            found[pack((int(value),) * 3)] += count
    black = pack((0, 0, 0))
    is_more = any(each.has_more for each in samples)
    if len(found) == 2 and black in found and not is_more:
        other = next(color for color in found if color != black)
        return MaskValues("colors", colors=((0, 0, 0), unpack(other)))
    common = [color for color, _ in found.most_common(SHOWN)]
    listed = " ".join(show_color(color) for color in sorted(common, key=lambda color: color != black))
    lossy = " JPEG blurs colours: save the masks as PNG." if any(each.is_lossy for each in samples) else ""
    raise ValueError(
        f"masks: they have {len(found)}{' or more' if is_more else ''} colours, most often {listed}.{lossy} "
        f"Say which colour is which class, background first: --mask-colors {listed.replace(' ', ',')}."
    )


def _class_colors(palette: tuple[Color, ...], values: Sequence[float]) -> tuple[Color, ...]:
    """The palette's colours of the classes, if they differ."""
    colors = tuple(palette[int(value)] for value in values if value < len(palette))
    return colors if len(colors) == len(values) and len(set(colors)) == len(colors) else ()


def _list(values: Iterable[float]) -> str:
    shown = sorted(values)
    text = ", ".join(f"{value:g}" for value in shown[:SHOWN])
    return f"{text}, ... ({len(shown)} in all)" if len(shown) > SHOWN else text
