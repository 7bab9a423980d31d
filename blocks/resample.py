"""Down- and upsampling of feature maps by a whole factor."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lmnet.blocks.checks import act_layer_of, check_choice, check_map, check_positive, norm_layer_of
from lmnet.blocks.conv_norm_act import ACTIVATIONS, ConvNormAct
from lmnet.blocks.fused_conv import FusedConv2d
from lmnet.blocks.registry import Example, register

UPSAMPLE_MODES = ("bilinear", "transposed", "pixel_shuffle")


def downsample_conv(in_channels: int, out_channels: int, stride: int, activation: str) -> ConvNormAct:
    """Return a convolution of that stride whose kernel leaves no gap between its steps (3 up to 3, 5 for 4, ...)."""
    kernel_size = max(3, 2 * (stride // 2) + 1)
    return ConvNormAct(
        in_channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride, activation=activation
    )


@register("downsample", example=Example({"out_channels": 12}, ((6, 16, 24),), ((12, 8, 12),)))
class Downsample(nn.Module):
    """Make a feature map smaller by a strided convolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: factor; 1 keeps the size.
        activation: ``none`` the convolution alone, ``pre`` batch norm and GELU before it, ``post`` after it.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import Downsample
        >>> Downsample(16, out_channels=32)(torch.randn(1, 16, 64, 48)).shape
        torch.Size([1, 32, 32, 24])

    Cost:
        in_channels * out_channels * kernel^2 MACs per output pixel; the kernel is 3 up to stride 3, then
        2 * (stride // 2) + 1.

    Source:
        LM-Net, arXiv 2501.03838, encoder: 3x3, stride 2.
    """

    def __init__(self, in_channels: int, *, out_channels: int, stride: int = 2, activation: str = "none") -> None:
        super().__init__()
        check_positive("downsample", in_channels=in_channels, out_channels=out_channels, stride=stride)
        check_choice("downsample", ACTIVATIONS, activation=activation)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.conv = downsample_conv(in_channels, out_channels, stride, activation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the smaller map."""
        check_map("downsample", x, self.in_channels)
        return self.conv(x)


@register("upsample", example=Example({"out_channels": 4, "mode": "pixel_shuffle"}, ((6, 8, 12),), ((4, 16, 24),)))
class Upsample(nn.Module):
    """Make a feature map larger by a whole factor, changing its channels.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        scale: factor, a whole number.
        mode: ``bilinear`` interpolation (corners aligned), then a 3x3 convolution; ``transposed`` convolution with
            kernel and stride ``scale``; ``pixel_shuffle`` a 3x3 convolution to scale^2 * out_channels, then a shuffle.
        activation: ``none``, ``pre`` (batch norm and GELU before the convolution) or ``post`` (after all).

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, scale * H, scale * W).

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> import torch
        >>> from lmnet.blocks import Upsample
        >>> Upsample(32, out_channels=16, mode="pixel_shuffle")(torch.randn(1, 32, 32, 24)).shape
        torch.Size([1, 16, 64, 48])

    Cost:
        MACs per output pixel: bilinear 9 * in_channels * out_channels; transposed in_channels * out_channels;
        pixel_shuffle 9 * in_channels * out_channels.

    Source:
        LM-Net, arXiv 2501.03838; bilinear as in the authors' release code, the other two as in their January code.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        scale: int = 2,
        mode: str = "bilinear",
        activation: str = "none",
    ) -> None:
        super().__init__()
        where = "upsample"
        check_positive(where, in_channels=in_channels, out_channels=out_channels, scale=scale)
        check_choice(where, UPSAMPLE_MODES, mode=mode)
        check_choice(where, ACTIVATIONS, activation=activation)
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.mode, self.activation = mode, activation
        self.norm: nn.Module = nn.Identity()
        self.act: nn.Module = nn.Identity()
        if activation != "none":
            self.norm = norm_layer_of(where, "batchnorm2d")(out_channels if activation == "post" else in_channels)
            self.act = act_layer_of(where, "gelu")()
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if mode == "transposed":
            self.conv = nn.ConvTranspose2d(in_channels, out_channels, scale, stride=scale)
        else:
            width = out_channels * scale**2 if mode == "pixel_shuffle" else out_channels
            self.conv = nn.Conv2d(in_channels, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the larger map."""
        check_map("upsample", x, self.in_channels)
        if self.activation == "pre":
            x = self.act(self.norm(x))
        if self.mode == "bilinear":
            x = F.interpolate(x, scale_factor=float(self.scale), mode="bilinear", align_corners=True)
        x = self.conv(x)
        if self.mode == "pixel_shuffle":
            x = F.pixel_shuffle(x, self.scale)
        return self.act(self.norm(x)) if self.activation == "post" else x

    def fold_norm(self) -> None:
        """Fold a batch norm behind the convolution into it, in place; the block must be in eval mode.

        The activation joins the convolution (``lmnet.blocks.fused_conv``), before the pixels are shuffled.
        """
        if self.activation != "post" or not isinstance(self.norm, nn.BatchNorm2d):
            return
        norm = _widened(self.norm, self.scale**2) if self.mode == "pixel_shuffle" else self.norm
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, norm, transpose=self.mode == "transposed"), nn.Identity()
        if isinstance(self.conv, nn.Conv2d):
            self.conv, self.act = FusedConv2d(self.conv, "gelu"), nn.Identity()


def _widened(norm: nn.BatchNorm2d, times: int) -> nn.BatchNorm2d:
    """Return the norm that does to maps before a pixel shuffle what ``norm`` does behind it."""
    wide = nn.BatchNorm2d(norm.num_features * times, eps=norm.eps).eval()
    wide.load_state_dict({name: x.repeat_interleave(times) if x.ndim else x for name, x in norm.state_dict().items()})
    return wide.to(norm.weight.device, norm.weight.dtype)
