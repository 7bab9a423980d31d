"""MALUNet's parts: dilated gated attention, external attention, and a bridge that weighs all skips at once.

Source: Ruan et al.: "MALUNet: A Multi-Attention and Light-weight UNet for Skin Lesion Segmentation", 2022,
arXiv 2211.01784; the authors' code, https://github.com/JCruan519/MALUNet (no licence file: written again).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import (
    check_depth,
    check_inputs,
    check_map,
    check_maps,
    check_odd,
    check_positive,
    make_norm,
)
from lmnet.blocks.registry import Example, register


def _separable(channels: int, out_channels: int, kernel_size: int, norm_groups: int) -> nn.Sequential:
    """Return a depthwise convolution, group norm and a 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels),
        make_norm("dilated_gated_attention", "groupnorm", channels, groups=norm_groups),
        nn.Conv2d(channels, out_channels, 1),
    )


class GatedAttentionUnit(nn.Module):
    """Multiply a map's 5x5 separable convolution by a gate of its 3x3 one; convolve again; add a 1x1 convolution.

    Args:
        channels: channels of the input.
        out_channels: channels of the output.
        norm_groups: groups of the group norms.

    Shapes:
        (N, channels, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, channels: int, out_channels: int, norm_groups: int = 4) -> None:
        super().__init__()
        self.gate = _separable(channels, channels, 3, norm_groups)
        self.value = _separable(channels, channels, 5, norm_groups)
        self.project = _separable(channels, out_channels, 3, norm_groups)
        self.shortcut = nn.Conv2d(channels, out_channels, 1)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated map."""
        gated = torch.sigmoid(self.gate(x)) * self.act(self.value(x))
        return self.act(self.project(gated)) + self.shortcut(x)


@register("dilated_gated_attention", example=Example({"out_channels": 12}, ((8, 16, 24),), ((12, 16, 24),)))
class DilatedGatedAttention(nn.Module):
    """Convolve groups of channels depthwise at different dilations, mix them 1x1, and gate the result.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        dilations: one a group of channels; their number must divide in_channels.
        norm_groups: groups of the group norms; must divide in_channels.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: an option is out of range or does not divide in_channels.

    Cost:
        in_channels * (52 + 3 * in_channels + 2 * out_channels) MACs per pixel.

    Source:
        MALUNet, arXiv 2211.01784, dilated gated attention block (DGA).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        dilations: Sequence[int] = (7, 5, 2, 1),
        norm_groups: int = 4,
    ) -> None:
        super().__init__()
        where = "dilated_gated_attention"
        check_positive(where, in_channels=in_channels, out_channels=out_channels)
        check_depth(where, number_of_dilations=len(dilations))
        for dilation in dilations:
            check_positive(where, dilations=dilation)
        if not dilations or in_channels % len(dilations):
            raise ValueError(
                f"{where}: dilations must be as many as divide in_channels, got {len(dilations)} for "
                f"in_channels={in_channels}. Use [1]."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        width = in_channels // len(dilations)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width) for dilation in dilations
        )
        self.norm = make_norm(where, "groupnorm", in_channels, groups=norm_groups)
        self.mix = nn.Conv2d(in_channels, in_channels, 1)
        self.act = nn.GELU()
        self.gated = GatedAttentionUnit(in_channels, out_channels, norm_groups)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated map."""
        check_map("dilated_gated_attention", x, self.in_channels)
        parts = x.chunk(len(self.branches), dim=1)
        near_and_far = torch.cat([branch(part) for branch, part in zip(self.branches, parts, strict=True)], dim=1)
        return self.gated(self.act(self.mix(self.norm(near_and_far))))


