"""Neighbourhood attention as a function: every pixel attends to the k x k pixels around it.

The window is centred where it fits and shifted inwards at the border (start = clamp(i - k // 2, 0, L - k)), never
padded. A window larger than the map is clamped to the map, side by side.

The backends torch and compiled are one opaque operation, ``lmnet::neighborhood_attention``, so that autograd,
torch.compile, the meta device and FLOP counters know it. Exported files hold plain operations instead
(``neighborhood_sliced.py``, or those of the backend gather where it is asked for), and load without this package.

Source: Hassani, Walton, Li, Li, Shi: Neighborhood Attention Transformer, 2023, arXiv 2204.07143, section 3; the border
and the layout (N, H, W, heads, head size) follow NATTEN.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lmnet.blocks.checks import check_choice, check_odd
from lmnet.blocks.neighborhood_backends import BACKENDS, asked_backend, run_backward, run_forward
from lmnet.blocks.neighborhood_compiled import build_for_training
from lmnet.blocks.neighborhood_gather import gather_attention
from lmnet.blocks.neighborhood_sliced import sliced_attention


@torch.library.custom_op("lmnet::neighborhood_attention", mutates_args=())
def _attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float, backend: str) -> Tensor:
    return run_forward(backend, query, key, value, window, scale)


@_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float, backend: str) -> Tensor:
    return query.new_empty(query.shape)


@torch.library.custom_op("lmnet::neighborhood_attention_backward", mutates_args=())
def _attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return run_backward(backend, grad, query, key, value, window, scale)


@_attention_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), query.new_empty(query.shape), query.new_empty(query.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    query, key, value, ctx.window, ctx.scale, ctx.backend = inputs
    ctx.save_for_backward(query, key, value)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.lmnet.neighborhood_attention_backward(
        grad, *ctx.saved_tensors, ctx.window, ctx.scale, ctx.backend
    )
    return *grads, None, None, None


_attention.register_autograd(_backward, setup_context=_setup_context)


def _product_flops(shape: tuple[int, ...], window: int) -> int:
    """Return the operations of one product of all pixels with their windows: 2 a multiply-accumulate, as torch counts.

    C * k * k multiply-accumulates a pixel.
    """
    n, height, width, heads, size = shape
    return 2 * n * height * width * heads * size * min(window, height) * min(window, width)


@register_flop_formula(torch.ops.lmnet.neighborhood_attention)
def _flops(query_shape: Any, key_shape: Any, value_shape: Any, window: int, *args: Any, **kwargs: Any) -> int:
    """Two products: scores and sums."""
    return 2 * _product_flops(query_shape, window)


@register_flop_formula(torch.ops.lmnet.neighborhood_attention_backward)
def _backward_flops(
    grad_shape: Any, query_shape: Any, key_shape: Any, value_shape: Any, window: int, *args: Any, **kwargs: Any
) -> int:
    """Five products: the scores again, the gradient of the weights, and those of query, key and value."""
    return 5 * _product_flops(query_shape, window)


def _check(query: Tensor, key: Tensor, value: Tensor, window: int, backend: str) -> None:
    where = "neighborhood_attention"
    check_odd(where, window=window)
    check_choice(where, BACKENDS, backend=backend)
    if query.ndim != 5:
        raise ValueError(
            f"{where}: query must be (N, H, W, heads, head size), got {tuple(query.shape)}. "
            "Split the channels: x.reshape(n, h, w, heads, -1)."
        )
    for name, x in (("key", key), ("value", value)):
        if x.shape != query.shape or x.dtype != query.dtype or x.device != query.device:
            raise ValueError(
                f"{where}: {name} must be like query, {tuple(query.shape)} {query.dtype} on {query.device}, got "
                f"{tuple(x.shape)} {x.dtype} on {x.device}. Cut all three from one qkv tensor."
            )


def neighborhood_attention(
    query: Tensor, key: Tensor, value: Tensor, window: int, *, scale: float | None = None, backend: str = "auto"
) -> Tensor:
    """Let every pixel attend to the ``window`` x ``window`` pixels around it.

    Args:
        query: (N, H, W, heads, head size); any strides. Half types are computed in float32 inside, except by gather.
        key: the same shape.
        value: the same shape.
        window: odd side of the window; clamped to the map where the map is smaller.
        scale: factor on the scores; None for 1 / sqrt(head size).
        backend: auto, torch, compiled or gather: see lmnet.blocks.neighborhood_backends. ``attention_backend``
            overrides it for whole nets.

    Returns:
        (N, H, W, heads, head size).

    Raises:
        ValueError: an even window, an unknown backend, or query, key and value that do not fit together.

    Example:
        >>> import torch
        >>> from lmnet.blocks import neighborhood_attention
        >>> query, key, value = torch.randn(1, 28, 28, 3 * 4, 16).chunk(3, dim=3)  # 4 heads of 16
        >>> neighborhood_attention(query, key, value, 7).shape
        torch.Size([1, 28, 28, 4, 16])
    """
    _check(query, key, value, window, backend)
    if scale is None:
        scale = query.shape[-1] ** -0.5
    backend = asked_backend(backend)
    if backend == "gather":
        return gather_attention(query, key, value, window, scale)
    if torch.compiler.is_exporting():
        return sliced_attention(query, key, value, window, scale)
    if backend == "auto" and not torch.compiler.is_compiling():
        build_for_training(query)
    out: Tensor = _attention(query, key, value, window, scale, backend)
    return out
