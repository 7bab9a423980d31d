"""Neighbourhood attention as slices, borders and elementwise operations: what exported files hold.

For each place in the window the keys and values are shifted as a whole, so that every pixel finds its neighbour at its
own place. At the border, where windows do not slide, the shifted map repeats the row or column that all of them share.
Nothing is gathered, which runtimes are slow at. All slices have constant ends, counted from the map's end where they
must be, so a file takes maps of any height and width that are no smaller than the window.

Source: Hassani, Walton, Li, Li, Shi: Neighborhood Attention Transformer, 2023, arXiv 2204.07143, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor


def sliced_attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Return the attention (N, H, W, heads, head size); differentiable.

    Where torch knows the map's height and width, the window is clamped to them; else they must not be smaller.
    """
    _, height, width, _, size = query.shape
    sides = _clamped(window, height), _clamped(window, width)
    queries, keys, values = (x.permute(0, 3, 4, 1, 2) for x in (query * scale, key, value))  # (N, heads, size, H, W)
    products = (queries * near for near in _shifts(keys, sides))
    scores = [product if size == 1 else product.sum(2, keepdim=True) for product in products]
    largest = reduce(torch.maximum, scores)
    weights = [(score - largest).exp() for score in scores]
    terms = (weight * near for weight, near in zip(weights, _shifts(values, sides), strict=True))
    total = reduce(torch.add, terms)
    return (total / reduce(torch.add, weights)).permute(0, 3, 4, 1, 2)


def _clamped(window: int, length: int | torch.SymInt) -> int:
    return min(window, length) if isinstance(length, int) else window


def _shifts(x: Tensor, sides: tuple[int, int]) -> Iterator[Tensor]:
    """Return maps like ``x``: for each place in the window, row by row, every pixel's neighbour."""
    for rows in _along(x, sides[0], -2):
        yield from _along(rows, sides[1], -1)


def _along(x: Tensor, side: int, axis: int) -> Iterator[Tensor]:
    """Return the map shifted along one of its last two axes, once for each place in the window."""
    before, after = side // 2, side - 1 - side // 2
    border = (0, 0, before, after, 0, 0) if axis == -2 else (before, after, 0, 0, 0, 0)
    for place in range(side):
        following = side - 1 - place  # pixels behind the last one of the middle
        middle = slice(place, -following or None)
        yield F.pad(x[..., middle, :] if axis == -2 else x[..., middle], border, mode="replicate")
