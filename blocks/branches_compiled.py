"""The compiled sum of depthwise branches with their batch norms, for training on a CPU: calls branches_kernel.cpp."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lmnet.blocks.cpu_kernels import can_build, load_library

LANES = 8
"""The kernel works on so many channels at a time and needs as many."""

_is_default: bool | None = None
"""Whether multi_branch and multi_kernel train with the kernel; None until it was asked for or could first be used."""


def build_branch_kernel() -> bool:
    """Build and load the compiled branches; from then on multi_branch and multi_kernel train with them on a CPU.

    They keep one map for the backward pass instead of one a branch, and are faster: ``benchmarks/training_step.py``.
    Results are those of pure PyTorch up to rounding.

    Returns:
        Whether the kernel can be used. If not, the reason is logged (once) and training runs in pure PyTorch.
    """
    global _is_default
    _is_default = load_kernel() is not None
    return _is_default


@contextmanager
def branch_kernel(is_used: bool) -> Iterator[None]:
    """Inside, train with the compiled branches where they are built, or without them."""
    global _is_default
    before, _is_default = _is_default, is_used and load_kernel() is not None
    try:
        yield
    finally:
        _is_default = before


@cache
def load_kernel() -> ctypes.CDLL | None:
    """Build and load the kernel, once a process; None, and a line in the log, where that fails."""
    kernel = load_library("branches_kernel.cpp", "multi_branch")
    if kernel is None:
        return None
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    kernel.lmnet_branch_statistics.argtypes = [pointer] * 2 + [integer] + [pointer] * 4 + [integer]
    kernel.lmnet_depthwise.argtypes = [pointer] * 6 + [integer]
    kernel.lmnet_branch_sums.argtypes = [pointer] * 3 + [integer] + [pointer] * 5 + [integer]
    kernel.lmnet_branch_gradients.argtypes = [pointer] * 3 + [integer] + [pointer] * 7 + [integer]
    number = ctypes.c_double
    kernel.lmnet_gated_sum.argtypes = [pointer] * 2 + [integer] + [pointer] * 4 + [number, pointer, integer]
    kernel.lmnet_gated_sums.argtypes = [pointer] * 3 + [integer] + [pointer] * 5 + [number] + [pointer] * 2 + [integer]
    kernel.lmnet_gated_gradients.argtypes = (
        [pointer] * 3 + [integer] + [pointer] * 6 + [number] + [pointer] * 2 + [integer]
    )
    for name in ("branch_statistics", "depthwise", "branch_sums", "branch_gradients"):
        getattr(kernel, f"lmnet_{name}").restype = None
    for name in ("gated_sum", "gated_sums", "gated_gradients"):
        getattr(kernel, f"lmnet_{name}").restype = None
    return kernel


def can_compute(x: Tensor, convs: Sequence[nn.Conv2d], norms: Sequence[nn.Module]) -> bool:
    """Say whether the kernel takes a map and is built: float32 on a CPU, channels last, plain batch norms.

    The first map that it takes builds it, unless somebody decided before.
    """
    return (
        _is_default is not False
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[1] >= LANES
        and x.numel() > x.shape[1]  # batch norm needs more than one value a channel, and says so itself
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and all(conv.weight.dtype == torch.float32 for conv in convs)
        and all(
            type(norm) is nn.BatchNorm2d
            and norm.training  # frozen norms use their running statistics
            and norm.affine
            and norm.track_running_stats
            and norm.momentum is not None
            for norm in norms
        )
        and _is_built()
    )


def _is_built() -> bool:
    global _is_default
    if _is_default is None:
        _is_default = can_build() and load_kernel() is not None
    return _is_default


CEILINGS: dict[type[nn.Module], float] = {nn.ReLU: math.inf, nn.ReLU6: 6.0}
"""Activations that the kernel computes, behind each branch, and their largest value."""


def sum_of_branches(
    x: Tensor, convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d], *, act: nn.Module | None = None
) -> Tensor:
    """Return the sum over branches of act(norm(conv(x))) in training mode, and update the norms' running statistics.

    Args:
        x: (N, C, H, W), as ``can_compute`` wants it.
        convs: depthwise, without bias, padded to keep the size.
        norms: one a convolution.
        act: activation of each branch, one of ``CEILINGS``; None for none.
    """
    weights = [conv.weight for conv in convs]
    with torch.no_grad():
        mean, var = _statistics(x, weights)
        count = x.numel() // x.shape[1]
        for norm, one_mean, one_var in zip(norms, mean.float(), var.float() * (count / (count - 1)), strict=True):
            assert norm.momentum is not None
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(one_mean, norm.momentum)
            norm.running_var.lerp_(one_var, norm.momentum)
        eps = torch.tensor([norm.eps for norm in norms], dtype=torch.float64)
        inverse = (var + eps[:, None]).rsqrt()
    scale, shift = (torch.stack([getattr(norm, name) for norm in norms]) for name in ("weight", "bias"))
    ceiling = None if act is None else CEILINGS[type(act)]
    out: Tensor = _SumOfBranches.apply(x, scale, shift, mean, inverse, ceiling, *weights)
    return out


class _SumOfBranches(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        mean: Tensor,
        inverse: Tensor,
        ceiling: float | None,
        *weights: Tensor,
    ) -> Tensor:
        factor = scale.double() * inverse
        plus = shift.double() - factor * mean
        ctx.save_for_backward(x, scale, mean, inverse, plus, *weights)
        ctx.ceiling = ceiling
        if ceiling is not None:
            return _gated_sum(x, weights, factor.float(), plus.float(), ceiling)
        sides = [max(weight.shape[dim] for weight in weights) for dim in (2, 3)]
        merged = sum(
            one[:, None, None, None] * _padded(weight, sides) for one, weight in zip(factor, weights, strict=True)
        )
        assert isinstance(merged, Tensor)
        return _depthwise(x, merged.float().contiguous(), plus.sum(0).float())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, mean, inverse, plus, *weights = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        by_grad = scale.double() * inverse
        gate = None if ctx.ceiling is None else _Gate(by_grad.float(), plus.float(), ctx.ceiling)
        of_grad, of_product = _sums(x, grad, weights, mean.float(), gate)
        count = x.numel() // x.shape[1]
        by_map = -by_grad * inverse.square() * of_product / count
        constant = -by_grad * of_grad / count - by_map * mean
        of_input, of_weights = _gradients(x, grad, weights, by_grad.float(), constant.float(), by_map.float(), gate)
        of_scale, of_shift = (inverse * of_product).float(), of_grad.float().expand_as(scale)
        return of_input, of_scale, of_shift, None, None, None, *of_weights


@dataclass(frozen=True)
class _Gate:
    """What is behind each branch's convolution: min(max(factor * map + plus, 0), ceiling); both (branches, C)."""

    factor: Tensor
    plus: Tensor
    ceiling: float


