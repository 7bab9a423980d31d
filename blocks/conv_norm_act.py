"""Convolution with normalisation and activation before it, after it, or without both."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lmnet.blocks.checks import check_choice, check_map, check_odd, check_positive, make_act, make_norm
from lmnet.blocks.fused_conv import FusedConv2d, activation_name
from lmnet.blocks.registry import Example, register

ACTIVATIONS = ("none", "pre", "post")
ORDERS = (*ACTIVATIONS, "between")


@register("conv_norm_act", example=Example({"out_channels": 8, "stride": 2}, ((6, 16, 24),), ((8, 8, 12),)))
class ConvNormAct(nn.Module):
    """Convolve a feature map, with normalisation and activation before it, after it or without them.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the square kernel, odd.
        stride: step of the convolution; the output is ceil(H / stride) x ceil(W / stride).
        groups: convolution groups; must divide both channel counts.
        activation: ``post`` conv, norm, act; ``pre`` norm, act, conv; ``between`` conv, act, norm; ``none`` the
            convolution alone.
        norm_layer: timm's name of the normalisation, or ``none``.
        act_layer: timm's name of the activation, or ``none``.
        dilation: distance of the kernel's taps in pixels.
        bias: whether the convolution adds a bias.
        norm_eps: added to the normalisation's variance; None for the layer's own.
        norm_groups: groups of a ``groupnorm``; None for timm's 32.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: an option is out of range, or groups does not divide the channels.

    Example:
        >>> import torch
        >>> from lmnet.blocks import ConvNormAct
        >>> ConvNormAct(8, out_channels=16, kernel_size=3, stride=2)(torch.randn(1, 8, 32, 32)).shape
        torch.Size([1, 16, 16, 16])

    Cost:
        in_channels / groups * out_channels * kernel_size^2 MACs per output pixel.
    """

    later_options = frozenset({"dilation", "bias", "norm_eps", "norm_groups"})
    """Left out of an architecture's hash at their defaults: specs of before keep their hash."""

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: str = "post",
        norm_layer: str = "batchnorm2d",
        act_layer: str = "gelu",
        dilation: int = 1,
        bias: bool = True,
        norm_eps: float | None = None,
        norm_groups: int | None = None,
    ) -> None:
        super().__init__()
        where = "conv_norm_act"
        check_positive(where, in_channels=in_channels, out_channels=out_channels, stride=stride, groups=groups)
        check_positive(where, dilation=dilation)
        check_odd(where, kernel_size=kernel_size)
        check_choice(where, ORDERS, activation=activation)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{where}: groups must divide in_channels and out_channels, got groups={groups}, "
                f"in_channels={in_channels}, out_channels={out_channels}. Use groups=1."
            )
        self.in_channels, self.out_channels, self.activation = in_channels, out_channels, activation
        self.norm: nn.Module = nn.Identity()
        self.act: nn.Module = nn.Identity()
        if activation != "none":
            normed = in_channels if activation == "pre" else out_channels
            self.norm = make_norm(where, norm_layer, normed, eps=norm_eps, groups=norm_groups)
            self.act = make_act(where, act_layer)
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved map."""
        check_map("conv_norm_act", x, self.in_channels)
        if self.activation == "pre":
            return self.conv(self.act(self.norm(x)))
        if self.activation == "between":
            return self.norm(self.act(self.conv(x)))
        return self.act(self.norm(self.conv(x)))

    def fold_norm(self) -> None:
        """Fold a batch norm behind the convolution into it, in place; the block must be in eval mode.

        The activation joins the convolution where ``lmnet.blocks.fused_conv`` knows it.
        """
        if self.activation == "post" and isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()
            name = activation_name(self.act)
            if name is not None:
                self.conv, self.act = FusedConv2d(self.conv, name), nn.Identity()
