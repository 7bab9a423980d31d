"""TinyU-Net's cell: a chain of depthwise convolutions, of which every link is kept.

Source: Chen et al.: "TinyU-Net: Lighter Yet Better U-Net with Cascaded Multi-receptive Fields", MICCAI 2024,
DOI 10.1007/978-3-031-72114-4_60; the authors' code, https://github.com/ChenJunren-Lab/TinyU-Net (MIT).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_depth, check_map, check_positive
from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.registry import Example, register

EPS, MOMENTUM = 1e-3, 0.03


def _unit(in_channels: int, out_channels: int, kernel_size: int = 1, groups: int = 1, act: str = "gelu") -> ConvNormAct:
    unit = ConvNormAct(
        in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        groups=groups,
        act_layer=act,
        bias=False,
        norm_eps=EPS,
    )
    assert isinstance(unit.norm, nn.BatchNorm2d)
    unit.norm.momentum = MOMENTUM
    return unit


@register("cascaded_fields", example=Example({"out_channels": 16, "num_fields": 4}, ((6, 16, 24),), ((16, 16, 24),)))
class CascadedFields(nn.Module):
    """Squeeze a map, convolve half of it depthwise again and again, and mix what every step gave.

    The squeezed map's even and odd channels are two halves. The odd ones go through a chain of 3x3 depthwise
    convolutions; the sum of the halves and every link's output are concatenated and mixed 1x1. If the channels stay as
    many, the input is added.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 2 * num_fields.
        num_fields: maps that are concatenated: the sum of the halves and num_fields - 1 links.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: an option is out of range, or out_channels is no multiple of 2 * num_fields.

    Cost:
        with c = out_channels / (2 * num_fields), MACs per pixel: 2 * c * in_channels + 9 * c * (num_fields - 1)
        + num_fields * c * out_channels.

    Source:
        TinyU-Net, cascaded multi-receptive fields (CMRF).
    """

    def __init__(self, in_channels: int, *, out_channels: int, num_fields: int = 8) -> None:
        super().__init__()
        where = "cascaded_fields"
        check_positive(where, in_channels=in_channels, out_channels=out_channels)
        check_depth(where, num_fields=num_fields)
        if out_channels % (2 * num_fields):
            raise ValueError(
                f"{where}: out_channels must be a multiple of 2 * num_fields, got out_channels={out_channels}, "
                f"num_fields={num_fields}. Use {-(-out_channels // (2 * num_fields)) * 2 * num_fields} channels."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        width = out_channels // (2 * num_fields)
        self.squeeze = _unit(in_channels, 2 * width)
        self.chain = nn.ModuleList(
            _unit(width, width, kernel_size=3, groups=width, act="none") for _ in range(num_fields - 1)
        )
        self.project = _unit(num_fields * width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        check_map("cascaded_fields", x, self.in_channels)
        squeezed = self.squeeze(x)
        even, link = squeezed[:, 0::2], squeezed[:, 1::2]
        fields = [even + link]
        for conv in self.chain:
            link = conv(link)
            fields.append(link)
        mixed: Tensor = self.project(torch.cat(fields, dim=1))
        return x + mixed if self.in_channels == self.out_channels else mixed
