"""LM-Net's pyramid pooling: every level of the encoder, seen at the size of the smallest.

Source: "LM-Net: A Light-weight and Multi-scale Network for Medical Image Segmentation", 2024, arXiv 2501.03838.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_inputs, check_maps
from lmnet.blocks.registry import Example, register


def pooling_matrix(length: int, out_length: int, like: Tensor) -> Tensor:
    """Return (out_length, length): the weights of adaptive average pooling along one side."""
    index = torch.arange(out_length, device=like.device)
    start = (index * length) // out_length
    end = ((index + 1) * length + out_length - 1) // out_length
    position = torch.arange(length, device=like.device)
    inside = (position >= start[:, None]) & (position < end[:, None])
    return inside.to(like.dtype) / (end - start)[:, None].to(like.dtype)


def pool_to(x: Tensor, height: int, width: int) -> Tensor:
    """Average-pool a map adaptively to (height, width).

    While exporting, as two matrix products: exporters have adaptive pooling only for sizes that are known and divide.
    """
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, (height, width))
    rows, columns = pooling_matrix(x.shape[2], height, x), pooling_matrix(x.shape[3], width, x)
    return rows @ x @ columns.T


@register(
    "pyramid_pool",
    example=Example({}, ((4, 32, 48), (8, 16, 24), (16, 8, 12)), ((28, 8, 12),)),
)
class PyramidPool(nn.Module):
    """Average-pool all maps to the size of the last one and concatenate them in their order.

    Args:
        in_channels: channels of each input; the last input sets the size.

    Shapes:
        (N, C_i, H_i, W_i) for each input i, the last (N, C, H, W) -> (N, sum of all C_i, H, W).

    Raises:
        ValueError: fewer than two inputs, or a map that is smaller than the last one.

    Example:
        >>> import torch
        >>> from lmnet.blocks import PyramidPool
        >>> maps = [torch.randn(1, 16, 64, 64), torch.randn(1, 32, 32, 32), torch.randn(1, 64, 16, 16)]
        >>> PyramidPool([16, 32, 64])(*maps).shape
        torch.Size([1, 112, 16, 16])

    Cost:
        no MACs.

    Source:
        LM-Net, arXiv 2501.03838: levels 0..4 before the GFT.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        check_inputs("pyramid_pool", in_channels, at_least=2)
        self.in_channels, self.out_channels = list(in_channels), sum(in_channels)

    def forward(self, *maps: Tensor) -> Tensor:
        """Return the pooled maps, one behind the other."""
        check_maps("pyramid_pool", maps, self.in_channels)
        height, width = maps[-1].shape[2:]
        for index, x in enumerate(maps):
            if x.shape[2] < height or x.shape[3] < width:
                raise ValueError(
                    f"pyramid_pool: the last input must be the smallest, got {height}x{width} behind "
                    f"{x.shape[2]}x{x.shape[3]} (input {index}). List the smallest map last."
                )
        return torch.cat([*(pool_to(x, height, width) for x in maps[:-1]), maps[-1]], dim=1)
