"""U-Net's double convolution.

Source: Ronneberger, Fischer, Brox: U-Net, 2015, arXiv 1505.04597, section 2.
"""

from __future__ import annotations

from torch import Tensor, nn

from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.registry import Example, register


@register("double_conv", example=Example({"out_channels": 8}, ((6, 16, 24),), ((8, 16, 24),)))
class DoubleConv(nn.Module):
    """Convolve a feature map twice, 3x3, each with normalisation and activation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        norm_layer: timm's name of the normalisation.
        act_layer: timm's name of the activation.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: a channel count is not above 0, or a layer's name is unknown.

    Cost:
        9 * out_channels * (in_channels + out_channels) MACs per pixel.

    Differs:
        from the paper: padded convolutions and batch norm, as everybody builds it today.
    """

    def __init__(
        self, in_channels: int, *, out_channels: int, norm_layer: str = "batchnorm2d", act_layer: str = "relu"
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.conv1 = ConvNormAct(in_channels, out_channels=out_channels, norm_layer=norm_layer, act_layer=act_layer)
        self.conv2 = ConvNormAct(out_channels, out_channels=out_channels, norm_layer=norm_layer, act_layer=act_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map after both convolutions."""
        return self.conv2(self.conv1(x))
