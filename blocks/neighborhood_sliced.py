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
    (above, below), (left, right) = ((side // 2, side - 1 - side // 2) for side in sides)
    for row in range(sides[0]):
        for column in range(sides[1]):
            part = x[..., _from(row, sides[0]), _from(column, sides[1])]
            yield F.pad(part, (left, right, above, below, 0, 0), mode="replicate")


def _from(place: int, side: int) -> slice:
    """Return the rows of the keys that stand at a place in windows that slide."""
    after = side - 1 - place
    return slice(place, -after or None)
