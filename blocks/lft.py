"""LM-Net's Local Feature Transformer.

Source: "LM-Net: A Light-weight and Multi-scale Network for Medical Image Segmentation", 2024, arXiv 2501.03838.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_heads, check_map, check_odd, check_positive, check_rate
from lmnet.blocks.neighborhood_attention import NeighborhoodAttentionTokens
from lmnet.blocks.on_maps import linear_on_map, norm_on_map
from lmnet.blocks.registry import Example, register


@register("lft", example=Example({"num_heads": 4, "window": [3, 7]}, ((8, 13, 9),), ((8, 13, 9),)))
class LocalFeatureTransformer(nn.Module):
    """Embed a feature map by a 3x3 convolution, then let every pixel attend to its neighbourhood and pass an MLP.

    Args:
        in_channels: channels of the input.
        window: odd side of the attention's window, or several, whose attentions are summed; 0 for none, then the map
            passes unchanged.
        num_heads: heads of each attention; must divide in_channels.
        mlp_ratio: hidden channels of the MLP = int(mlp_ratio * in_channels).
        drop_rate: dropout in the MLP while training, in [0, 1).

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: num_heads does not divide in_channels, a window is even or negative (0 is for a single one), or a
            rate is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import LocalFeatureTransformer
        >>> block = LocalFeatureTransformer(64, window=7, num_heads=4)
        >>> block(torch.randn(2, 64, 56, 56)).shape
        torch.Size([2, 64, 56, 56])

    Cost:
        MACs per pixel, with a attentions: 9 C^2 (embedding) + a * 4 C^2 + sum of 2 C window^2 + 2 mlp_ratio C^2; none
        where window is 0.

    Source:
        LM-Net, arXiv 2501.03838, LFT; the release code has one window of 3, the January code sums 7 and 3.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        window: int | Sequence[int] = 7,
        num_heads: int = 1,
        mlp_ratio: float = 2.0,
        drop_rate: float = 0.1,
    ) -> None:
        from timm.layers import Mlp  # late: its import takes longer than torch's

        super().__init__()
        where = "lft"
        check_positive(where, in_channels=in_channels, mlp_ratio=mlp_ratio)
        check_heads(where, in_channels, num_heads)
        check_rate(where, drop_rate=drop_rate)
        self.in_channels = self.out_channels = in_channels
        self.passes = window == 0
        if self.passes:
            return
        windows = [window] if isinstance(window, int) else list(window)
        if not windows:
            raise ValueError(f"{where}: window must hold one side or more, got window=[]. Use 7.")
        for side in windows:
            check_odd(where, window=side)
        self.embed = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.norm1 = nn.LayerNorm(in_channels)
        self.attentions = nn.ModuleList(NeighborhoodAttentionTokens(in_channels, num_heads, side) for side in windows)
        self.norm2 = nn.LayerNorm(in_channels)
        self.mlp = Mlp(in_channels, max(1, int(mlp_ratio * in_channels)), drop=drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed map."""
        check_map("lft", x, self.in_channels)
        if self.passes:
            return x
        x = self.embed(x)
        if torch.compiler.is_exporting():
            return self._on_maps(x)
        x = x.permute(0, 2, 3, 1)  # (N, H, W, C)
        normed = self.norm1(x)
        for attention in self.attentions:
            x = x + attention(normed)
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)

    def _on_maps(self, x: Tensor) -> Tensor:
        """Return the same, in the form that exported files hold."""
        normed = norm_on_map(self.norm1, x)
        for attention in self.attentions:
            x = x + attention.on_map(normed)  # type: ignore[operator]
        hidden = self.mlp.drop1(self.mlp.act(linear_on_map(self.mlp.fc1, norm_on_map(self.norm2, x))))
        return x + self.mlp.drop2(linear_on_map(self.mlp.fc2, hidden))
