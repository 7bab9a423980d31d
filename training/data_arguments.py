"""The options of the command lines that choose data, its split, and what its values mean."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmnet.training.runs.train_run import DataChoice


def add_data_options(
    parser: argparse.ArgumentParser, *, data: str | None = "synthetic", shown: str = "synthetic"
) -> None:
    """Add the options that choose data and split.

    Args:
        parser: gets them.
        data: the default of ``--data``; None to leave that option out.
        shown: what the help says it is.
    """
    kinds = "folder of images and masks, a .csv or .json list of them, or synthetic"
    if data is not None:
        parser.add_argument("--data", default=data, help=f"{kinds} (default: {shown})")
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of weights, split and order (default: %(default)s)"
    )
    parser.add_argument("--split-file", metavar="FILE", help='JSON: {"train": [...], "val": [...], "test": [...]}')
    parser.add_argument(
        "--split-scheme",
        choices=("holdout", "authors"),
        default="holdout",
        help="80/10/10 %%, or the authors' 10 %% test and 5 folds (default: %(default)s)",
    )
    parser.add_argument("--fold", type=int, default=0, help="0 to 4, for --split-scheme authors")
    parser.add_argument(
        "--split-by",
        choices=("patient", "image"),
        default="patient",
        help="patient: all images of a patient on one side; image: split images freely, as the authors did, which "
        "inflates scores (default: %(default)s)",
    )
    parser.add_argument(
        "--group-from", type=_pattern, default="", metavar="REGEX",
        help="patient or video in each image's name: what this regular expression matches, or its first group, such as "
        "'^(.*)_frame' (default: folders, or each image)",
    )  # fmt: skip
    masks = parser.add_argument_group("what the values of masks mean (only if the command asks for it)")
    masks.add_argument(
        "--mask-values", type=_values, default=(), metavar="V,V,...",
        help="value of each class, background first, such as 0,100; or nonzero: all but 0 is lesion",
    )  # fmt: skip
    masks.add_argument(
        "--mask-colors", type=_colors, default=(), metavar="#RRGGBB,...",
        help="colour of each class, background first, such as #000000,#ff0000",
    )  # fmt: skip
    masks.add_argument(
        "--ignore-value", type=float, metavar="V", help="value of pixels that belong to no class and do not count"
    )
    add_class_names_option(masks)
    add_intensity_option(parser)


def add_class_names_option(parser: argparse._ActionsContainer) -> None:
    """Add the option that names the classes."""
    parser.add_argument(
        "--class-names", type=_names, default=(), metavar="NAME,...", help="names of the classes, background first"
    )


def add_intensity_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which values of images become 0 and 255."""
    parser.add_argument(
        "--intensity-range", type=_range, metavar="LOW,HIGH",
        help="values of images that become 0 and 255, such as -160,240 for soft tissue in CT (default: 8-bit images as "
        "they are, others from the 0.5 to the 99.5 percentile of the data set)",
    )  # fmt: skip


def data_choice(args: argparse.Namespace) -> DataChoice:
    """Return the data that the options choose."""
    from lmnet.training.runs.train_run import DataChoice

    return DataChoice(
        path=args.data,
        scheme=args.split_scheme,
        fold=args.fold,
        by_group=args.split_by == "patient",
        split_file=args.split_file,
        options=value_options(args),
    )


def value_options(args: argparse.Namespace) -> Any:
    """Return what the options say about values; a command without masks has the intensities alone."""
    from lmnet.training.data.mask_values import MaskOptions
    from lmnet.training.data.meaning import DataOptions

    given = vars(args)
    masks = MaskOptions(given.get("mask_values", ()), given.get("mask_colors", ()), given.get("ignore_value"))
    return DataOptions(masks, args.intensity_range, given.get("class_names", ()), given.get("group_from", ""))


def check_model_exists(model: str, *, weights: str | None = None, needs_weights: bool = True) -> None:
    """Check quickly, before torch is imported, that a MODEL is there, see ``lmnet.builder.find_model``.

    Args:
        model: run folder, saved folder, search's folder, zoo name, exported file or spec.
        weights: value of ``--weights``.
        needs_weights: whether a spec alone is refused.

    Raises:
        SpecError: there is no such name or file.
        ValueError: it is no model, or has no weights.
    """
    from lmnet.builder.find_model import FOLDS_FILE, find_model, with_weights

    if needs_weights and weights is None and (Path(model) / FOLDS_FILE).is_file():
        return  # the nets of a cross-validation, see ``open_model``
    found = find_model(model, weights=weights)
    if needs_weights:
        with_weights(found)


def check_paths(data: str, *files: str | None, weights: str | None = None) -> None:
    """Check quickly, before torch is imported, that what is named is there.

    Raises:
        ValueError: a path leads nowhere.
    """
    from lmnet.builder.find_model import weights_file

    if weights is not None:
        weights_file(weights)
    for path in (data if data != "synthetic" else None, *files):
        if path and not Path(path).exists():
            raise ValueError(f"{path}: there is no such file or folder. Check the path.")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression ({error}).") from None
    return text


def _values(text: str) -> tuple[float, ...] | str:
    if text == "nonzero":
        return text
    values = _numbers(text)
    if len(values) < 2 or len(set(values)) != len(values):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of two or more different values such as 0,255.")
    return values


def _colors(text: str) -> tuple[tuple[int, int, int], ...]:
    colors = []
    for part in text.split(","):
        digits = part.strip().removeprefix("#")
        try:
            red, green, blue = bytes.fromhex(digits)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r} is no colour such as #ff0000.") from None
        colors.append((red, green, blue))
    if len(colors) < 2 or len(set(colors)) != len(colors):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of two or more different colours.")
    return tuple(colors)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _range(text: str) -> tuple[float, float]:
    values = _numbers(text)
    if len(values) != 2 or not values[0] < values[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is no range LOW,HIGH such as 0,4095.")
    return values[0], values[1]


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0,255.") from None
