"""CMUNeXt's large-kernel block and its fusion of a skip with an upsampled map.

Source: Tang et al.: "CMUNeXt: An Efficient Medical Image Segmentation Network based on Large Kernel and Skip Fusion",
2023, arXiv 2308.01239; the authors' code, https://github.com/FengheTan9/CMUNeXt (MIT).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import (
    check_depth,
    check_inputs,
    check_map,
    check_maps,
    check_odd,
    check_positive,
    check_same_size,
)
from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.registry import Example, register


class LargeKernelUnit(nn.Module):
    """A depthwise convolution with a residual, then two 1x1 convolutions; each is followed by GELU, then batch norm.

    Args:
        channels: channels in and out.
        kernel_size: side of the depthwise kernel.
        expand_ratio: hidden channels between the 1x1 convolutions, as a multiple.
        has_residual: whether the 1x1 convolutions have a residual too.

    Shapes:
        (N, channels, H, W) -> (N, channels, H, W).
    """

    def __init__(self, channels: int, kernel_size: int, expand_ratio: int = 4, *, has_residual: bool = False) -> None:
        super().__init__()
        hidden = expand_ratio * channels
        self.depthwise = ConvNormAct(
            channels, out_channels=channels, kernel_size=kernel_size, groups=channels, activation="between"
        )
        self.expand = ConvNormAct(channels, out_channels=hidden, kernel_size=1, activation="between")
        self.project = ConvNormAct(hidden, out_channels=channels, kernel_size=1, activation="between")
        self.has_residual = has_residual

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        x = x + self.depthwise(x)
        mixed: Tensor = self.project(self.expand(x))
        return x + mixed if self.has_residual else mixed


@register("large_kernel", example=Example({"out_channels": 8, "kernel_size": 5}, ((6, 16, 24),), ((8, 16, 24),)))
class LargeKernelStage(nn.Module):
    """Mix a feature map by large depthwise kernels and 1x1 convolutions, then convolve it 3x3 to its new width.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the depthwise kernels, odd.
        depth: units of a depthwise and two 1x1 convolutions, one behind the other.
        expand_ratio: hidden channels between the 1x1 convolutions = expand_ratio * in_channels.
        has_residual: whether the 1x1 convolutions have a residual too, as in Mobile U-ViT.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Cost:
        MACs per pixel: depth * in_channels * (kernel_size^2 + 2 * expand_ratio * in_channels)
        + 9 * in_channels * out_channels.

    Source:
        CMUNeXt, arXiv 2308.01239, CMUNeXt block; with has_residual the ConvUtr block of Mobile U-ViT,
        arXiv 2508.01064.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        kernel_size: int = 7,
        depth: int = 1,
        expand_ratio: int = 4,
        has_residual: bool = False,
    ) -> None:
        super().__init__()
        where = "large_kernel"
        check_positive(where, in_channels=in_channels, out_channels=out_channels)
        check_positive(where, expand_ratio=expand_ratio)
        check_depth(where, depth=depth)
        check_odd(where, kernel_size=kernel_size)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.units = nn.Sequential(
            *(LargeKernelUnit(in_channels, kernel_size, expand_ratio, has_residual=has_residual) for _ in range(depth))
        )
        self.widen = ConvNormAct(in_channels, out_channels=out_channels, act_layer="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map at its new width."""
        check_map("large_kernel", x, self.in_channels)
        return self.widen(self.units(x))


@register("grouped_fusion", example=Example({}, ((6, 8, 12), (6, 8, 12)), ((6, 8, 12),)))
class GroupedFusion(nn.Module):
    """Join a skip and a decoder map: a 3x3 convolution of each by itself, then 1x1 convolutions that mix both.

    Args:
        in_channels: channels of the skip and of the decoder map, equal; the output has as many.
        expand_ratio: hidden channels between the 1x1 convolutions, as a multiple of the output's.

    Shapes:
        (N, C, H, W) and (N, C, H, W) -> (N, C, H, W).

    Raises:
        ValueError: not two inputs, or unequal channels or sizes.

    Cost:
        MACs per pixel: C * (18 * C + 3 * expand_ratio * C).

    Source:
        CMUNeXt, arXiv 2308.01239, skip fusion: a 3x3 convolution in two groups and an inverted bottleneck.
    """

    def __init__(self, in_channels: Sequence[int], *, expand_ratio: int = 4) -> None:
        super().__init__()
        where = "grouped_fusion"
        check_inputs(where, in_channels, exactly=2)
        check_positive(where, expand_ratio=expand_ratio)
        if in_channels[0] != in_channels[1]:
            raise ValueError(
                f"{where}: inputs must have equal channels, got {in_channels[0]}, {in_channels[1]}. "
                "Give them one width."
            )
        self.in_channels, self.out_channels = list(in_channels), in_channels[0]
        both, hidden = 2 * self.out_channels, expand_ratio * self.out_channels
        self.each = ConvNormAct(both, out_channels=both, groups=2, activation="between")
        self.expand = ConvNormAct(both, out_channels=hidden, kernel_size=1, activation="between")
        self.project = ConvNormAct(hidden, out_channels=self.out_channels, kernel_size=1, activation="between")

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        """Return the joined map."""
        check_maps("grouped_fusion", (skip, deep), self.in_channels)
        check_same_size("grouped_fusion", (skip, deep))
        return self.project(self.expand(self.each(torch.cat([skip, deep], dim=1))))
