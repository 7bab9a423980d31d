"""Gates on feature maps: a decoder's map gates a skip, and a map gates its own channels or pixels.

Source: Woo et al.: "CBAM: Convolutional Block Attention Module", 2018, arXiv 1807.06521, for channels and pixels;
Rahman, Marculescu: MK-UNet, 2025, arXiv 2509.18493, and EMCAD, 2024, arXiv 2405.06880, for the grouped gate; code
https://github.com/SLDGroup/MK-UNet (BSD 3-Clause).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_inputs, check_map, check_maps, check_odd, check_positive, check_same_size
from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.registry import Example, register


@register("attention_gate", example=Example({}, ((6, 8, 12), (6, 8, 12)), ((6, 8, 12),)))
class AttentionGate(nn.Module):
    """Weigh the pixels of a skip by what a decoder's map and the skip itself say about them.

    A grouped convolution of each, summed, activated and squeezed to one map of weights between 0 and 1.

    Args:
        in_channels: channels of the decoder's map and of the skip, equal and even; the output has as many.
        kernel_size: side of the grouped convolutions, odd.

    Shapes:
        gate (N, C, H, W) and skip (N, C, H, W) -> (N, C, H, W).

    Raises:
        ValueError: not two inputs, unequal or odd channels, or unequal sizes.

    Cost:
        MACs per pixel: C * (2 * kernel_size^2 + 1/2).

    Source:
        MK-UNet, arXiv 2509.18493, grouped attention gate; EMCAD, arXiv 2405.06880, large-kernel grouped gate.
    """

    def __init__(self, in_channels: Sequence[int], *, kernel_size: int = 3) -> None:
        super().__init__()
        where = "attention_gate"
        check_inputs(where, in_channels, exactly=2)
        check_odd(where, kernel_size=kernel_size)
        gate, skip = in_channels
        if gate != skip or skip % 2:
            raise ValueError(
                f"{where}: inputs must have equal, even channels, got {gate}, {skip}. Give them one even width."
            )
        self.in_channels, self.out_channels = list(in_channels), skip
        half = skip // 2

        def grouped() -> ConvNormAct:
            return ConvNormAct(skip, out_channels=half, kernel_size=kernel_size, groups=half, act_layer="none")

        self.of_gate, self.of_skip = grouped(), grouped()
        self.squeeze = ConvNormAct(half, out_channels=1, kernel_size=1, act_layer="sigmoid")

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        """Return the weighed skip."""
        check_maps("attention_gate", (gate, skip), self.in_channels)
        check_same_size("attention_gate", (gate, skip))
        return skip * self.squeeze(torch.relu(self.of_gate(gate) + self.of_skip(skip)))


@register("channel_attention", example=Example({"squeeze_ratio": 4}, ((8, 9, 12),), ((8, 9, 12),)))
class ChannelAttention(nn.Module):
    """Weigh each channel by its mean and its maximum over the map.

    Args:
        in_channels: channels of the input.
        squeeze_ratio: hidden channels = in_channels // squeeze_ratio, at least 1.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Cost:
        4 * in_channels * hidden MACs per image.

    Source:
        CBAM, arXiv 1807.06521, channel attention; MK-UNet's has no biases, as here.
    """

    def __init__(self, in_channels: int, *, squeeze_ratio: int = 16) -> None:
        super().__init__()
        check_positive("channel_attention", in_channels=in_channels, squeeze_ratio=squeeze_ratio)
        self.in_channels = self.out_channels = in_channels
        hidden = max(1, in_channels // squeeze_ratio)
        self.squeeze = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, in_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed map."""
        check_map("channel_attention", x, self.in_channels)
        return x * self.weights(x)

    def weights(self, x: Tensor) -> Tensor:
        """Return the channels' weights, (N, in_channels, 1, 1), from 0 to 1."""
        mean, largest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return torch.sigmoid(sum(self.excite(torch.relu(self.squeeze(pooled))) for pooled in (mean, largest)))


@register("spatial_attention", example=Example({}, ((6, 8, 12),), ((6, 8, 12),)))
class SpatialAttention(nn.Module):
    """Weigh each pixel by a convolution of the mean and the maximum over its channels.

    Args:
        in_channels: channels of the input.
        kernel_size: side of the kernel, odd.
        dilation: distance of the kernel's taps in pixels.
        bias: whether the convolution adds a bias.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Cost:
        2 * kernel_size^2 MACs per pixel.

    Source:
        CBAM, arXiv 1807.06521, spatial attention; MK-UNet's has no bias, as here.
    """

    def __init__(self, in_channels: int, *, kernel_size: int = 7, dilation: int = 1, bias: bool = False) -> None:
        super().__init__()
        check_positive("spatial_attention", in_channels=in_channels, dilation=dilation)
        check_odd("spatial_attention", kernel_size=kernel_size)
        self.in_channels = self.out_channels = in_channels
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=padding, dilation=dilation, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed map."""
        check_map("spatial_attention", x, self.in_channels)
        return x * self.weights(x)

    def weights(self, x: Tensor) -> Tensor:
        """Return the pixels' weights, (N, 1, H, W), from 0 to 1."""
        return torch.sigmoid(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)))
