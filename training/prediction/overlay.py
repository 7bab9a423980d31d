"""An image with the predicted classes tinted and outlined, and the true outlines beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lmnet.training.data.classes import COLORS, IGNORED, Color

Pixels = npt.NDArray[np.uint8]

TRUE = (255, 255, 255)
_DARK = (0, 0, 0)
_TINT = 0.3


def overlay(
    image: Pixels,
    *,
    predicted: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer] | None = None,
    colors: Sequence[Color] = COLORS,
) -> Pixels:
    """Return the image with each predicted class tinted and outlined in its colour, and the true outlines in white.

    Args:
        image: (H, W, 3) uint8.
        predicted: (H, W) class of each pixel; 0 is background.
        truth: (H, W) true class of each pixel; None if it is not known.
        colors: colour of each class.
    """
    pixels = image.astype(np.float32)
    width = max(1, round(max(image.shape[:2]) / 256))
    for number in np.unique(predicted[predicted > 0]).tolist():
        color = visible(colors[number] if number < len(colors) else COLORS[1])
        here = predicted == number
        pixels[here] = (1 - _TINT) * pixels[here] + _TINT * np.array(color, dtype=np.float32)
        pixels[_outside(here, width)] = _DARK  # a dark rim, so that the outline shows on any ground
        pixels[_outline(here, width)] = color
    if truth is not None:
        for number in np.unique(truth[(truth > 0) & (truth != IGNORED)]).tolist():
            pixels[_outline(truth == number, width)] = TRUE
    return pixels.astype(np.uint8)


def visible(color: Color) -> Color:
    """Return a class's colour, or a bright one for colours too dark or too red to show on tissue."""
    red, green, blue = color
    return color if max(green, blue) > 160 and not red == green == blue else COLORS[1]


def shown(image: Pixels) -> Pixels:
    """Return an image of any number of channels as (H, W, 3): its first three, or the first one in grey."""
    return (
        image if image.shape[2] == 3 else image[..., :3] if image.shape[2] > 3 else np.repeat(image[..., :1], 3, axis=2)
    )


def _outline(mask: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    return np.asarray(mask & ~ndimage.binary_erosion(mask, iterations=width), dtype=bool)


def _outside(mask: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    return np.asarray(ndimage.binary_dilation(mask, iterations=width) & ~mask, dtype=bool)
