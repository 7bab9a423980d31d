"""Neighbourhood attention by gathering every window: slow, in plain tensor operations, the oracle of all other paths.

Source: Hassani, Walton, Li, Li, Shi: Neighborhood Attention Transformer, 2023, arXiv 2204.07143, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def window_indices(length: int, window: int, device: torch.device) -> Tensor:
    """Return (length, min(window, length)) int64: the positions that each position attends to along one side."""
    window = min(window, length)
    start = (torch.arange(length, device=device) - window // 2).clamp(min=0).clamp(max=length - window)
    return start[:, None] + torch.arange(window, device=device)


def gather_attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Return the attention (N, H, W, heads, head size); differentiable."""
    n, height, width, heads, size = query.shape
    rows, columns = window_indices(height, window, query.device), window_indices(width, window, query.device)
    area = rows.shape[1] * columns.shape[1]

    def windows(x: Tensor) -> Tensor:
        gathered = x[:, rows][:, :, :, columns]  # (N, H, k, W, k, heads, head size)
        return gathered.permute(0, 1, 3, 5, 2, 4, 6).reshape(n, height, width, heads, area, size)

    scores = (query * scale).unsqueeze(-2) @ windows(key).transpose(-2, -1)  # (N, H, W, heads, 1, k * k)
    return (scores.softmax(dim=-1) @ windows(value)).squeeze(-2)
