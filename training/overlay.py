"""A picture with the predicted lesion tinted and outlined, and the true outline beside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lmnet.training.data.pictures import Pixels

PREDICTED = (255, 64, 160)
TRUE = (64, 255, 96)
_TINT = 0.3


def overlay(image: Pixels, *, predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_] | None = None) -> Pixels:
    """Return the picture with outlines: the prediction pink and tinted, the truth green.

    Args:
        image: (H, W, 3) uint8.
        predicted: (H, W) bool.
        truth: (H, W) bool; None where it is not known.
    """
    pixels = image.astype(np.float32)
    pixels[predicted] = (1 - _TINT) * pixels[predicted] + _TINT * np.array(PREDICTED, dtype=np.float32)
    width = max(1, round(max(image.shape[:2]) / 256))
    pixels[_outline(predicted, width)] = PREDICTED
    if truth is not None:
        pixels[_outline(truth, width)] = TRUE
    return pixels.astype(np.uint8)


def _outline(mask: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    return np.asarray(mask & ~ndimage.binary_erosion(mask, iterations=width), dtype=bool)
