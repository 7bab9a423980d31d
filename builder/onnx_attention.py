"""Neighbourhood attention in ONNX: slices, concatenations and elementwise operations, which runtimes run fast.

For each place in the window the keys and values are shifted as a whole, so that every pixel finds its neighbour at its
own place. At the border, where windows do not slide, the shifted map repeats the row or column that all of them share.
Nothing is gathered. All slices have constant ends, counted from the map's end where they must be, so the file takes
maps of any height and width that are no smaller than the window.

Source: Hassani, Walton, Li, Li, Shi: Neighborhood Attention Transformer, 2023, arXiv 2204.07143, section 3.
"""

from __future__ import annotations

from typing import Any

import onnx_ir
from onnxscript import opset18 as op

END = 2**63 - 1
"""ONNX's word for "to the end"."""


def attention(query: Any, key: Any, value: Any, window: int, scale: float, backend: str) -> Any:
    """Return the nodes of ``lmnet::neighborhood_attention``, which torch's exporter calls while it traces.

    Args:
        query: (N, H, W, heads, head size).
        key: the same shape.
        value: the same shape.
        window: odd side of the window.
        scale: factor on the scores.
        backend: not used.
    """
    factor = op.Constant(value=onnx_ir.tensor([scale], dtype=onnx_ir.DataType.FLOAT))
    queries, keys, values = (op.Transpose(x, perm=[0, 3, 4, 1, 2]) for x in (op.Mul(query, factor), key, value))
    depth = _constant([2])
    scores = [op.ReduceSum(op.Mul(queries, near), depth, keepdims=1) for near in _shifts(keys, window)]
    largest = op.Max(*scores)
    weights = [op.Exp(op.Sub(score, largest)) for score in scores]
    parts = [op.Mul(weight, near) for weight, near in zip(weights, _shifts(values, window), strict=True)]
    return op.Transpose(op.Div(op.Sum(*parts), op.Sum(*weights)), perm=[0, 3, 4, 1, 2])


def _shifts(x: Any, window: int) -> list[Any]:
    """Return maps (N, heads, head size, H, W): for each place in the window, row by row, every pixel's neighbour."""
    return [each for rows in _along(x, window, 3) for each in _along(rows, window, 4)]


def _along(x: Any, window: int, axis: int) -> list[Any]:
    """Return the map shifted along one side, once for each place in the window."""
    half, shifts = window // 2, []
    if window == 1:
        return [x]
    for place in range(window):
        after = window - 1 - place  # rows that follow the last one of the middle
        first = _slice(x, place, place + 1, axis)
        middle = _slice(x, place, -after if after else END, axis)
        last = _slice(x, -after - 1, -after if after else END, axis)
        shifts.append(op.Concat(*[first] * half, middle, *[last] * half, axis=axis))
    return shifts


def _slice(x: Any, start: int, end: int, axis: int) -> Any:
    return op.Slice(x, _constant([start]), _constant([end]), _constant([axis]))


def _constant(values: list[int]) -> Any:
    return op.Constant(value=onnx_ir.tensor(values, dtype=onnx_ir.DataType.INT64))
