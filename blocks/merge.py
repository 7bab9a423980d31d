"""Add, multiply or concatenate feature maps of one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_inputs, check_maps, check_same_size
from lmnet.blocks.registry import Example, register


@register("add", example=Example({}, ((6, 8, 12), (6, 8, 12)), ((6, 8, 12),)))
class Add(nn.Module):
    """Add feature maps of one shape.

    Args:
        in_channels: channels of each input, all equal, two or more.

    Shapes:
        n times (N, C, H, W) -> (N, C, H, W).

    Raises:
        ValueError: fewer than two inputs, or unequal channels or sizes.

    Cost:
        no MACs.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        check_inputs("add", in_channels, at_least=2)
        if len(set(in_channels)) > 1:
            raise ValueError(
                f"add: inputs must have equal channels, got {', '.join(map(str, in_channels))}. "
                "Give them one width, or use concat."
            )
        self.in_channels, self.out_channels = list(in_channels), in_channels[0]

    def forward(self, *maps: Tensor) -> Tensor:
        """Return the sum."""
        check_maps("add", maps, self.in_channels)
        check_same_size("add", maps)
        total = maps[0]
        for x in maps[1:]:
            total = total + x
        return total


@register("multiply", example=Example({}, ((6, 8, 12), (1, 8, 12)), ((6, 8, 12),)))
class Multiply(nn.Module):
    """Multiply feature maps pixel by pixel; a map of one channel, such as a gate, multiplies every channel.

    Args:
        in_channels: channels of each input, two or more, all equal or 1.

    Shapes:
        (N, C or 1, H, W) for each input -> (N, C, H, W).

    Raises:
        ValueError: fewer than two inputs, or unequal channels or sizes.

    Cost:
        no MACs.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        check_inputs("multiply", in_channels, at_least=2)
        if len(set(in_channels) - {1}) > 1:
            raise ValueError(
                f"multiply: inputs must have equal channels or 1, got {', '.join(map(str, in_channels))}. "
                "Give them one width."
            )
        self.in_channels, self.out_channels = list(in_channels), max(in_channels)

    def forward(self, *maps: Tensor) -> Tensor:
        """Return the product."""
        check_maps("multiply", maps, self.in_channels)
        check_same_size("multiply", maps)
        product = maps[0]
        for x in maps[1:]:
            product = product * x
        return product


@register("concat", example=Example({}, ((6, 8, 12), (4, 8, 12)), ((10, 8, 12),)))
class Concat(nn.Module):
    """Concatenate feature maps of one size along the channels, each channel times a learned factor if asked.

    Args:
        in_channels: channels of each input, two or more.
        use_scale: whether every channel has a factor, which begins at 1.

    Shapes:
        (N, C_i, H, W) for each input i -> (N, sum of C_i, H, W).

    Raises:
        ValueError: fewer than two inputs, or unequal sizes.

    Cost:
        no MACs.

    Source:
        with factors: SimpleUNet, arXiv 2506.13415.
    """

    later_options = frozenset({"use_scale"})
    """Left out of an architecture's hash at its default: specs of before keep their hash."""

    def __init__(self, in_channels: Sequence[int], *, use_scale: bool = False) -> None:
        super().__init__()
        check_inputs("concat", in_channels, at_least=2)
        self.in_channels, self.out_channels = list(in_channels), sum(in_channels)
        self.scales = nn.ParameterList(torch.ones(channels, 1, 1) for channels in in_channels if use_scale)

    def forward(self, *maps: Tensor) -> Tensor:
        """Return the maps, one behind the other."""
        check_maps("concat", maps, self.in_channels)
        check_same_size("concat", maps)
        if len(self.scales):
            return torch.cat([x * scale for x, scale in zip(maps, self.scales, strict=True)], dim=1)
        return torch.cat(maps, dim=1)