def _padded(weight: Tensor, sides: Sequence[int]) -> Tensor:
    above, left = (sides[0] - weight.shape[2]) // 2, (sides[1] - weight.shape[3]) // 2
    return F.pad(weight.double(), (left, left, above, above))


def _shape(x: Tensor) -> Any:
    n, channels, height, width = x.shape
    return (ctypes.c_int64 * 4)(n, height, width, channels)


def _weights(weights: Sequence[Tensor]) -> tuple[list[Tensor], Any, Any]:
    """Return the tensors that must live during a call, their addresses, and their sides."""
    flat = [weight.detach().contiguous() for weight in weights]
    addresses = (ctypes.c_void_p * len(flat))(*(weight.data_ptr() for weight in flat))
    sides = (ctypes.c_int64 * (2 * len(flat)))(*(side for weight in flat for side in weight.shape[2:]))
    return flat, addresses, sides


def _kernel() -> ctypes.CDLL:
    kernel = load_kernel()
    assert kernel is not None  # ``can_compute`` was asked
    return kernel


def _statistics(x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each branch's map, (branches, C) float64."""
    mean, var = torch.empty(2, len(weights), x.shape[1], dtype=torch.float64).unbind()
    _flat, addresses, sides = _weights(weights)
    _kernel().lmnet_branch_statistics(
        x.data_ptr(),
        _shape(x),
        len(weights),
        addresses,
        sides,
        mean.data_ptr(),
        var.data_ptr(),
        torch.get_num_threads(),
    )
    return mean, var


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.channels_last)
    sides = (ctypes.c_int64 * 2)(*weight.shape[2:])
    _kernel().lmnet_depthwise(
        x.data_ptr(), _shape(x), weight.data_ptr(), sides, bias.data_ptr(), out.data_ptr(), torch.get_num_threads()
    )
    return out


def _gated_sum(x: Tensor, weights: Sequence[Tensor], factor: Tensor, plus: Tensor, ceiling: float) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.channels_last)
    _flat, addresses, sides = _weights(weights)
    _kernel().lmnet_gated_sum(
        x.data_ptr(), _shape(x), len(weights), addresses, sides, factor.data_ptr(), plus.data_ptr(), ceiling,
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def _sums(
    x: Tensor, grad: Tensor, weights: Sequence[Tensor], mean: Tensor, gate: _Gate | None
) -> tuple[Tensor, Tensor]:
    """Return the sums of the gradient, and of the gradient times each centred branch, (branches, C), float64.

    The first is (C) without a gate, (branches, C) with one: each branch then has a gradient of its own.
    """
    of_grad = torch.empty(mean.shape if gate else x.shape[1], dtype=torch.float64)
    of_product = torch.empty(len(weights), x.shape[1], dtype=torch.float64)
    _flat, addresses, sides = _weights(weights)
    given = (x.data_ptr(), grad.data_ptr(), _shape(x), len(weights), addresses, sides, mean.data_ptr())
    results = (of_grad.data_ptr(), of_product.data_ptr(), torch.get_num_threads())
    if gate is None:
        _kernel().lmnet_branch_sums(*given, *results)
    else:
        _kernel().lmnet_gated_sums(*given, gate.factor.data_ptr(), gate.plus.data_ptr(), gate.ceiling, *results)
    return of_grad, of_product


def _gradients(
    x: Tensor,
    grad: Tensor,
    weights: Sequence[Tensor],
    by_grad: Tensor,
    constant: Tensor,
    by_map: Tensor,
    gate: _Gate | None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradients of the input and of each weight."""
    of_input = torch.empty_like(x, memory_format=torch.channels_last)
    _flat, addresses, sides = _weights(weights)
    of_weights = [torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights]
    to = (ctypes.c_void_p * len(weights))(*(each.data_ptr() for each in of_weights))
    given = (
        x.data_ptr(), grad.data_ptr(), _shape(x), len(weights), addresses, sides, by_grad.data_ptr(),
        constant.data_ptr(), by_map.data_ptr(),
    )  # fmt: skip
    results = (of_input.data_ptr(), to, torch.get_num_threads())
    if gate is None:
        _kernel().lmnet_branch_gradients(*given, *results)
    else:
        _kernel().lmnet_gated_gradients(*given, gate.plus.data_ptr(), gate.ceiling, *results)
    return of_input, of_weights
