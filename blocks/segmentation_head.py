"""The last step of a segmentation net: features to logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_odd, check_positive
from lmnet.blocks.registry import Example, register


@register("segmentation_head", example=Example({"scale": 2}, ((6, 8, 12),), ((2, 16, 24),)))
class SegmentationHead(nn.Module):
    """Turn features into one map of logits a class, at ``scale`` times the size.

    Args:
        in_channels: channels of the input.
        num_classes: classes, background included.
        kernel_size: side of the convolution's kernel, odd.
        scale: whole factor of a bilinear upsampling (corners not aligned) after the convolution; 1 for none.

    Shapes:
        (N, in_channels, H, W) -> (N, num_classes, scale * H, scale * W).

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import SegmentationHead
        >>> SegmentationHead(16, num_classes=4, scale=4)(torch.randn(1, 16, 64, 64)).shape
        torch.Size([1, 4, 256, 256])

    Cost:
        in_channels * num_classes * kernel_size^2 MACs per input pixel.

    Source:
        LM-Net, arXiv 2501.03838: a 1x1 convolution.
    """

    def __init__(self, in_channels: int, *, num_classes: int = 2, kernel_size: int = 1, scale: int = 1) -> None:
        super().__init__()
        check_positive("segmentation_head", in_channels=in_channels, num_classes=num_classes, scale=scale)
        check_odd("segmentation_head", kernel_size=kernel_size)
        self.in_channels, self.out_channels, self.scale = in_channels, num_classes, scale
        self.conv = nn.Conv2d(in_channels, num_classes, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        check_map("segmentation_head", x, self.in_channels)
        logits = self.conv(x)
        if self.scale > 1:
            logits = F.interpolate(logits, scale_factor=float(self.scale), mode="bilinear", align_corners=False)
        return logits
