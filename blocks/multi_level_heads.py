"""Heads on several maps of an encoder: a whole decoder in one cheap step.

Source: Howard et al.: "Searching for MobileNetV3", 2019, arXiv 1905.02244, section 6.4 (LR-ASPP), after the code of
torchvision (BSD 3-Clause); Xie et al.: "SegFormer: Simple and Efficient Design for Semantic Segmentation with
Transformers", 2021, arXiv 2105.15203, section 3.2 (MLP decoder), after the paper; Lin et al.: "Feature Pyramid
Networks for Object Detection", 2017, arXiv 1612.03144 (the pyramid), and Kirillov et al.: "Panoptic Feature Pyramid
Networks", 2019, arXiv 1901.02446 (its semantic branch), after the papers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lmnet.blocks.checks import check_inputs, check_maps, check_positive, check_rate, make_norm
from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.registry import Example, register


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def _enlarged(logits: Tensor, scale: int) -> Tensor:
    if scale == 1:
        return logits
    return F.interpolate(logits, scale_factor=float(scale), mode="bilinear", align_corners=False)


def _check_finest_first(where: str, maps: Sequence[Tensor]) -> None:
    for index in range(1, len(maps)):
        fine, coarse = maps[index - 1].shape[2:], maps[index].shape[2:]
        if coarse[0] > fine[0] or coarse[1] > fine[1]:
            raise ValueError(
                f"{where}: inputs must be the finest first, got {fine[0]}x{fine[1]} (input {index - 1}) before "
                f"{coarse[0]}x{coarse[1]} (input {index}). Turn the list in from round."
            )


@register("lraspp_head", example=Example({"scale": 8}, ((6, 8, 12), (16, 2, 3)), ((2, 64, 96),)))
class LrasppHead(nn.Module):
    """Classify a coarse map, weighted by its mean over the image, and a fine map, and add both (lite R-ASPP).

    Args:
        in_channels: channels of the fine and of the coarse map.
        num_classes: classes, background included.
        embed_channels: channels that the coarse map is brought to.
        scale: whole factor of a bilinear upsampling (corners not aligned) of the logits; 1 for none.

    Shapes:
        (N, C_fine, H, W) and (N, C_coarse, h, w) with h <= H, w <= W -> (N, num_classes, scale * H, scale * W).

    Raises:
        ValueError: not two inputs, the finest not first, or an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import LrasppHead
        >>> LrasppHead([40, 960], scale=8)(torch.randn(1, 40, 32, 32), torch.randn(1, 960, 8, 8)).shape
        torch.Size([1, 2, 256, 256])

    Cost:
        MACs: embed_channels * (C_coarse * (h * w + 1) + num_classes * H * W) + C_fine * num_classes * H * W.

    Source:
        MobileNetV3, arXiv 1905.02244, section 6.4, with the pooling over the whole map of torchvision's code.

    Differs:
        the encoder is not dilated: the coarse map may have any stride.
    """

    def __init__(
        self, in_channels: Sequence[int], *, num_classes: int = 2, embed_channels: int = 128, scale: int = 1
    ) -> None:
        super().__init__()
        check_inputs("lraspp_head", in_channels, exactly=2)
        check_positive("lraspp_head", num_classes=num_classes, embed_channels=embed_channels, scale=scale)
        fine, coarse = in_channels
        self.in_channels, self.out_channels, self.scale = list(in_channels), num_classes, scale
        self.embed = nn.Conv2d(coarse, embed_channels, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(embed_channels)
        self.weigh = nn.Conv2d(coarse, embed_channels, 1, bias=False)
        self.classify_coarse = nn.Conv2d(embed_channels, num_classes, 1)
        self.classify_fine = nn.Conv2d(fine, num_classes, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Return the logits."""
        check_maps("lraspp_head", (fine, coarse), self.in_channels)
        _check_finest_first("lraspp_head", (fine, coarse))
        weights = torch.sigmoid(self.weigh(coarse.mean((2, 3), keepdim=True)))
        context = torch.relu(self.norm(self.embed(coarse))) * weights
        logits = self.classify_coarse(_resized(context, fine)) + self.classify_fine(fine)
        return _enlarged(logits, self.scale)

    def fold_norm(self) -> None:
        """Fold the batch norm into the convolution before it, in place; the block must be in eval mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.embed, self.norm = fuse_conv_bn_eval(self.embed, self.norm), nn.Identity()


@register(
    "segformer_head",
    example=Example({"embed_channels": 16, "scale": 4}, ((8, 16, 24), (12, 8, 12), (16, 4, 6)), ((2, 64, 96),)),
)
class SegformerHead(nn.Module):
    """Bring all maps to one width and to the finest map's size, mix them by one 1x1 convolution, and classify.

    Args:
        in_channels: channels of each map, the finest first.
        num_classes: classes, background included.
        embed_channels: channels that every map is brought to.
        drop_rate: share of the mixed channels that are zero while training.
        scale: whole factor of a bilinear upsampling (corners not aligned) of the logits; 1 for none.

    Shapes:
        n times (N, C_i, H_i, W_i), the finest first -> (N, num_classes, scale * H_0, scale * W_0).

    Raises:
        ValueError: fewer than two inputs, the finest not first, or an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import SegformerHead
        >>> head = SegformerHead([32, 64], scale=4)
        >>> head(torch.randn(1, 32, 64, 64), torch.randn(1, 64, 32, 32)).shape
        torch.Size([1, 2, 256, 256])

    Cost:
        MACs, with E embed_channels: E * (C_i + E) * H_i * W_i for each map, re-parameterised E * C_i * H_i * W_i; plus
        E * num_classes * H_0 * W_0.

    Source:
        SegFormer, arXiv 2105.15203, section 3.2.

    Differs:
        the 1x1 convolution over the concatenated maps is applied map by map, before these are upsampled, and the
        results are added. Both are linear and the weights of interpolation sum to one, so that the output is the
        same, at a part of the cost.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        num_classes: int = 2,
        embed_channels: int = 128,
        drop_rate: float = 0.1,
        scale: int = 1,
    ) -> None:
        super().__init__()
        where = "segformer_head"
        check_inputs(where, in_channels, at_least=2)
        check_positive(where, num_classes=num_classes, embed_channels=embed_channels, scale=scale)
        check_rate(where, drop_rate=drop_rate)
        self.in_channels, self.out_channels, self.scale = list(in_channels), num_classes, scale
        width = embed_channels
        self.embed = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in in_channels)
        self.mix: nn.ModuleList | None = nn.ModuleList(nn.Conv2d(width, width, 1, bias=False) for _ in in_channels)
        self.norm: nn.Module = nn.BatchNorm2d(width)
        self.drop = nn.Dropout2d(drop_rate)
        self.classify = nn.Conv2d(width, num_classes, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        """Return the logits."""
        check_maps("segformer_head", maps, self.in_channels)
        _check_finest_first("segformer_head", maps)
        levels = [embed(x) for embed, x in zip(self.embed, maps, strict=True)]
        if self.mix is not None:
            levels = [mix(x) for mix, x in zip(self.mix, levels, strict=True)]
        total = levels[0]
        for x in levels[1:]:
            total = total + _resized(x, levels[0])
        return _enlarged(self.classify(self.drop(torch.relu(self.norm(total)))), self.scale)

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Merge each map's two 1x1 convolutions and the batch norm into one convolution, in place.

        Raises:
            RuntimeError: the block is in training mode, where batch norm is not a constant.
        """
        if self.mix is None:
            return
        if self.training:
            raise RuntimeError("segformer_head: reparameterize needs eval mode, got training=True. Call .eval() first.")
        norm = self.norm
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        for index, (embed, mix) in enumerate(zip(self.embed, self.mix, strict=True)):
            assert isinstance(embed, nn.Conv2d)
            assert isinstance(mix, nn.Conv2d)
            assert embed.bias is not None
            weight = mix.weight[:, :, 0, 0]
            merged = nn.Conv2d(embed.in_channels, embed.out_channels, 1, device="meta")
            bias = scale * (weight @ embed.bias)
            if index == 0:
                bias = bias + norm.bias - scale * norm.running_mean
            merged.weight = nn.Parameter((scale[:, None] * (weight @ embed.weight[:, :, 0, 0]))[:, :, None, None])
            merged.bias = nn.Parameter(bias)
            self.embed[index] = merged.train(self.training)
        self.mix, self.norm = None, nn.Identity()


@register(
    "fpn_head",
    example=Example(
        {"pyramid_channels": 8, "embed_channels": 6, "scale": 4},
        ((8, 16, 24), (12, 8, 12), (16, 4, 6)),
        ((2, 64, 96),),
    ),
)
class FpnHead(nn.Module):
    """Make all maps a pyramid of one width, from the coarsest down, enlarge its levels step by step, add, and classify.

    Args:
        in_channels: channels of each map, the finest first.
        num_classes: classes, background included.
        pyramid_channels: channels of the pyramid, 256 in the paper.
        embed_channels: channels in which the levels are added, 128 in the paper.
        norm_layer: timm's name of the normalisation of the second part.
        norm_groups: groups of a ``groupnorm``; None for timm's 32.
        scale: whole factor of a bilinear upsampling (corners not aligned) of the logits; 1 for none.

    Shapes:
        n times (N, C_i, H_i, W_i), the finest first -> (N, num_classes, scale * H_0, scale * W_0).

    Raises:
        ValueError: fewer than two or more than eight inputs, the finest not first, or an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import FpnHead
        >>> head = FpnHead([32, 64], scale=4)
        >>> head(torch.randn(1, 32, 64, 64), torch.randn(1, 64, 32, 32)).shape
        torch.Size([1, 2, 256, 256])

    Cost:
        MACs, with P pyramid_channels, E embed_channels and S_i = H_i * W_i: P * (C_i + 9 * P + 9 * E) * S_i for each
        map i; 9 * E^2 * (S_1 + ... + S_(i-1)) for each map i > 1; plus E * num_classes * S_0.

    Source:
        The pyramid of arXiv 1612.03144: 1x1 laterals, nearest upsampling and addition, a 3x3 convolution of each sum.
        Then the semantic branch of arXiv 1901.02446: a level that is i steps coarser than the finest passes i times a
        3x3 convolution, normalisation, ReLU and bilinear upsampling, the finest level all but the upsampling, once;
        the sum is classified 1x1.

    Differs:
        batch norm instead of group norm, as it can be folded (``norm_layer: groupnorm`` is the paper's); a step
        enlarges to the size of the next finer map, which is a factor of 2 in the paper.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        num_classes: int = 2,
        pyramid_channels: int = 64,
        embed_channels: int = 64,
        norm_layer: str = "batchnorm2d",
        norm_groups: int | None = None,
        scale: int = 1,
    ) -> None:
        super().__init__()
        where = "fpn_head"
        check_inputs(where, in_channels, at_least=2, at_most=8)
        check_positive(where, num_classes=num_classes, pyramid_channels=pyramid_channels)
        check_positive(where, embed_channels=embed_channels, scale=scale)
        make_norm(where, norm_layer, embed_channels, groups=norm_groups)  # refused here under this block's name
        self.in_channels, self.out_channels, self.scale = list(in_channels), num_classes, scale
        self.laterals = nn.ModuleList(nn.Conv2d(channels, pyramid_channels, 1) for channels in in_channels)
        self.smooth = nn.ModuleList(nn.Conv2d(pyramid_channels, pyramid_channels, 3, padding=1) for _ in in_channels)
        self.steps = nn.ModuleList(
            nn.ModuleList(
                ConvNormAct(
                    embed_channels if step else pyramid_channels,
                    out_channels=embed_channels,
                    norm_layer=norm_layer,
                    norm_groups=norm_groups,
                    act_layer="relu",
                    bias=False,
                )
                for step in range(max(1, level))
            )
            for level in range(len(in_channels))
        )
        self.classify = nn.Conv2d(embed_channels, num_classes, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        """Return the logits."""
        check_maps("fpn_head", maps, self.in_channels)
        _check_finest_first("fpn_head", maps)
        pyramid = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for level in range(len(maps) - 2, -1, -1):
            pyramid[level] = pyramid[level] + F.interpolate(pyramid[level + 1], size=maps[level].shape[2:])
        total = None
        for level, (smooth, steps) in enumerate(zip(self.smooth, self.steps, strict=True)):
            x = smooth(pyramid[level])
            assert isinstance(steps, nn.ModuleList)
            for step, mix in enumerate(steps):
                x = mix(x)
                if level:
                    x = _resized(x, maps[level - step - 1])
            total = x if total is None else total + x
        assert total is not None
        return _enlarged(self.classify(total), self.scale)
