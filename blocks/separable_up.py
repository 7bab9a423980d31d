"""Upsampling by interpolation and a separable convolution.

Source: Rahman, Munir, Marculescu: "EMCAD: Efficient Multi-scale Convolutional Attention Decoding for Medical Image
Segmentation", 2024, arXiv 2405.06880, section 3.1.3, written from the paper's description; no code of theirs is used.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_choice, check_map, check_odd, check_positive
from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.registry import Example, register

MODES = ("nearest", "bilinear")


@register("separable_up", example=Example({"out_channels": 4}, ((6, 8, 12),), ((4, 16, 24),)))
class SeparableUpsample(nn.Module):
    """Enlarge a map by interpolation, convolve it depthwise with batch norm and activation, and change its channels.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        scale: whole factor.
        kernel_size: side of the depthwise kernel, odd.
        mode: ``nearest`` or ``bilinear`` (corners not aligned).
        act_layer: timm's name of the activation.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, scale * H, scale * W).

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import SeparableUpsample
        >>> SeparableUpsample(64, out_channels=32)(torch.randn(1, 64, 20, 28)).shape
        torch.Size([1, 32, 40, 56])

    Cost:
        in_channels * (kernel_size^2 + out_channels) MACs per output pixel.

    Source:
        EMCAD, arXiv 2405.06880, efficient up-convolution block (EUCB).

    Differs:
        the shuffle of the authors' code is left out: with as many groups as channels it changes nothing.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        scale: int = 2,
        kernel_size: int = 3,
        mode: str = "nearest",
        act_layer: str = "relu",
    ) -> None:
        super().__init__()
        where = "separable_up"
        check_positive(where, in_channels=in_channels, out_channels=out_channels, scale=scale)
        check_odd(where, kernel_size=kernel_size)
        check_choice(where, MODES, mode=mode)
        self.in_channels, self.out_channels, self.scale, self.mode = in_channels, out_channels, scale, mode
        self.depthwise = ConvNormAct(
            in_channels,
            out_channels=in_channels,
            kernel_size=kernel_size,
            groups=in_channels,
            bias=False,
            act_layer=act_layer,
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the larger map."""
        check_map("separable_up", x, self.in_channels)
        corners = False if self.mode == "bilinear" else None
        x = F.interpolate(x, scale_factor=float(self.scale), mode=self.mode, align_corners=corners)
        return self.pointwise(self.depthwise(x))
