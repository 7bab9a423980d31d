"""Neighbourhood attention as a function: every pixel attends to the k x k pixels around it.

The window is centred where it fits and shifted inwards at the border (start = clamp(i - k // 2, 0, L - k)), never
padded. A window larger than the map is clamped to the map, side by side.

Source: Hassani, Walton, Li, Li, Shi: Neighborhood Attention Transformer, 2023, arXiv 2204.07143, section 3; the border
and the layout (N, H, W, heads, head size) follow NATTEN.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


def window_indices(length: int, window: int, device: torch.device) -> Tensor:
    """Return (length, min(window, length)) int64: the positions that each position attends to along one side."""
    window = min(window, length)
    start = (torch.arange(length, device=device) - window // 2).clamp(min=0).clamp(max=length - window)
    return start[:, None] + torch.arange(window, device=device)


def gather_attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Neighbourhood attention by gathering every window: slow, plain tensor operations only.

    The oracle of all other paths, and what exported files contain.
    """
    n, height, width, heads, size = query.shape
    rows, columns = window_indices(height, window, query.device), window_indices(width, window, query.device)
    area = rows.shape[1] * columns.shape[1]

    def windows(x: Tensor) -> Tensor:
        gathered = x[:, rows][:, :, :, columns]  # (N, H, k, W, k, heads, head size)
        return gathered.permute(0, 1, 3, 5, 2, 4, 6).reshape(n, height, width, heads, area, size)

    scores = (query * scale).unsqueeze(-2) @ windows(key).transpose(-2, -1)  # (N, H, W, heads, 1, k * k)
    return (scores.softmax(dim=-1) @ windows(value)).squeeze(-2)


@torch.library.custom_op("lmnet::neighborhood_attention", mutates_args=())
def _attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    return gather_attention(query, key, value, window, scale).contiguous()


@_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    return query.new_empty(query.shape)


@torch.library.custom_op("lmnet::neighborhood_attention_backward", mutates_args=())
def _attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in (query, key, value)]
        out = gather_attention(leaves[0], leaves[1], leaves[2], window, scale)
        grads = torch.autograd.grad(out, leaves, grad)
    return grads[0].contiguous(), grads[1].contiguous(), grads[2].contiguous()


@_attention_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), query.new_empty(query.shape), query.new_empty(query.shape)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    query, key, value, ctx.window, ctx.scale = inputs
    ctx.save_for_backward(query, key, value)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    grads = torch.ops.lmnet.neighborhood_attention_backward(grad, *ctx.saved_tensors, ctx.window, ctx.scale)
    return *grads, None, None


_attention.register_autograd(_backward, setup_context=_setup_context)


@register_flop_formula(torch.ops.lmnet.neighborhood_attention)
def _flops(query_shape, key_shape, value_shape, window, scale, *args, **kwargs) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003
    """Two products of k * k * channels a pixel, each multiply-accumulate counted as two operations, as torch does."""
    n, height, width, heads, size = query_shape
    return 2 * 2 * n * height * width * heads * size * min(window, height) * min(window, width)


def neighborhood_attention(
    query: Tensor, key: Tensor, value: Tensor, window: int, *, scale: float | None = None
) -> Tensor:
    """Let every pixel attend to the ``window`` x ``window`` pixels around it.

    Args:
        query: (N, H, W, heads, head size).
        key: the same shape.
        value: the same shape.
        window: odd side of the window; clamped to the map where the map is smaller.
        scale: factor on the scores; None for 1 / sqrt(head size).

    Returns:
        (N, H, W, heads, head size).
    """
    if scale is None:
        scale = query.shape[-1] ** -0.5
    if torch.compiler.is_exporting():
        return gather_attention(query, key, value, window, scale)
    return _attention(query, key, value, window, scale)