@register("external_attention", example=Example({}, ((8, 16, 24),), ((8, 16, 24),)))
class ExternalAttention(nn.Module):
    """Let every pixel attend to a learned memory that all images share; add the map; activate.

    Args:
        in_channels: channels of the input.
        memory_ratio: slots of the memory = memory_ratio * in_channels.
        norm_groups: groups of the group norm; must divide in_channels.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: an option is out of range, or norm_groups does not divide in_channels.

    Cost:
        2 * (1 + memory_ratio) * in_channels^2 MACs per pixel.

    Source:
        Guo et al.: Beyond self-attention: external attention using two linear layers, 2021, arXiv 2105.02358; as in
        MALUNet, arXiv 2211.01784.

    Differs:
        keys and values of the memory are two tensors. In the authors' code the second is made as a view of the first:
        one memory while it stays on a CPU, two that begin equal once it was moved to a GPU.
    """

    def __init__(self, in_channels: int, *, memory_ratio: int = 4, norm_groups: int = 4) -> None:
        super().__init__()
        where = "external_attention"
        check_positive(where, in_channels=in_channels, memory_ratio=memory_ratio)
        slots = memory_ratio * in_channels
        self.in_channels = self.out_channels = in_channels
        self.query = nn.Conv2d(in_channels, in_channels, 1)
        self.keys = nn.Conv1d(in_channels, slots, 1, bias=False)
        self.values = nn.Conv1d(slots, in_channels, 1, bias=False)
        self.project = nn.Conv2d(in_channels, in_channels, 1, bias=False)
        self.norm = make_norm(where, "groupnorm", in_channels, groups=norm_groups)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the map with what the memory adds."""
        check_map("external_attention", x, self.in_channels)
        weights = self.keys(self.query(x).flatten(2)).softmax(dim=2)  # over the pixels, then over the memory
        weights = weights / (1e-9 + weights.sum(dim=1, keepdim=True))
        found = self.values(weights).unflatten(2, (x.shape[2], x.shape[3]))
        return self.act(self.norm(self.project(found)) + x)


@register(
    "attention_bridge",
    example=Example({}, ((6, 16, 24), (8, 8, 12), (10, 4, 6)), ((6, 16, 24), (8, 8, 12), (10, 4, 6))),
)
class AttentionBridge(nn.Module):
    """Weigh the pixels of several maps by one shared convolution, then their channels by what all maps hold.

    Args:
        in_channels: channels of each map; their sizes may differ.
        kernel_size: side of the convolution over the channels' mean and maximum, odd.
        dilation: distance of its taps in pixels.

    Shapes:
        (N, C_i, H_i, W_i) for each input i -> a list of the same shapes. In a spec, ``NAME.0`` is the first.

    Raises:
        ValueError: an option is out of range, or no inputs.

    Cost:
        with S the sum of the C_i, MACs: 2 * kernel_size^2 per pixel of every map, and S * (3 + S) per image.

    Source:
        MALUNet, arXiv 2211.01784, spatial and channel attention bridge blocks (SAB, CAB); as in UltraLight VM-UNet,
        arXiv 2403.20035.
    """

    def __init__(self, in_channels: Sequence[int], *, kernel_size: int = 7, dilation: int = 3) -> None:
        super().__init__()
        where = "attention_bridge"
        check_inputs(where, in_channels)
        check_odd(where, kernel_size=kernel_size)
        check_positive(where, dilation=dilation)
        self.in_channels, self.out_channels = list(in_channels), list(in_channels)
        margin = dilation * (kernel_size // 2)
        self.pixels = nn.Conv2d(2, 1, kernel_size, padding=margin, dilation=dilation)
        self.mix = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.channels = nn.ModuleList(nn.Linear(sum(in_channels), channels) for channels in in_channels)

    def forward(self, *maps: Tensor) -> list[Tensor]:
        """Return the weighed maps."""
        check_maps("attention_bridge", maps, self.in_channels)
        weighed = [x * torch.sigmoid(self.pixels(self._summary(x))) for x in maps]
        both = [x + y for x, y in zip(maps, weighed, strict=True)]
        means = torch.cat([x.mean(dim=(2, 3)) for x in both], dim=1)
        means = self.mix(means.unsqueeze(1)).squeeze(1)
        gates = [torch.sigmoid(linear(means)).unflatten(1, (-1, 1, 1)) for linear in self.channels]
        return [gate * y + x for gate, y, x in zip(gates, both, weighed, strict=True)]

    @staticmethod
    def _summary(x: Tensor) -> Tensor:
        return torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
