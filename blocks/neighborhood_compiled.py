"""The compiled neighbourhood attention: calls neighborhood_kernel.cpp."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from lmnet.blocks.cpu_kernels import can_build, load_library
from lmnet.blocks.neighborhood_planar import planar_attention, planar_attention_backward

_is_default: bool | None = None
"""Whether the backend ``auto`` uses the kernel; None until it was asked for, or until the first training step."""


def build_attention_kernel() -> bool:
    """Build and load the compiled neighbourhood attention; from then on the backend ``auto`` uses it on CPU.

    Returns:
        Whether the kernel can be used. If not, the reason is logged (once) and attention runs in pure PyTorch.
    """
    global _is_default
    _is_default = load_kernel() is not None
    return _is_default


def is_kernel_default() -> bool:
    """Say whether ``build_attention_kernel`` has succeeded in this process."""
    return bool(_is_default)


def build_for_training(query: Tensor) -> None:
    """Build the kernel if this is the first training step of the process that can use it, and nobody decided before."""
    global _is_default
    if _is_default is None and query.requires_grad and torch.is_grad_enabled() and can_compute(query):
        _is_default = can_build() and load_kernel() is not None


def can_compute(query: Tensor) -> bool:
    """Say whether the kernel takes this device and type: float32 on CPU, and the half types through it."""
    return query.device.type == "cpu" and query.dtype in (torch.float32, torch.bfloat16, torch.float16)


@cache
def load_kernel() -> ctypes.CDLL | None:
    """Build and load the kernel, once a process; None, and a line in the log, where that fails."""
    kernel = load_library("neighborhood_kernel.cpp", "neighborhood_attention")
    if kernel is None:
        return None
    pointer, integer, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    kernel.lmnet_attention.argtypes = [pointer] * 8 + [integer, real, integer]
    kernel.lmnet_attention_backward.argtypes = [pointer] * 12 + [integer, real, integer]
    kernel.lmnet_attention.restype = kernel.lmnet_attention_backward.restype = None
    return kernel


def compiled_attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Return the attention (N, H, W, heads, head size), contiguous, or that of pure PyTorch where no kernel loads."""
    kernel = load_kernel()
    if kernel is None:
        return planar_attention(query, key, value, window, scale)
    maps = [x.detach().float() for x in (query, key, value)]
    out = torch.empty(query.shape)
    kernel.lmnet_attention(*_inputs(maps), out.data_ptr(), *_settings(query, window, scale))
    return out.to(query.dtype)


def compiled_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value for the gradient of the attention."""
    kernel = load_kernel()
    if kernel is None:
        return planar_attention_backward(grad, query, key, value, window, scale)
    maps = [x.detach().float() for x in (grad, query, key, value)]
    grads = torch.empty(query.shape), torch.zeros(query.shape), torch.zeros(query.shape)
    addresses = [x.data_ptr() for x in grads]
    kernel.lmnet_attention_backward(*_inputs(maps), *addresses, *_settings(query, window, scale))
    return grads[0].to(query.dtype), grads[1].to(query.dtype), grads[2].to(query.dtype)


def _inputs(maps: list[Tensor]) -> list[object]:
    """Return address and strides of each map in turn."""
    return [part for x in maps for part in (x.data_ptr(), (ctypes.c_int64 * 5)(*x.stride()))]


def _settings(query: Tensor, window: int, scale: float) -> tuple[object, ...]:
    return (ctypes.c_int64 * 5)(*query.shape), window, scale, torch.get_num_threads()
