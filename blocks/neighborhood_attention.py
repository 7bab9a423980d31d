"""Neighbourhood attention as a layer on feature maps.

Source: Hassani, Walton, Li, Li, Shi: Neighborhood Attention Transformer, 2023, arXiv 2204.07143.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_choice, check_heads, check_map, check_odd, check_positive
from lmnet.blocks.neighborhood import neighborhood_attention
from lmnet.blocks.neighborhood_backends import BACKENDS
from lmnet.blocks.on_maps import linear_on_map
from lmnet.blocks.registry import Example, register


class NeighborhoodAttentionTokens(nn.Module):
    """Multi-head neighbourhood attention on channels-last maps (N, H, W, C) -> (N, H, W, C)."""

    def __init__(
        self, channels: int, num_heads: int, window: int, qkv_bias: bool = True, backend: str = "auto"
    ) -> None:
        super().__init__()
        self.num_heads, self.window, self.backend = num_heads, window, backend
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended and projected map."""
        n, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(n, height, width, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.unbind(dim=3)  # each (N, H, W, heads, head size)
        mixed = neighborhood_attention(query, key, value, self.window, backend=self.backend)
        out: Tensor = self.proj(mixed.reshape(n, height, width, channels))
        return out

    def on_map(self, x: Tensor) -> Tensor:
        """Return the same for a map (N, C, H, W), in the form that exported files hold."""
        query, key, value = (
            F.conv2d(x, self.qkv.weight[rows, :, None, None], None if self.qkv.bias is None else self.qkv.bias[rows])
            .unflatten(1, (self.num_heads, -1))
            .permute(0, 3, 4, 1, 2)
            for rows in (slice(first, first + x.shape[1]) for first in range(0, 3 * x.shape[1], x.shape[1]))
        )
        mixed = neighborhood_attention(query, key, value, self.window, backend=self.backend)
        return linear_on_map(self.proj, mixed.permute(0, 3, 4, 1, 2).flatten(1, 2))


@register("neighborhood_attention", example=Example({"num_heads": 4, "window": 5}, ((8, 13, 9),), ((8, 13, 9),)))
class NeighborhoodAttention2d(nn.Module):
    """Let every pixel of a feature map attend to the window around it.

    Args:
        in_channels: channels of the input.
        num_heads: attention heads; must divide in_channels.
        window: odd side of the window. It is shifted inwards at the border, and clamped where the map is smaller.
        qkv_bias: whether query, key and value have a bias.
        backend: auto, torch, compiled or gather; all give the same numbers to rounding, see
            lmnet.blocks.neighborhood_backends. The context ``attention_backend`` goes before it.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: num_heads does not divide in_channels, window is even or below 1, or the backend is unknown.

    Example:
        >>> import torch
        >>> from lmnet.blocks import NeighborhoodAttention2d
        >>> NeighborhoodAttention2d(32, num_heads=4, window=5)(torch.randn(1, 32, 20, 24)).shape
        torch.Size([1, 32, 20, 24])

    Cost:
        MACs per pixel: 4 * C^2 for the projections, 2 * C * window^2 for the two products.

    Source:
        arXiv 2204.07143, section 3.

    Differs:
        no relative position bias, as in LM-Net.
    """

    def __init__(
        self, in_channels: int, *, num_heads: int, window: int = 7, qkv_bias: bool = True, backend: str = "auto"
    ) -> None:
        super().__init__()
        check_positive("neighborhood_attention", in_channels=in_channels)
        check_heads("neighborhood_attention", in_channels, num_heads)
        check_odd("neighborhood_attention", window=window)
        check_choice("neighborhood_attention", BACKENDS, backend=backend)
        self.in_channels = self.out_channels = in_channels
        self.attention = NeighborhoodAttentionTokens(in_channels, num_heads, window, qkv_bias, backend)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended map."""
        check_map("neighborhood_attention", x, self.in_channels)
        if torch.compiler.is_exporting():
            return self.attention.on_map(x)
        out: Tensor = self.attention(x.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)
