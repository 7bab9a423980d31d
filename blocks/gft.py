"""LM-Net's Global Feature Transformer.

Source: "LM-Net: A Light-weight and Multi-scale Network for Medical Image Segmentation", 2024, arXiv 2501.03838.
"""

from __future__ import annotations

from torch import Tensor, nn

from lmnet.blocks.checks import check_heads, check_map, check_positive, check_rate
from lmnet.blocks.registry import Example, register


class GlobalAttentionLayer(nn.Module):
    """A transformer layer on tokens (N, L, C) -> (N, L, C): attention over all tokens, then an MLP, norms first."""

    def __init__(self, channels: int, num_heads: int, mlp_ratio: float, drop_rate: float) -> None:
        from timm.layers import Attention, Mlp  # late: its import takes longer than torch's

        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, num_heads=num_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, max(1, int(mlp_ratio * channels)), drop=drop_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the transformed tokens."""
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


@register("gft", example=Example({"out_channels": 10, "num_heads": 4}, ((24, 7, 5),), ((10, 7, 5),)))
class GlobalFeatureTransformer(nn.Module):
    """Embed a feature map by a 3x3 convolution, let all its pixels attend to each other, project by a 1x1 convolution.

    Args:
        in_channels: channels of the input; the transformer's width.
        out_channels: channels of the output; None for in_channels.
        num_heads: attention heads; must divide in_channels.
        depth: transformer layers; 0 for no transformer, then only the projection is left.
        mlp_ratio: hidden channels of each MLP = int(mlp_ratio * in_channels).
        drop_rate: dropout in the MLPs while training, in [0, 1).

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: num_heads does not divide in_channels, or an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import GlobalFeatureTransformer
        >>> block = GlobalFeatureTransformer(96, out_channels=48, num_heads=4)
        >>> block(torch.randn(1, 96, 7, 7)).shape
        torch.Size([1, 48, 7, 7])

    Cost:
        MACs per pixel, with L = H * W pixels: 9 C^2 + depth * (4 C^2 + 2 L C + 2 mlp_ratio C^2) + C * out_channels;
        C * out_channels where depth is 0.
        Memory grows with L where fused attention is not available, so use it on small maps.

    Source:
        LM-Net, arXiv 2501.03838, GFT: one layer, 12 heads, mlp_ratio 2. Attention and MLP are timm's.

    Differs:
        any depth.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int | None = None,
        num_heads: int = 1,
        depth: int = 1,
        mlp_ratio: float = 2.0,
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__()
        where = "gft"
        out_channels = in_channels if out_channels is None else out_channels
        check_positive(where, in_channels=in_channels, out_channels=out_channels, mlp_ratio=mlp_ratio)
        check_heads(where, in_channels, num_heads)
        check_rate(where, drop_rate=drop_rate)
        if not 0 <= depth <= 64:
            raise ValueError(f"{where}: depth must be from 0 to 64, got depth={depth}. Use 1; several nodes for more.")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.embed = nn.Conv2d(in_channels, in_channels, 3, padding=1) if depth else nn.Identity()
        self.layers = nn.Sequential(
            *(GlobalAttentionLayer(in_channels, num_heads, mlp_ratio, drop_rate) for _ in range(depth))
        )
        self.project = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed map."""
        check_map("gft", x, self.in_channels)
        x = self.embed(x)
        if not self.layers:
            return self.project(x)
        tokens = self.layers(x.flatten(2).transpose(1, 2))  # (N, L, C)
        return self.project(tokens.transpose(1, 2).reshape(x.shape))
