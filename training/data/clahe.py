"""Contrast-limited adaptive histogram equalization, which torchvision lacks.

Source: Zuiderveld, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV, 1994.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def clahe(image: Tensor, *, clip_limit: float = 4.0, tiles: int = 8) -> Tensor:
    """Equalize the brightness of an image tile by tile, blending between the tiles.

    Args:
        image: (C, H, W) uint8; with 3 channels their common brightness changes and the colours stay.
        clip_limit: a bin of a tile's histogram holds at most this many times the mean bin; the rest is spread.
        tiles: number of tiles a side; fewer if the image is smaller.

    Returns:
        (C, H, W) uint8.
    """
    pixels = image.numpy().astype(np.float32)
    height, width = pixels.shape[-2:]
    grey = np.clip(pixels.mean(axis=0), 0, 255).astype(np.uint8)
    down, right = min(tiles, height), min(tiles, width)
    row_edges = np.linspace(0, height, down + 1).astype(int)
    column_edges = np.linspace(0, width, right + 1).astype(int)
    curves = np.empty((down, right, 256), dtype=np.float32)
    for i in range(down):
        for j in range(right):
            tile = grey[row_edges[i] : row_edges[i + 1], column_edges[j] : column_edges[j + 1]]
            curves[i, j] = _curve(tile, clip_limit)
    top, bottom, fall = _between(height, down)
    left, far, slide = _between(width, right)
    fall, slide = fall[:, None], slide[None, :]
    upper = curves[top[:, None], left, grey] * (1 - slide) + curves[top[:, None], far, grey] * slide
    lower = curves[bottom[:, None], left, grey] * (1 - slide) + curves[bottom[:, None], far, grey] * slide
    change = upper * (1 - fall) + lower * fall - grey
    return torch.from_numpy(np.clip(pixels + change, 0, 255).astype(np.uint8))


def _curve(tile: np.ndarray, clip_limit: float) -> np.ndarray:
    histogram = np.bincount(tile.ravel(), minlength=256).astype(np.float32)
    limit = max(clip_limit * tile.size / 256, 1.0)
    clipped = np.minimum(histogram, limit)
    clipped += (histogram.sum() - clipped.sum()) / 256
    return np.cumsum(clipped) * (255 / tile.size)


def _between(length: int, tiles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each position the tile before it, the tile after it, and how far it is between their centres."""
    place = (np.arange(length) + 0.5) * tiles / length - 0.5
    before = np.floor(place).astype(int)
    share = (place - before).astype(np.float32)
    return np.clip(before, 0, tiles - 1), np.clip(before + 1, 0, tiles - 1), share
