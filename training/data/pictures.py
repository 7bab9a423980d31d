"""Reading one image or one mask from a file: JPEG, PNG, TIFF; 8 and 16 bit; RGB, RGBA, grey, palette, 1 bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
"""The file name endings that count as pictures, in lower case."""

THRESHOLD = 127
"""A grey mask's pixel is lesion when its value is above this (the authors' rule)."""

MAX_CLASS_INDEX = 31
"""A lossless mask whose values all lie in 0..31 holds class indices, not grey levels."""


@dataclass(frozen=True)
class Mask:
    """A mask as read.

    Args:
        classes: (H, W) uint8 class of each pixel, 0 is background.
        is_grey: the file held other values than 0 and 255, and was cut at ``THRESHOLD``.
        resized: names of further files that were brought to the first one's size.
    """

    classes: Pixels
    is_grey: bool = False
    resized: tuple[str, ...] = ()


def is_picture(path: Path) -> bool:
    """Return whether the file's name ends like a picture's and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path) -> Pixels:
    """Return the picture as (H, W, 3) uint8 RGB; 16-bit and float pictures are scaled to 8 bit.

    An alpha channel is dropped, grey is repeated. Values of a 16-bit picture are divided by 257; those of a 32-bit
    or float picture run from their smallest to their largest.

    Raises:
        ValueError: the file is no picture, is cut short, or cannot be opened.
    """
    with _opened(path) as picture:
        if picture.mode.startswith(("I", "F")):
            grey = _to_eight_bit(np.asarray(picture), is_16_bit=picture.mode.startswith("I;16"))
            return np.repeat(grey[:, :, None], 3, axis=2)
        if picture.mode == "P" and "transparency" in picture.info:
            picture = picture.convert("RGBA")
        return np.asarray(picture.convert("RGB"))


def read_mask(paths: Sequence[Path], *, resize_further: bool = False) -> Mask:
    """Return the mask of one image; several files are joined (a pixel has the largest class that any file gives it).

    A file's values are taken as they are where they are class indices (a lossless file with values 0 to 31, for
    example 0 and 1), else a pixel is class 1 above ``THRESHOLD``.

    Args:
        paths: the files.
        resize_further: bring further files to the first one's size instead of refusing them.

    Raises:
        ValueError: a file is no picture or is cut short, or the files differ in size.
    """
    masks = [_read_mask_file(path) for path in paths]
    joined = masks[0].classes.copy()
    resized = []
    for path, mask in zip(paths[1:], masks[1:], strict=True):
        classes = mask.classes
        if classes.shape != joined.shape:
            if not resize_further:
                raise ValueError(
                    f"the masks of one image must have one size, got {_size(joined)} and {path.name} {_size(classes)}."
                )
            resized.append(path.name)
            classes = np.asarray(Image.fromarray(classes).resize(joined.shape[::-1], Image.Resampling.NEAREST))
        np.maximum(joined, classes, out=joined)
    return Mask(joined, is_grey=any(mask.is_grey for mask in masks), resized=tuple(resized))


def _read_mask_file(path: Path) -> Mask:
    with _opened(path) as picture:
        is_lossy = picture.format == "JPEG"
        if picture.mode == "1":
            return Mask(np.asarray(picture).astype(np.uint8))
        if picture.mode == "P":
            indices = np.asarray(picture)
            grey = indices if indices.max(initial=0) <= MAX_CLASS_INDEX else np.asarray(picture.convert("L"))
        elif picture.mode.startswith(("I", "F")):
            values = np.asarray(picture)
            is_index = values.min(initial=0) >= 0 and values.max(initial=0) <= MAX_CLASS_INDEX
            grey = values.astype(np.uint8) if is_index else _to_eight_bit(values, picture.mode.startswith("I;16"))
        elif picture.mode in ("LA", "RGBA"):
            # Not convert("L") of the whole: a transparent mask still has its values in the colour channels.
            grey = np.asarray(picture.convert("RGB").convert("L"))
        else:
            grey = np.asarray(picture.convert("L"))
    if not is_lossy and grey.max(initial=0) <= MAX_CLASS_INDEX:
        return Mask(grey.copy())
    return Mask((grey > THRESHOLD).astype(np.uint8), is_grey=bool(((grey != 0) & (grey != 255)).any()))


def _opened(path: Path) -> Image.Image:
    """Open and decode, so that a truncated file fails here."""
    try:
        with path.open("rb") as file:
            picture = Image.open(file)
            picture.load()
    except UnidentifiedImageError:
        raise ValueError("the file must be a picture that Pillow can read.") from None
    except FileNotFoundError:
        raise ValueError("the file must exist.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture must be whole and readable, got error={str(error)!r}.") from error
    return picture


def _to_eight_bit(values: npt.NDArray[np.generic], is_16_bit: bool) -> Pixels:
    wide = values.astype(np.float64)
    if is_16_bit:
        return np.asarray(np.round(wide / 257), dtype=np.uint8)
    low, high = float(np.nanmin(wide)), float(np.nanmax(wide))
    if low >= 0 and 255 < high <= 65535 and np.issubdtype(values.dtype, np.integer):
        return np.asarray(np.round(wide / 257), dtype=np.uint8)  # Pillow opens some 16-bit PNG files as mode I
    return np.asarray(np.round((wide - low) * (255 / max(high - low, 1e-12))), dtype=np.uint8)


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
