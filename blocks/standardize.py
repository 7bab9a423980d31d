"""Bring every image to one brightness, contrast and tint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_positive
from lmnet.blocks.registry import Example, register


@register("standardize", example=Example({}, ((3, 8, 12),), ((3, 8, 12),)))
class Standardize(nn.Module):
    """Bring each channel of each image to one mean and deviation, so that another camera's light matters less.

    The statistics are those of the one image, in training and afterwards; nothing is learned or remembered. Put it
    between the input and the first node. In front of a net that is trained already, give the mean and deviation of
    its training images: there they change little, and weights can be kept.

    Args:
        in_channels: channels of the input.
        mean: mean of each channel of the output: one number, or one for each channel.
        std: deviation of each channel of the output: one number, or one for each channel.
        eps: added to the deviation, in units of the input: a flat image stays flat instead of becoming noise.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: eps or a deviation is not above 0; there are more or fewer numbers than channels.

    Cost:
        no MACs.

    Source:
        Ulyanov et al.: Instance Normalization, 2016, arXiv 1607.08022, without its scale and shift.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_channels: int,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        eps: float = 0.02,
    ) -> None:
        super().__init__()
        check_positive("standardize", in_channels=in_channels, eps=eps)
        self.in_channels = self.out_channels = in_channels
        self.eps = eps
        means, stds = (_of_each_channel(name, value, in_channels) for name, value in (("mean", mean), ("std", std)))
        for value in stds:
            check_positive("standardize", std=value)
        self.register_buffer("mean", torch.tensor(means).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(stds).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the images at the mean and deviation asked for."""
        check_map("standardize", x, self.in_channels)
        centred = x - x.mean((2, 3), keepdim=True)
        deviation = torch.sqrt(centred.square().mean((2, 3), keepdim=True))
        return centred * (self.std / (deviation + self.eps)) + self.mean


def _of_each_channel(name: str, value: float | Sequence[float], channels: int) -> list[float]:
    """Return one number for each channel."""
    if not isinstance(value, Sequence):
        return [float(value)] * channels
    if len(value) != channels:
        raise ValueError(
            f"standardize: {name} must be one number or one for each of the {channels} channels, "
            f"got {len(value)} numbers."
        )
    return [float(each) for each in value]
