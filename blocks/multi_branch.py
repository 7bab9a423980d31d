"""LM-Net's multi-branch convolution: parallel depthwise kernels while training, one depthwise kernel afterwards.

Source: "LM-Net: A Light-weight and Multi-scale Network for Medical Image Segmentation", 2024, arXiv 2501.03838.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights
from torch.utils.checkpoint import checkpoint

from lmnet.blocks import branches_compiled
from lmnet.blocks.checks import check_map, check_odd, check_positive
from lmnet.blocks.fused_conv import FusedConv2d
from lmnet.blocks.registry import Example, register

Kernel = int | Sequence[int]
KERNELS: tuple[Kernel, ...] = (5, 3, (3, 1), (1, 3))


def kernel_sides(where: str, kernels: Sequence[Kernel]) -> list[tuple[int, int]]:
    """Return each kernel as (height, width); ValueError if there is none or a side is even."""
    if not kernels:
        raise ValueError(f"{where}: kernels must hold one kernel or more, got kernels=[]. Use [3].")
    sides = []
    if len(kernels) > 16:
        raise ValueError(f"{where}: there must be at most 16 kernels, got {len(kernels)}. Leave some out.")
    for kernel in kernels:
        pair = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
        if len(pair) != 2:
            raise ValueError(
                f"{where}: a kernel must be a side or [height, width], got kernel={list(pair)}. Use [3, 1]."
            )
        check_odd(where, kernel_height=pair[0], kernel_width=pair[1])
        sides.append((pair[0], pair[1]))
    return sides


MAX_CONVOLUTIONS = 320
"""Most convolutions of one stage: planning a node stays under a second."""


class DepthwiseBranch(nn.Module):
    """A depthwise convolution without bias, then batch norm."""

    def __init__(self, channels: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map."""
        return self.norm(self.conv(x))

    def fused(self, kernel: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return weight (zero-padded to ``kernel``) and bias of the one convolution that equals this branch in eval."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            self.conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        margin_h = (kernel[0] - weight.shape[2]) // 2
        margin_w = (kernel[1] - weight.shape[3]) // 2
        return F.pad(weight, (margin_w, margin_w, margin_h, margin_h)), bias


@register("multi_branch", example=Example({"out_channels": 8}, ((6, 20, 24),), ((8, 20, 24),)))
class MultiBranchConv(nn.Module):
    """Mix a feature map's channels, convolve it depthwise at several kernels at once, weigh the channels, mix again.

    1x1 convolution to the hidden channels, batch norm, Hardswish; depthwise branches (each with batch norm), summed;
    GELU; squeeze-excite; 1x1 convolution to ``out_channels``; plus a 1x1 convolution of the input.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        expand_ratio: hidden channels = round(expand_ratio * out_channels).
        kernels: depthwise branches, each an odd side or [height, width].
        squeeze_ratio: hidden channels are divided by it inside squeeze-excite; None leaves squeeze-excite out.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import MultiBranchConv
        >>> block = MultiBranchConv(16, out_channels=32).eval()
        >>> x = torch.randn(1, 16, 40, 40)
        >>> before = block(x)
        >>> block.reparameterize()  # four depthwise branches become one
        >>> torch.allclose(before, block(x), atol=1e-5)
        True

    Cost:
        MACs per pixel, with e hidden channels: e * (in_channels + out_channels) + in_channels * out_channels + e * k;
        k is the sum of the branches' areas while training and the largest height times the largest width afterwards.
        Squeeze-excite adds 2 * e * (e // squeeze_ratio) per image.

    Source:
        LM-Net, arXiv 2501.03838, multi-branch module; the authors' release code.

    Differs:
        any set of kernels; hidden channels by ratio rather than by number.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        expand_ratio: float = 2.0,
        kernels: Sequence[Kernel] = KERNELS,
        squeeze_ratio: int | None = 4,
    ) -> None:
        super().__init__()
        where = "multi_branch"
        check_positive(where, in_channels=in_channels, out_channels=out_channels, expand_ratio=expand_ratio)
        sides = kernel_sides(where, kernels)
        hidden = max(1, round(expand_ratio * out_channels))
        self.in_channels, self.out_channels = in_channels, out_channels
        self.expand = nn.Conv2d(in_channels, hidden, 1)
        self.expand_norm: nn.Module = nn.BatchNorm2d(hidden)
        self.expand_act: nn.Module = nn.Hardswish()
        self.branches: nn.ModuleList | None = nn.ModuleList(DepthwiseBranch(hidden, side) for side in sides)
        self.depthwise: nn.Conv2d | None = None
        self.act: nn.Module = nn.GELU()
        self.squeeze_excite: nn.Module = nn.Identity()
        if squeeze_ratio is not None:
            check_positive(where, squeeze_ratio=squeeze_ratio)
            from timm.layers import SqueezeExcite  # late: its import takes longer than torch's

            squeezed = max(1, hidden // squeeze_ratio)
            self.squeeze_excite = SqueezeExcite(hidden, rd_channels=squeezed, gate_layer="hard_sigmoid")
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)
        self._kernel = (max(height for height, _ in sides), max(width for _, width in sides))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        check_map("multi_branch", x, self.in_channels)
        hidden = self.expand_act(self.expand_norm(self.expand(x)))
        mixed = self._sum_of_branches(hidden) if self.depthwise is None else self.depthwise(hidden)
        is_trained = self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if is_trained and not self._has_kernel(hidden):  # the kernel itself saves more
            # two maps less to keep for the backward pass, which computes them again: a tenth of a net's memory
            weighed = checkpoint(self._weighing(), mixed, use_reentrant=False, preserve_rng_state=False)
        else:
            weighed = self.project(self.squeeze_excite(self.act(mixed)))
        if isinstance(self.shortcut, FusedConv2d):
            return self.shortcut(x, plus=weighed)
        return weighed + self.shortcut(x)

    def _sum_of_branches(self, hidden: Tensor) -> Tensor:
        branches = self._typed_branches()
        if self._has_kernel(hidden):
            convs, norms = [branch.conv for branch in branches], [branch.norm for branch in branches]
            return branches_compiled.sum_of_branches(hidden, convs, norms)
        mixed: Tensor = branches[0](hidden)
        for branch in branches[1:]:
            mixed = mixed + branch(hidden)
        return mixed

    def _has_kernel(self, hidden: Tensor) -> bool:
        """Say whether the compiled branches are to be trained on this map."""
        branches = self._typed_branches()
        convs, norms = [branch.conv for branch in branches], [branch.norm for branch in branches]
        return self.training and bool(branches) and branches_compiled.can_compute(hidden, convs, norms)

    def _typed_branches(self) -> list[DepthwiseBranch]:
        return [cast("DepthwiseBranch", branch) for branch in self.branches or ()]

    def _weighing(self) -> Callable[[Tensor], Tensor]:
        """Return activation, squeeze-excite and projection with the parameters of now.

        The backward pass computes them again when ``torch.func.functional_call`` on a net has put the net's own back.
        """
        tail = (self.squeeze_excite, self.project)
        given: list[dict[str, Tensor]] = [dict(module.named_parameters()) for module in tail]

        def weigh(mixed: Tensor) -> Tensor:
            weighed: Tensor = self.act(mixed)
            for module, parameters in zip(tail, given, strict=True):
                weighed = functional_call(module, parameters, (weighed,))
            return weighed

        return weigh

    def fold_norm(self) -> None:
        """Fold the batch norm behind the first convolution into it, in place; the block must be in eval mode.

        Activations and the sum at the end join the convolutions before them (``lmnet.blocks.fused_conv``).
        """
        if isinstance(self.expand_norm, nn.BatchNorm2d):
            conv = fuse_conv_bn_eval(self.expand, self.expand_norm)
            self.expand, self.expand_norm, self.expand_act = (
                FusedConv2d(conv, "hardswish"),
                nn.Identity(),
                nn.Identity(),
            )
            self.shortcut = FusedConv2d(self.shortcut)
        if self.depthwise is not None and isinstance(self.act, nn.GELU):
            self.depthwise, self.act = FusedConv2d(self.depthwise, "gelu"), nn.Identity()

    def reparameterize(self) -> None:
        """Replace the branches by the one depthwise convolution that they equal in eval, in place.

        Raises:
            RuntimeError: the block is in training mode, where batch norm is not a constant.
        """
        if self.branches is None:
            return
        if self.training:
            raise RuntimeError("multi_branch: reparameterize needs eval mode, got training=True. Call .eval() first.")
        fused = [branch.fused(self._kernel) for branch in self.branches]  # type: ignore[operator]
        weight, bias = sum(weight for weight, _ in fused), sum(bias for _, bias in fused)
        channels, padding = self.expand.out_channels, (self._kernel[0] // 2, self._kernel[1] // 2)
        conv = nn.Conv2d(channels, channels, self._kernel, padding=padding, groups=channels, device="meta")
        conv.weight, conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
        self.depthwise, self.branches = conv.train(self.training), None


@register("multi_branch_stage", example=Example({"out_channels": 8, "depth": 2}, ((6, 20, 24),), ((8, 20, 24),)))
class MultiBranchStage(nn.Sequential):
    """Apply ``depth`` multi-branch convolutions in a row.

    Args:
        in_channels: channels of the input.
        out_channels: channels of every block's output.
        depth: number of blocks.
        expand_ratio: see MultiBranchConv.
        kernels: see MultiBranchConv.
        squeeze_ratio: see MultiBranchConv.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import MultiBranchStage
        >>> MultiBranchStage(3, out_channels=16, depth=2)(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 16, 64, 64])

    Cost:
        that of its blocks, the first from in_channels, the others from out_channels.

    Source:
        LM-Net, arXiv 2501.03838: two blocks at every level of encoder and decoder.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        depth: int = 2,
        expand_ratio: float = 2.0,
        kernels: Sequence[Kernel] = KERNELS,
        squeeze_ratio: int | None = 4,
    ) -> None:
        check_positive("multi_branch_stage", depth=depth)
        most = MAX_CONVOLUTIONS // (len(kernels) + 4)  # a block has four convolutions besides its kernels
        if depth > most:
            raise ValueError(
                f"multi_branch_stage: depth must be at most {most} with {len(kernels)} kernels, got depth={depth}. "
                "Use several nodes."
            )
        super().__init__(
            *(
                MultiBranchConv(
                    in_channels if index == 0 else out_channels,
                    out_channels=out_channels,
                    expand_ratio=expand_ratio,
                    kernels=kernels,
                    squeeze_ratio=squeeze_ratio,
                )
                for index in range(depth)
            )
        )
        self.in_channels, self.out_channels = in_channels, out_channels
