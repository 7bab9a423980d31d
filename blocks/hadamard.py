"""EGE-UNet's parts: products with learned planes in place of attention, and skips fused with a mask.

Source: Ruan et al.: "EGE-UNet: an Efficient Group Enhanced UNet for skin lesion segmentation", 2023, arXiv 2307.08473;
the authors' code, https://github.com/JCruan519/EGE-UNet (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_depth, check_inputs, check_map, check_maps, check_positive, make_norm
from lmnet.blocks.registry import Example, register

NUM_GROUPS = 4
EPS = 1e-6


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)


def _mixed(channels: int) -> nn.Sequential:
    """Return a depthwise convolution, GELU and a pointwise convolution of sequences."""
    depthwise = nn.Conv1d(channels, channels, 3, padding=1, groups=channels)
    return nn.Sequential(depthwise, nn.GELU(), nn.Conv1d(channels, channels, 1))


@register("hadamard_attention", example=Example({"out_channels": 12}, ((8, 16, 24),), ((12, 16, 24),)))
class HadamardAttention(nn.Module):
    """Multiply quarters of a map's channels by learned weights over its plane, rows and columns; convolve the last.

    The weights are small parameters that are resized to the map, then convolved. Layer norm over the channels before
    and after; a 3x3 depthwise convolution, GELU and a 1x1 convolution at the end.

    Args:
        in_channels: channels of the input, a multiple of 4.
        out_channels: channels of the output.
        size: side of the parameters, in cells.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: an option is out of range, or in_channels is no multiple of 4.

    Cost:
        with c = in_channels / 4, MACs: per pixel 2 * c * (c + 9) + in_channels * (9 + out_channels), and per row and
        column c * (c + 3).

    Source:
        EGE-UNet, arXiv 2307.08473, group multi-axis Hadamard product attention (GHPA).
    """

    def __init__(self, in_channels: int, *, out_channels: int, size: int = 8) -> None:
        super().__init__()
        where = "hadamard_attention"
        check_positive(where, in_channels=in_channels, out_channels=out_channels, size=size)
        if in_channels % NUM_GROUPS:
            raise ValueError(
                f"{where}: in_channels must be a multiple of {NUM_GROUPS}, got in_channels={in_channels}. "
                f"Use {-(-in_channels // NUM_GROUPS) * NUM_GROUPS}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        quarter = in_channels // NUM_GROUPS
        self.norm1 = make_norm(where, "layernorm2d", in_channels, eps=EPS)
        self.plane = nn.Parameter(torch.ones(1, quarter, size, size))
        self.rows = nn.Parameter(torch.ones(1, 1, quarter, size))
        self.columns = nn.Parameter(torch.ones(1, 1, quarter, size))
        self.of_plane = nn.Sequential(
            nn.Conv2d(quarter, quarter, 3, padding=1, groups=quarter), nn.GELU(), nn.Conv2d(quarter, quarter, 1)
        )
        self.of_rows, self.of_columns = _mixed(quarter), _mixed(quarter)
        self.last = nn.Sequential(
            nn.Conv2d(quarter, quarter, 1), nn.GELU(), nn.Conv2d(quarter, quarter, 3, padding=1, groups=quarter)
        )
        self.norm2 = make_norm(where, "layernorm2d", in_channels, eps=EPS)
        self.project = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels),
            nn.GELU(),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        check_map("hadamard_attention", x, self.in_channels)
        height, width = x.shape[2:]
        quarter = self.in_channels // NUM_GROUPS
        first, second, third, fourth = self.norm1(x).chunk(NUM_GROUPS, dim=1)
        plane = self.of_plane(_resized(self.plane, height, width))
        rows = self.of_rows(_resized(self.rows, quarter, height)[0]).unsqueeze(3)
        columns = self.of_columns(_resized(self.columns, quarter, width)[0]).unsqueeze(2)
        mixed = torch.cat([first * plane, second * rows, third * columns, self.last(fourth)], dim=1)
        return self.project(self.norm2(mixed))


class _BridgeGroup(nn.Module):
    """Layer norm over the channels, then a dilated 3x3 depthwise convolution."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.norm = make_norm("group_bridge", "layernorm2d", channels, eps=EPS)
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


@register("group_bridge", example=Example({}, ((12, 8, 12), (8, 16, 24), (1, 16, 24)), ((8, 16, 24),)))
class GroupBridge(nn.Module):
    """Fuse a skip with a deeper map and a mask, in groups of channels that look at different distances.

    The deeper map is convolved 1x1 to the skip's channels and resized to it; group i of both, and the mask, are
    normalised and convolved depthwise with dilation i; all groups are normalised and convolved 1x1.

    Args:
        in_channels: channels of the deeper map, of the skip and of the mask (its logits; of the skip's size).
        dilations: one a group; their number must divide the skip's channels.

    Shapes:
        (N, C_deep, h, w), (N, C_skip, H, W) and (N, M, H, W) -> (N, C_skip, H, W).

    Raises:
        ValueError: not three inputs, no dilations, or a number of them that does not divide the skip's channels.

    Cost:
        with g groups, MACs: C_deep * C_skip per pixel of the deeper map, and (2 * C_skip + g * M) * (9 + C_skip) per
        pixel of the skip.

    Source:
        EGE-UNet, arXiv 2307.08473, group aggregation bridge (GAB).

    Differs:
        a mask of several channels, for several classes; the authors' has one.
    """

    def __init__(self, in_channels: Sequence[int], *, dilations: Sequence[int] = (1, 2, 5, 7)) -> None:
        super().__init__()
        where = "group_bridge"
        check_inputs(where, in_channels, exactly=3)
        check_depth(where, number_of_dilations=len(dilations))
        for dilation in dilations:
            check_positive(where, dilations=dilation)
        deep, skip, mask = in_channels
        groups = len(dilations)
        if not groups or skip % groups:
            raise ValueError(
                f"{where}: dilations must be as many as divide the skip's channels, got {groups} for {skip} channels. "
                "Use [1]."
            )
        self.in_channels, self.out_channels = list(in_channels), skip
        self.deep = nn.Conv2d(deep, skip, 1)
        width = 2 * skip // groups + mask
        self.groups = nn.ModuleList(_BridgeGroup(width, dilation) for dilation in dilations)
        self.norm = make_norm(where, "layernorm2d", groups * width, eps=EPS)
        self.project = nn.Conv2d(groups * width, skip, 1)

    def forward(self, deep: Tensor, skip: Tensor, mask: Tensor) -> Tensor:
        """Return the fused skip."""
        check_maps("group_bridge", (deep, skip, mask), self.in_channels)
        deep = _resized(self.deep(deep), skip.shape[2], skip.shape[3])
        count = len(self.groups)
        pairs = zip(deep.chunk(count, dim=1), skip.chunk(count, dim=1), self.groups, strict=True)
        mixed = [group(torch.cat([coarse, fine, mask], dim=1)) for coarse, fine, group in pairs]
        return self.project(self.norm(torch.cat(mixed, dim=1)))
