"""MobileNet's inverted residual: widen, convolve depthwise, weigh the channels, narrow.

Source: Sandler et al.: MobileNetV2, 2018, arXiv 1801.04381; Howard et al.: Searching for MobileNetV3, 2019,
arXiv 1905.02244; torchvision, https://github.com/pytorch/vision (BSD 3-Clause).
"""

from __future__ import annotations

from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_odd, check_positive
from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.registry import Example, register


@register(
    "inverted_residual",
    example=Example({"out_channels": 8, "hidden_channels": 12, "squeeze_channels": 4}, ((8, 16, 24),), ((8, 16, 24),)),
)
class InvertedResidual(nn.Module):
    """Widen a map 1x1, convolve it depthwise, weigh its channels, narrow it 1x1; add the input if shapes are equal.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        hidden_channels: channels of the depthwise convolution; if equal to in_channels, nothing is widened.
        kernel_size: side of the depthwise kernel, odd.
        stride: step of the depthwise convolution.
        squeeze_channels: hidden channels of a squeeze-excite; 0 for none.
        act_layer: timm's name of the activation.
        norm_eps: added to the batch norms' variance; None for the layer's own.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: an option is out of range.

    Cost:
        MACs: in_channels * hidden_channels per pixel of the input (none if nothing is widened),
        hidden_channels * (kernel_size^2 + out_channels) per pixel of the output, and
        2 * hidden_channels * squeeze_channels per image.

    Source:
        MobileNetV3, arXiv 1905.02244.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        hidden_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        squeeze_channels: int = 0,
        act_layer: str = "relu",
        norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        where = "inverted_residual"
        check_positive(where, in_channels=in_channels, out_channels=out_channels, hidden_channels=hidden_channels)
        check_positive(where, stride=stride)
        check_odd(where, kernel_size=kernel_size)
        if squeeze_channels < 0:
            raise ValueError(f"{where}: squeeze_channels must be 0 or more, got {squeeze_channels}. Use 0 for none.")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.expand: nn.Module = nn.Identity()
        if hidden_channels != in_channels:
            self.expand = ConvNormAct(
                in_channels,
                out_channels=hidden_channels,
                kernel_size=1,
                act_layer=act_layer,
                bias=False,
                norm_eps=norm_eps,
            )
        self.depthwise = ConvNormAct(
            hidden_channels,
            out_channels=hidden_channels,
            kernel_size=kernel_size,
            stride=stride,
            groups=hidden_channels,
            act_layer=act_layer,
            bias=False,
            norm_eps=norm_eps,
        )
        self.squeeze_excite: nn.Module = nn.Identity()
        if squeeze_channels:
            from timm.layers import SqueezeExcite  # late: its import takes longer than torch's

            self.squeeze_excite = SqueezeExcite(
                hidden_channels, rd_channels=squeeze_channels, gate_layer="hard_sigmoid"
            )
        self.project = ConvNormAct(
            hidden_channels, out_channels=out_channels, kernel_size=1, act_layer="none", bias=False, norm_eps=norm_eps
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved map."""
        check_map("inverted_residual", x, self.in_channels)
        mixed: Tensor = self.project(self.squeeze_excite(self.depthwise(self.expand(x))))
        return x + mixed if self.has_shortcut else mixed
