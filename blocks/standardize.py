"""Bring every image to one brightness, contrast and tint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_positive
from lmnet.blocks.registry import Example, register


@register("standardize", example=Example({}, ((3, 8, 12),), ((3, 8, 12),)))
class Standardize(nn.Module):
    """Bring each channel of each image to mean 0 and deviation 1, so that another camera's light matters less.

    The statistics are those of the one image, in training and afterwards; nothing is learned or remembered. Put it
    between the input and the first node.

    Args:
        in_channels: channels of the input.
        eps: added to the deviation, in units of the input: a flat image stays flat instead of becoming noise.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: eps is not above 0.

    Cost:
        no MACs.

    Source:
        Ulyanov et al.: Instance Normalization, 2016, arXiv 1607.08022, without its scale and shift.
    """

    def __init__(self, in_channels: int, *, eps: float = 0.02) -> None:
        super().__init__()
        check_positive("standardize", in_channels=in_channels, eps=eps)
        self.in_channels = self.out_channels = in_channels
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the images at mean 0 and deviation 1."""
        check_map("standardize", x, self.in_channels)
        centred = x - x.mean((2, 3), keepdim=True)
        return centred / (torch.sqrt(centred.square().mean((2, 3), keepdim=True)) + self.eps)
