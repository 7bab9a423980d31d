"""Rolling-UNet's MLP: every channel is rolled by another distance, so that linear layers see along lines.

Source: Liu et al.: "Rolling-Unet: Revitalizing MLP's Ability to Efficiently Extract Long-Distance Dependencies for
Medical Image Segmentation", AAAI 2024, DOI 10.1609/aaai.v38i4.28173; the authors' code,
https://github.com/Jiaoyang45/Rolling-Unet (MIT).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_positive, check_rate
from lmnet.blocks.registry import Example, register

ROWS, COLUMNS = 1, 2
"""Axes of (N, H, W, C)."""


def rolled(x: Tensor, dim: int, sign: int) -> Tensor:
    """Roll channel c of (N, H, W, C) by sign * c pixels along an axis, around the edge."""
    length, channels = x.shape[dim], x.shape[3]
    places = torch.arange(length, device=x.device).unsqueeze(1)
    lengths = torch.full((1,), length, device=x.device)  # a tensor: ONNX takes no remainder of a size that is free
    sources = (places - sign * torch.arange(channels, device=x.device)) % lengths
    sources = sources.unsqueeze(1) if dim == ROWS else sources.unsqueeze(0)
    return x.gather(dim, sources.unsqueeze(0).expand(x.shape))


@register("rolling_mlp", example=Example({}, ((8, 16, 24),), ((8, 16, 24),)))
class RollingMlp(nn.Module):
    """Mix a map along its rows, columns and diagonals by MLPs on rolled channels, and near by by a convolution.

    Args:
        in_channels: channels of the input.
        drop_rate: rate of values that are zeroed inside while training.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Cost:
        9 * in_channels * (in_channels + 1) MACs per pixel.

    Source:
        Rolling-UNet, Lo2 block: two orthogonal double-rolled MLPs (DOR-MLP) and a depthwise separable convolution.

    Differs:
        the layer norm that the authors' block holds and never uses is left out.
    """

    def __init__(self, in_channels: int, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        where = "rolling_mlp"
        check_positive(where, in_channels=in_channels)
        check_rate(where, drop_rate=drop_rate)
        self.in_channels = self.out_channels = in_channels
        self.fc1, self.fc2 = nn.Linear(in_channels, in_channels), nn.Linear(in_channels, in_channels)
        self.fc3, self.fc4 = nn.Linear(in_channels, in_channels), nn.Linear(in_channels, in_channels)
        self.norm = nn.LayerNorm(2 * in_channels)
        self.fc5 = nn.Linear(2 * in_channels, in_channels)
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.pointwise = nn.Conv2d(in_channels, in_channels, 1)
        self.near_norm = nn.BatchNorm2d(in_channels)
        self.fc6 = nn.Linear(2 * in_channels, in_channels)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        check_map("rolling_mlp", x, self.in_channels)
        near = self.near_norm(F.relu(self.pointwise(self.depthwise(x)))).permute(0, 2, 3, 1)
        tokens = x.permute(0, 2, 3, 1)
        first = self.drop(F.gelu(self.fc1(rolled(tokens, ROWS, 1))))
        first = self.drop(self.fc2(rolled(first, COLUMNS, 1)))
        second = self.drop(F.gelu(self.fc3(rolled(tokens, COLUMNS, -1))))
        second = self.drop(self.fc4(rolled(second, ROWS, 1)))
        far = self.drop(self.fc5(self.norm(torch.cat([first + tokens, second + tokens], dim=3)))) + tokens
        return self.drop(self.fc6(torch.cat([far, near], dim=3))).permute(0, 3, 1, 2)
