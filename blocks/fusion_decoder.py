"""LM-Net's decoder step.

Source: "LM-Net: A Light-weight and Multi-scale Network for Medical Image Segmentation", 2024, arXiv 2501.03838.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lmnet.blocks.checks import check_inputs, check_maps, check_same_size
from lmnet.blocks.multi_branch import KERNELS, Kernel, MultiBranchStage
from lmnet.blocks.registry import Example, register
from lmnet.blocks.resample import Upsample


@register("fusion_decoder", example=Example({"depth": 1}, ((12, 8, 12), (6, 16, 24)), ((6, 16, 24),)))
class FusionDecoder(nn.Module):
    """Upsample the deep map by 2 to the skip's width, add the skip, and refine by a multi-branch stage.

    Args:
        in_channels: channels of the deep map and of the skip; the skip's are the output's.
        depth: multi-branch blocks in the stage.
        expand_ratio: see MultiBranchConv.
        kernels: see MultiBranchConv.
        squeeze_ratio: see MultiBranchConv.
        upsample: ``bilinear``, ``transposed`` or ``pixel_shuffle``, see Upsample.
        activation: batch norm and GELU before (``pre``) or after (``post``) the upsampling, or ``none``.

    Shapes:
        (N, C_deep, H, W) and (N, C_skip, 2 H, 2 W) -> (N, C_skip, 2 H, 2 W).

    Raises:
        ValueError: not two inputs, or the skip is not twice as large as the deep map.

    Example:
        >>> import torch
        >>> from lmnet.blocks import FusionDecoder
        >>> decode = FusionDecoder([64, 32], depth=1)
        >>> decode(torch.randn(1, 64, 16, 16), torch.randn(1, 32, 32, 32)).shape
        torch.Size([1, 32, 32, 32])

    Cost:
        that of Upsample and MultiBranchStage.

    Source:
        LM-Net, arXiv 2501.03838, decoder; bilinear as in the release code, transposed with pre as in the January code.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        depth: int = 2,
        expand_ratio: float = 2.0,
        kernels: Sequence[Kernel] = KERNELS,
        squeeze_ratio: int | None = 4,
        upsample: str = "bilinear",
        activation: str = "none",
    ) -> None:
        super().__init__()
        check_inputs("fusion_decoder", in_channels, exactly=2)
        deep, skip = in_channels
        self.in_channels, self.out_channels = list(in_channels), skip
        self.upsample = Upsample(deep, out_channels=skip, mode=upsample, activation=activation)
        self.stage = MultiBranchStage(
            skip,
            out_channels=skip,
            depth=depth,
            expand_ratio=expand_ratio,
            kernels=kernels,
            squeeze_ratio=squeeze_ratio,
        )

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Return the refined map."""
        check_maps("fusion_decoder", (deep, skip), self.in_channels)
        upsampled = self.upsample(deep)
        check_same_size("fusion_decoder after upsampling", (upsampled, skip))
        return self.stage(upsampled + skip)
