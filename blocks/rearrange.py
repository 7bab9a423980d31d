"""Pass a feature map on, shuffle its channels, or split them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_positive
from lmnet.blocks.registry import Example, register


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Return a map whose channel j * groups + i is channel i * (C / groups) + j of the input."""
    return x.unflatten(1, (groups, x.shape[1] // groups)).transpose(1, 2).flatten(1, 2)


@register("identity", example=Example({}, ((6, 8, 12),), ((6, 8, 12),)))
class Identity(nn.Module):
    """Pass a feature map on as it is: a node that a search can leave empty.

    Args:
        in_channels: channels of the input.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: in_channels is not above 0.

    Cost:
        no MACs.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        check_positive("identity", in_channels=in_channels)
        self.in_channels = self.out_channels = in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the map."""
        check_map("identity", x, self.in_channels)
        return x


@register("channel_shuffle", example=Example({"groups": 3}, ((6, 8, 12),), ((6, 8, 12),)))
class ChannelShuffle(nn.Module):
    """Interleave the channels of several groups, so that a grouped convolution behind it mixes them.

    Args:
        in_channels: channels of the input.
        groups: groups that are interleaved; must divide in_channels.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: groups does not divide in_channels.

    Cost:
        no MACs.

    Source:
        Zhang et al.: ShuffleNet, 2017, arXiv 1707.01083, section 3.1.
    """

    def __init__(self, in_channels: int, *, groups: int) -> None:
        super().__init__()
        check_positive("channel_shuffle", in_channels=in_channels, groups=groups)
        if in_channels % groups:
            raise ValueError(
                f"channel_shuffle: groups must divide in_channels, got groups={groups}, in_channels={in_channels}. "
                "Use groups=1."
            )
        self.in_channels = self.out_channels = in_channels
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return the map with its channels interleaved."""
        check_map("channel_shuffle", x, self.in_channels)
        return shuffled(x, self.groups)


@register("channel_split", example=Example({"parts": [2, 4]}, ((6, 8, 12),), ((2, 8, 12), (4, 8, 12))))
class ChannelSplit(nn.Module):
    """Split a feature map's channels into several maps.

    Args:
        in_channels: channels of the input.
        parts: channels of each output; their sum must be in_channels.

    Shapes:
        (N, in_channels, H, W) -> a list of (N, parts_i, H, W). In a spec, ``NAME.0`` is the first output of node NAME.

    Raises:
        ValueError: the parts do not add up to in_channels.

    Cost:
        no MACs.
    """

    def __init__(self, in_channels: int, *, parts: Sequence[int]) -> None:
        super().__init__()
        for part in parts:
            check_positive("channel_split", parts=part)
        if sum(parts) != in_channels:
            raise ValueError(
                f"channel_split: parts must add up to in_channels, got parts={list(parts)}, "
                f"in_channels={in_channels}. Change one of them by {in_channels - sum(parts):+d}."
            )
        self.in_channels, self.out_channels = in_channels, list(parts)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the parts."""
        check_map("channel_split", x, self.in_channels)
        return list(torch.split(x, self.out_channels, dim=1))
