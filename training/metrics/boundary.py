"""How well a predicted outline follows the true one: HD95 and boundary IoU of one image.

Source: boundary IoU: Cheng et al., Boundary IoU, 2021, arXiv 2103.16562. HD95 as MONAI computes it: the larger of the
two directed 95th percentiles.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Binary = npt.NDArray[np.bool_]

DILATION_RATIO = 0.02
"""Width of the boundary band as a share of the image's diagonal (the source's value)."""


def hd95(predicted: Binary, mask: Binary) -> float:
    """Return the 95th percentile of the distances between two outlines, in pixels; nan if one mask or both are empty.

    Args:
        predicted: (H, W) bool.
        mask: (H, W) bool.
    """
    if not predicted.any() or not mask.any():
        return math.nan
    rows, columns = np.nonzero(predicted | mask)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    ours, theirs = _outline(predicted[box]), _outline(mask[box])
    there = ndimage.distance_transform_edt(~theirs)[ours]
    back = ndimage.distance_transform_edt(~ours)[theirs]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def boundary_iou(predicted: Binary, mask: Binary) -> float:
    """Return the IoU of the bands along the two outlines, on their inner sides; nan if both masks are empty.

    Args:
        predicted: (H, W) bool.
        mask: (H, W) bool.
    """
    width = max(1, round(DILATION_RATIO * math.hypot(*mask.shape)))
    ours, theirs = _band(predicted, width), _band(mask, width)
    union = int((ours | theirs).sum())
    return float((ours & theirs).sum() / union) if union else math.nan


def diagonal(predicted: Binary, mask: Binary) -> float:
    """Return the length of the image's diagonal in pixels: the distance that a missed lesion counts in ``hd95_mean``.

    Args:
        predicted: (H, W) bool.
        mask: (H, W) bool.
    """
    return math.hypot(*mask.shape)


def _outline(mask: Binary) -> Binary:
    return np.asarray(mask & ~ndimage.binary_erosion(mask), dtype=bool)


def _band(mask: Binary, width: int) -> Binary:
    """The pixels of the mask at most ``width`` (chessboard distance) from its outside, the image's border included."""
    padded = np.pad(mask, 1).astype(np.uint8)
    inner = ndimage.minimum_filter(padded, size=2 * width + 1, mode="constant", cval=0)[1:-1, 1:-1]
    return np.asarray(mask & (inner == 0), dtype=bool)
