"""The multi-kernel inverted residual of MK-UNet and EMCAD: depthwise convolutions of several sizes, each activated.

Source: Rahman, Marculescu: "MK-UNet: Multi-kernel Lightweight CNN for Medical Image Segmentation", 2025,
arXiv 2509.18493; the authors' code, https://github.com/SLDGroup/MK-UNet (BSD 3-Clause). EMCAD (2024, arXiv 2405.06880)
has the same block with equal widths, its MSCB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from lmnet.blocks import branches_compiled
from lmnet.blocks.checks import check_map, check_odd, check_positive
from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.rearrange import shuffled
from lmnet.blocks.registry import Example, register


@register("multi_kernel", example=Example({"out_channels": 8}, ((6, 16, 24),), ((8, 16, 24),)))
class MultiKernelConv(nn.Module):
    """Widen a feature map, convolve it depthwise at several kernel sizes, sum, shuffle the channels, and project.

    1x1 convolution, batch norm, activation; depthwise convolutions, each with batch norm and activation, summed;
    channel shuffle; 1x1 convolution and batch norm; plus the input, through a 1x1 convolution where the width changes.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernels: odd sides of the depthwise kernels.
        expand_ratio: hidden channels = expand_ratio * in_channels.
        act_layer: timm's name of the activation.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import MultiKernelConv
        >>> MultiKernelConv(16, out_channels=32)(torch.randn(1, 16, 40, 56)).shape
        torch.Size([1, 32, 40, 56])

    Cost:
        MACs per pixel, with e hidden channels: e * (in_channels + out_channels + sum of squared kernels), plus
        in_channels * out_channels where these differ.

    Source:
        MK-UNet, arXiv 2509.18493, MKIR, with ReLU6; EMCAD, arXiv 2405.06880, MSCB, with ReLU.

    Differs:
        the branches cannot be merged into one convolution as those of ``multi_branch`` can: each is activated. On a
        CPU they are trained by the same compiled kernel, where the activation is relu or relu6.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        kernels: Sequence[int] = (1, 3, 5),
        expand_ratio: int = 2,
        act_layer: str = "relu6",
    ) -> None:
        super().__init__()
        where = "multi_kernel"
        check_positive(where, in_channels=in_channels, out_channels=out_channels, expand_ratio=expand_ratio)
        if not 1 <= len(kernels) <= 16:
            raise ValueError(f"{where}: kernels must hold 1 to 16 sides, got {len(kernels)}. Use [1, 3, 5].")
        for side in kernels:
            check_odd(where, kernels=side)
        hidden = expand_ratio * in_channels
        self.in_channels, self.out_channels = in_channels, out_channels
        self.groups = math.gcd(hidden, out_channels)
        self.expand = ConvNormAct(in_channels, out_channels=hidden, kernel_size=1, bias=False, act_layer=act_layer)
        self.branches = nn.ModuleList(
            ConvNormAct(hidden, out_channels=hidden, kernel_size=side, groups=hidden, bias=False, act_layer=act_layer)
            for side in kernels
        )
        self.project = ConvNormAct(hidden, out_channels=out_channels, kernel_size=1, bias=False, act_layer="none")
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        check_map("multi_kernel", x, self.in_channels)
        mixed = self._sum_of_branches(self.expand(x))
        return self.shortcut(x) + self.project(shuffled(mixed, self.groups))

    def _sum_of_branches(self, hidden: Tensor) -> Tensor:
        branches = [cast("ConvNormAct", branch) for branch in self.branches]
        if self.training and type(branches[0].act) in branches_compiled.CEILINGS:
            convs = [branch.conv for branch in branches]
            norms = [cast("nn.BatchNorm2d", branch.norm) for branch in branches]
            if branches_compiled.can_compute(hidden, convs, norms):
                return branches_compiled.sum_of_branches(hidden, convs, norms, act=branches[0].act)
        mixed: Tensor = branches[0](hidden)
        for branch in branches[1:]:
            mixed = mixed + branch(hidden)
        return mixed
