"""Change a feature map's size without weights: pooling and interpolation by a whole factor."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_choice, check_map, check_positive, make_act
from lmnet.blocks.registry import Example, register

POOL_MODES = ("max", "average")
RESIZE_MODES = ("nearest", "bilinear", "bicubic")


@register("pool", example=Example({}, ((6, 16, 24),), ((6, 8, 12),)))
class Pool(nn.Module):
    """Make a feature map smaller: each output pixel is the maximum or the mean of ``stride`` x ``stride`` pixels.

    Args:
        in_channels: channels of the input.
        mode: ``max`` or ``average``.
        stride: side of the pooled squares; 1 keeps the map.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, floor(H / stride), floor(W / stride)).

    Raises:
        ValueError: an option is out of range.

    Cost:
        no MACs.
    """

    def __init__(self, in_channels: int, *, mode: str = "max", stride: int = 2) -> None:
        super().__init__()
        check_positive("pool", in_channels=in_channels, stride=stride)
        check_choice("pool", POOL_MODES, mode=mode)
        self.in_channels = self.out_channels = in_channels
        self.mode, self.stride = mode, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the smaller map."""
        check_map("pool", x, self.in_channels)
        if self.stride == 1:
            return x
        return F.max_pool2d(x, self.stride) if self.mode == "max" else F.avg_pool2d(x, self.stride)


@register("resize", example=Example({}, ((6, 8, 12),), ((6, 16, 24),)))
class Resize(nn.Module):
    """Make a feature map larger by interpolation, then activate it if asked.

    Args:
        in_channels: channels of the input.
        scale: whole factor; 1 keeps the map.
        mode: ``nearest``, ``bilinear`` or ``bicubic``.
        align_corners: whether the outer pixels' centres stay in place (bilinear and bicubic).
        act_layer: timm's name of an activation behind the interpolation, or ``none``.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, scale * H, scale * W).

    Raises:
        ValueError: an option is out of range, or align_corners with ``nearest``.

    Cost:
        no MACs.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        scale: int = 2,
        mode: str = "bilinear",
        align_corners: bool = False,
        act_layer: str = "none",
    ) -> None:
        super().__init__()
        check_positive("resize", in_channels=in_channels, scale=scale)
        check_choice("resize", RESIZE_MODES, mode=mode)
        if align_corners and mode == "nearest":
            raise ValueError("resize: mode nearest has no corners to align, got align_corners=True. Leave it out.")
        self.in_channels = self.out_channels = in_channels
        self.scale, self.mode, self.align_corners = scale, mode, align_corners
        self.act = make_act("resize", act_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the larger map."""
        check_map("resize", x, self.in_channels)
        if self.scale > 1:
            aligned = None if self.mode == "nearest" else self.align_corners
            x = F.interpolate(x, scale_factor=float(self.scale), mode=self.mode, align_corners=aligned)
        return self.act(x)
