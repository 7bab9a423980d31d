"""UNeXt's tokenised MLP: groups of channels are shifted along an axis, so that a linear layer mixes neighbours.

Source: Valanarasu, Patel: "UNeXt: MLP-based Rapid Medical Image Segmentation Network", 2022, arXiv 2203.04967,
section 2; the authors' code, https://github.com/jeya-maria-jose/UNeXt-pytorch (MIT).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_depth, check_map, check_positive
from lmnet.blocks.registry import Example, register

NUM_SHIFTS = 5


def shifted(x: Tensor, dim: int, num_shifts: int) -> Tensor:
    """Shift groups of channels along an axis, zeros from outside.

    Args:
        x: (N, H, W, C).
        dim: 1 for rows, 2 for columns.
        num_shifts: groups; group g, as ``torch.chunk`` cuts them, moves by g - num_shifts // 2 pixels.

    Returns:
        (N, H, W, C).
    """
    length, parts = x.shape[dim], []
    for index, part in enumerate(x.chunk(num_shifts, dim=3)):
        step = index - num_shifts // 2
        margins = (max(step, 0), max(-step, 0))
        padding = (0, 0, *margins) if dim == 2 else (0, 0, 0, 0, *margins)
        parts.append(F.pad(part, padding).narrow(dim, max(-step, 0), length))
    return torch.cat(parts, dim=3)


class ShiftedMlp(nn.Module):
    """Shift along the rows, linear layer, 3x3 depthwise convolution, GELU, shift along the columns, linear layer.

    Args:
        channels: channels in and out.
        hidden_channels: channels between the linear layers.
        num_shifts: groups of channels.

    Shapes:
        (N, H, W, channels) -> (N, H, W, channels).
    """

    def __init__(self, channels: int, hidden_channels: int, num_shifts: int = NUM_SHIFTS) -> None:
        super().__init__()
        self.num_shifts = num_shifts
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.depthwise = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed tokens."""
        x = self.fc1(shifted(x, 1, self.num_shifts)).permute(0, 3, 1, 2)
        x = self.act(self.depthwise(x).permute(0, 2, 3, 1))
        return self.fc2(shifted(x, 2, self.num_shifts))


@register("shift_mlp", example=Example({}, ((10, 8, 13),), ((10, 8, 13),)))
class ShiftMlpStage(nn.Module):
    """Mix every pixel with its neighbours by MLPs on shifted channels, each with a residual; normalise at the end.

    Args:
        in_channels: channels of the input.
        depth: MLPs, one behind the other.
        mlp_ratio: hidden channels of an MLP = int(mlp_ratio * in_channels).
        num_shifts: groups of channels that are shifted by different steps, odd; UNeXt has 5, steps -2 to 2.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Cost:
        MACs per pixel, with h hidden channels: depth * h * (2 * in_channels + 9).

    Source:
        UNeXt, arXiv 2203.04967, tokenised MLP block, and the layer norm behind it.
    """

    def __init__(
        self, in_channels: int, *, depth: int = 1, mlp_ratio: float = 1.0, num_shifts: int = NUM_SHIFTS
    ) -> None:
        super().__init__()
        where = "shift_mlp"
        check_positive(where, in_channels=in_channels, mlp_ratio=mlp_ratio)
        check_depth(where, depth=depth, num_shifts=num_shifts)
        self.in_channels = self.out_channels = in_channels
        hidden = max(1, int(mlp_ratio * in_channels))
        self.norms = nn.ModuleList(nn.LayerNorm(in_channels) for _ in range(depth))
        self.mlps = nn.ModuleList(ShiftedMlp(in_channels, hidden, num_shifts) for _ in range(depth))
        self.norm = nn.LayerNorm(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        check_map("shift_mlp", x, self.in_channels)
        x = x.permute(0, 2, 3, 1)
        for norm, mlp in zip(self.norms, self.mlps, strict=True):
            x = x + mlp(norm(x))
        return self.norm(x).permute(0, 3, 1, 2)
