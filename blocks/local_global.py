"""Mobile U-ViT's bottleneck: large-kernel gates near by, attention far away on every other pixel.

Source: Tang et al.: "Mobile U-ViT: Revisiting large kernel and U-shaped ViT for efficient medical image segmentation",
2025, arXiv 2508.01064; the authors' code, https://github.com/FengheTan9/Medical-Image-Segmentation-Benchmarks (MIT).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_depth, check_heads, check_map, check_odd, check_positive
from lmnet.blocks.registry import Example, register

EPS = 1e-6


class LocalAggregation(nn.Module):
    """Weigh a map three times by 0.5 to 1.5: by a large kernel, by one between 1x1 convolutions, by a grouped MLP.

    Args:
        channels: channels in and out.
        kernel_size: side of the large depthwise kernels.
        mlp_ratio: hidden channels of the grouped MLP, as a multiple.

    Shapes:
        (N, channels, H, W) -> (N, channels, H, W).
    """

    def __init__(self, channels: int, kernel_size: int = 9, mlp_ratio: int = 4) -> None:
        super().__init__()
        margin, hidden = kernel_size // 2, mlp_ratio * channels
        self.near = nn.Conv2d(channels, channels, kernel_size, padding=margin, groups=channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.mix1 = nn.Conv2d(channels, channels, 1)
        self.attend = nn.Conv2d(channels, channels, kernel_size, padding=margin, groups=channels)
        self.mix2 = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.expand = nn.Conv2d(channels, hidden, 3, padding=1, groups=channels)
        self.project = nn.Conv2d(hidden, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed map."""
        x = _weighed(x, self.near(x))
        x = _weighed(x, self.mix2(self.attend(self.mix1(self.norm1(x)))))
        return _weighed(x, self.project(F.gelu(self.expand(self.norm2(x)))))


def _weighed(x: Tensor, scores: Tensor) -> Tensor:
    return x + x * (scores.sigmoid() - 0.5)


class StridedAttention(nn.Module):
    """Attention among every ``stride``-th pixel, spread over the map by a transposed depthwise convolution.

    Args:
        channels: channels in and out.
        num_heads: attention heads.
        stride: distance of the pixels that attend, along both axes.

    Shapes:
        (N, H, W, channels) -> (N, H, W, channels).
    """

    def __init__(self, channels: int, num_heads: int, stride: int) -> None:
        super().__init__()
        self.num_heads, self.stride = num_heads, stride
        self.qkv = nn.Linear(channels, 3 * channels)
        self.spread: nn.ConvTranspose2d | None = None
        self.norm: nn.Module = nn.Identity()
        if stride > 1:
            self.spread = nn.ConvTranspose2d(channels, channels, stride, stride=stride, groups=channels)
            self.norm = nn.LayerNorm(channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the pixels found."""
        height, width = x.shape[1:3]
        chosen = x[:, :: self.stride, :: self.stride]
        rows, columns = chosen.shape[1:3]
        qkv = self.qkv(chosen.flatten(1, 2)).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]).transpose(1, 2).flatten(2)
        found = found.unflatten(1, (rows, columns))
        if self.spread is not None:
            spread = self.spread(found.permute(0, 3, 1, 2))[:, :, :height, :width]
            found = self.norm(spread.permute(0, 2, 3, 1))
        return self.proj(found)


class GlobalAttention(nn.Module):
    """A depthwise convolution, strided attention and an MLP, each with a residual.

    Args:
        channels: channels in and out.
        num_heads: attention heads.
        stride: distance of the pixels that attend.
        mlp_ratio: hidden channels of the MLP, as a multiple.

    Shapes:
        (N, channels, H, W) -> (N, channels, H, W).
    """

    def __init__(self, channels: int, num_heads: int, stride: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.near = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attention = StridedAttention(channels, num_heads, stride)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.fc1 = nn.Linear(channels, mlp_ratio * channels)
        self.fc2 = nn.Linear(mlp_ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed map."""
        tokens = (x + self.near(x)).permute(0, 2, 3, 1)
        tokens = tokens + self.attention(self.norm1(tokens))
        tokens = tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return tokens.permute(0, 3, 1, 2)


@register("local_global", example=Example({"num_heads": 2, "stride": 2}, ((8, 10, 12),), ((8, 10, 12),)))
class LocalGlobalStage(nn.Module):
    """Weigh a map's pixels by large kernels, then let every ``stride``-th pixel attend to all such pixels.

    Args:
        in_channels: channels of the input.
        num_heads: attention heads; must divide in_channels.
        depth: units, one behind the other.
        stride: distance of the pixels that attend, along both axes.
        is_local: whether each unit begins with large kernels; False for attention alone.
        kernel_size: side of the large kernels, odd.
        mlp_ratio: hidden channels of the MLPs = mlp_ratio * in_channels.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: num_heads does not divide in_channels, or an option is out of range.

    Cost:
        with C channels, P pixels and T = ceil(H / stride) * ceil(W / stride), MACs of a unit:
        P * C * (9 + C + 2 * mlp_ratio * C) + T * C * (3 * C + 2 * T), with stride > 1 also T * C * stride^2, and of its
        large kernels P * C * (2 * kernel_size^2 + 2 * C + 18 * mlp_ratio).
        Memory grows with T^2 where fused attention is not available.

    Source:
        Mobile U-ViT, arXiv 2508.01064, large-kernel local-global-local block (LGL), and its plain transformer block.

    Differs:
        sizes that stride does not divide are cropped behind the transposed convolution (the authors' code fails); no
        stochastic depth.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_heads: int = 4,
        depth: int = 1,
        stride: int = 1,
        is_local: bool = True,
        kernel_size: int = 9,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        where = "local_global"
        check_positive(where, in_channels=in_channels, stride=stride, mlp_ratio=mlp_ratio)
        check_depth(where, depth=depth)
        check_odd(where, kernel_size=kernel_size)
        check_heads(where, in_channels, num_heads)
        self.in_channels = self.out_channels = in_channels
        units: list[nn.Module] = []
        for _ in range(depth):
            if is_local:
                units.append(LocalAggregation(in_channels, kernel_size, mlp_ratio))
            units.append(GlobalAttention(in_channels, num_heads, stride, mlp_ratio))
        self.units = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        check_map("local_global", x, self.in_channels)
        return self.units(x)
