"""Outputs of common operations on the meta device, at once.

Torch's own meta kernels of these operations are Python and take up to a millisecond a call, most of the time that
counting a node's cost would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten

_ELEMENTWISE = frozenset(
    getattr(_aten, name)
    for name in (
        *("add", "sub", "rsub", "mul", "div", "neg", "reciprocal", "sqrt", "rsqrt", "exp", "pow", "clamp", "clamp_min"),
        *("relu", "leaky_relu", "elu", "gelu", "silu", "mish", "sigmoid", "tanh", "hardsigmoid", "hardswish"),
    )
)
_ELEMENTWISE_IN_PLACE = frozenset(
    getattr(_aten, name)
    for name in (
        *("add_", "sub_", "mul_", "div_", "zero_", "fill_", "normal_", "uniform_"),
        *("relu_", "leaky_relu_", "elu_", "silu_", "sigmoid_", "tanh_", "hardsigmoid_", "hardswish_"),
    )
)
_NORMS = frozenset((_aten.native_batch_norm, _aten._native_batch_norm_legit_no_training))


def quick_output(packet: Any, args: Sequence[Any]) -> Any:
    """Return what an operation gives for these float32 tensors on the meta device, or None if torch must be asked.

    Args:
        packet: the operation, as ``func._overloadpacket``.
        args: its positional arguments.
    """
    first = args[0] if args else None
    if not isinstance(first, Tensor) or not _is_plain(first) or any(isinstance(x, complex) for x in args):
        return None
    if packet in _ELEMENTWISE:
        others = [x for x in args[1:] if isinstance(x, Tensor)]
        if all(map(_is_plain, others)):
            shapes = {x.shape for x in (first, *others)}
            try:
                return first.new_empty(first.shape if len(shapes) == 1 else torch.broadcast_shapes(*shapes))
            except RuntimeError:
                return None  # torch says it with the sizes
    elif packet in _ELEMENTWISE_IN_PLACE:
        return first if all(x.shape == first.shape for x in args[1:] if isinstance(x, Tensor)) else None
    elif packet in _NORMS:
        return torch.empty_like(first), first.new_empty(0), first.new_empty(0)
    elif packet is _aten.upsample_bilinear2d and args[1] is not None and first.ndim == 4:
        return first.new_empty(*first.shape[:2], *args[1])
    elif packet is _aten.convolution and not args[6]:
        return _convolution(first, *args[1:])
    return None


class QuickMeta(TorchDispatchMode):
    """Inside it, ``quick_output`` answers if it can."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = quick_output(func._overloadpacket, args)
        return func(*args, **(kwargs or {})) if out is None else out


def _is_plain(x: Tensor) -> bool:
    return x.is_meta and x.dtype is torch.float32


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Any:
    kernel = weight.shape[2:]
    if len(kernel) != 2 or x.ndim != 4 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    size = [
        (side + 2 * pad - step * (width - 1) - 1) // jump + 1
        for side, pad, step, width, jump in zip(x.shape[2:], padding, dilation, kernel, stride, strict=False)
    ]
    return x.new_empty(x.shape[0], weight.shape[0], *size) if min(size) > 0 and len(stride) == 2 else None
