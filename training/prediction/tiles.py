"""A large image as overlapping tiles, and the tiles' class shares as those of the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lmnet.training.data.case_set import Pixels
from lmnet.training.prediction.inference import at_own_size

Box = tuple[int, int, int, int]
"""Top, left, bottom and right of a tile, in pixels of the image."""


def tile_boxes(height: int, width: int, side: int) -> list[Box]:
    """Return tiles that cover an image, row by row; neighbours share at least a quarter of a tile.

    Args:
        height: the image's height in pixels.
        width: the image's width in pixels.
        side: side of a tile in pixels; 0 for one tile, the whole image. A tile is no larger than the image.
    """
    if side == 0:
        return [(0, 0, height, width)]
    rows, columns = _starts(height, side), _starts(width, side)
    return [(top, left, min(top + side, height), min(left + side, width)) for top in rows for left in columns]


def cut(image: Pixels, boxes: Sequence[Box]) -> list[Pixels]:
    """Return the tiles of an (H, W, C) image."""
    return [image[top:bottom, left:right] for top, left, bottom, right in boxes]


def joined(shares: Tensor, boxes: Sequence[Box], height: int, width: int) -> Tensor:
    """Return an image's class shares from those of its tiles, (K, height, width) float32.

    Where tiles overlap, a tile counts less towards its border.

    Args:
        shares: (tiles, K, S, S).
        boxes: where each tile is from.
        height: the image's height in pixels.
        width: the image's width in pixels.
    """
    total = torch.zeros(shares.shape[1], height, width)
    weight = torch.zeros(height, width)
    for share, (top, left, bottom, right) in zip(shares, boxes, strict=True):
        size = (bottom - top, right - left)
        window = _ramp(size[0])[:, None] * _ramp(size[1])
        total[:, top:bottom, left:right] += at_own_size(share, *size) * window
        weight[top:bottom, left:right] += window
    return total / weight


def _starts(length: int, side: int) -> list[int]:
    """Return where tiles begin along one axis: evenly, the last one at the end."""
    if side >= length:
        return [0]
    count = -(-(length - side) // (side - side // 4)) + 1
    return [round(index * (length - side) / (count - 1)) for index in range(count)]


def _ramp(length: int) -> Tensor:
    """Return weights that rise from the border to the middle and are nowhere 0."""
    steps = torch.arange(length, dtype=torch.float32)
    return torch.minimum(steps, length - 1 - steps) + 1
