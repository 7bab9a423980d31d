"""LM-Net's cross-scale fusion of the skips.

Source: "LM-Net: A Light-weight and Multi-scale Network for Medical Image Segmentation", 2024, arXiv 2501.03838.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_choice, check_inputs, check_maps, check_positive, check_same_size
from lmnet.blocks.conv_norm_act import ACTIVATIONS, ConvNormAct
from lmnet.blocks.registry import Example, register
from lmnet.blocks.resample import UPSAMPLE_MODES, Upsample, downsample_conv


def whole_factor(scale: float) -> tuple[int, bool]:
    """Return (factor, whether the input is finer than the output); ValueError unless scale is k or 1/k."""
    check_positive("cross_scale_fusion", scale=scale)
    factor = round(max(scale, 1 / scale)) if 2**-16 < scale < 2**16 else 0
    if factor == 0 or abs(scale - factor) > 1e-6 and abs(1 / scale - factor) > 1e-6:
        raise ValueError(
            f"cross_scale_fusion: scales must be whole numbers or one over whole numbers, got scale={scale}. "
            "Use 2 for an input of twice the output's size, 0.5 for one of half."
        )
    return factor, scale >= 1


@register(
    "cross_scale_fusion",
    example=Example(
        {"out_channels": 12, "scales": [2, 1, 0.5]}, ((6, 32, 24), (12, 16, 12), (24, 8, 6)), ((12, 16, 12),)
    ),
)
class CrossScaleFusion(nn.Module):
    """Bring maps of several scales to one size and width, concatenate them, and mix them by a 3x3 convolution.

    A finer input goes through a strided 3x3 convolution, one of the same size through a 3x3 convolution, a coarser one
    is upsampled. The mix ends in batch norm and GELU.

    Args:
        in_channels: channels of each input.
        out_channels: channels of the output, and of each input once it is brought to size.
        scales: size of each input relative to the output: 2 is twice as high and wide, 0.5 half.
        upsample: ``bilinear``, ``transposed`` or ``pixel_shuffle``, see Upsample.
        activation: batch norm and GELU of each input before (``pre``) or after (``post``) its convolution, or ``none``;
            one for all inputs or a list with one each.

    Shapes:
        (N, C_i, scale_i * H, scale_i * W) for each input i -> (N, out_channels, H, W).

    Raises:
        ValueError: scales or activation do not have one entry an input, a scale is not k or 1/k, sizes do not meet.

    Example:
        >>> import torch
        >>> from lmnet.blocks import CrossScaleFusion
        >>> fuse = CrossScaleFusion([16, 32, 64], out_channels=32, scales=[2, 1, 0.5])
        >>> fuse(torch.randn(1, 16, 64, 64), torch.randn(1, 32, 32, 32), torch.randn(1, 64, 16, 16)).shape
        torch.Size([1, 32, 32, 32])

    Cost:
        MACs per output pixel, bilinear or pixel_shuffle, n inputs: 9 * out_channels * (sum of C_i + n * out_channels);
        an input at scale 4 or more has Downsample's larger kernel instead of 9, a transposed one 1.

    Source:
        LM-Net, arXiv 2501.03838; the release code is bilinear with activation none; the January code pixel_shuffle
        with pre, its three-input form with post on the finer input.

    Differs:
        any number of inputs at any whole factors.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        out_channels: int,
        scales: Sequence[float],
        upsample: str = "bilinear",
        activation: str | Sequence[str] = "none",
    ) -> None:
        super().__init__()
        where = "cross_scale_fusion"
        check_inputs(where, in_channels)
        check_positive(where, out_channels=out_channels)
        check_choice(where, UPSAMPLE_MODES, upsample=upsample)
        activations = [activation] * len(in_channels) if isinstance(activation, str) else list(activation)
        for name, values in (("scales", scales), ("activation", activations)):
            if len(values) != len(in_channels):
                raise ValueError(
                    f"{where}: {name} must have one entry an input, got {len(values)} for {len(in_channels)} inputs. "
                    f"List {len(in_channels)}."
                )
        for value in activations:
            check_choice(where, ACTIVATIONS, activation=value)
        self.in_channels, self.out_channels = list(in_channels), out_channels
        self.resize = nn.ModuleList()
        for channels, scale, value in zip(in_channels, scales, activations, strict=True):
            factor, finer = whole_factor(scale)
            if finer:
                self.resize.append(downsample_conv(channels, out_channels, factor, value))
            else:
                self.resize.append(
                    Upsample(channels, out_channels=out_channels, scale=factor, mode=upsample, activation=value)
                )
        self.mix = ConvNormAct(len(in_channels) * out_channels, out_channels=out_channels)

    def forward(self, *maps: Tensor) -> Tensor:
        """Return the fused map."""
        check_maps("cross_scale_fusion", maps, self.in_channels)
        resized = [layer(x) for layer, x in zip(self.resize, maps, strict=True)]
        check_same_size("cross_scale_fusion after scaling", resized)
        return self.mix(torch.cat(resized, dim=1))
