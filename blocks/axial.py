"""U-Lite's axial depthwise convolution: a column and a row of taps, added to the map.

Source: Dinh et al.: "1M parameters are enough? A lightweight CNN-based model for medical image segmentation", 2023,
arXiv 2306.16103; the authors' code, https://github.com/duong-db/U-Lite (no licence file: written again from the paper).
"""

from __future__ import annotations

from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_odd, check_positive, make_norm
from lmnet.blocks.registry import Example, register


@register("axial_depthwise", example=Example({}, ((6, 16, 24),), ((6, 16, 24),)))
class AxialDepthwise(nn.Module):
    """Add to a feature map its depthwise convolutions along the columns and along the rows; normalise if asked.

    Args:
        in_channels: channels of the input.
        kernel_size: taps along each axis, odd.
        dilation: distance of the taps in pixels.
        norm_layer: timm's name of a normalisation of the sum, or ``none``.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: an option is out of range.

    Cost:
        2 * kernel_size * in_channels MACs per pixel.

    Source:
        U-Lite, arXiv 2306.16103, axial depthwise convolution.

    Differs:
        the authors' blocks ignore their kernel argument, which is always 7; here it counts.
    """

    def __init__(self, in_channels: int, *, kernel_size: int = 7, dilation: int = 1, norm_layer: str = "none") -> None:
        super().__init__()
        where = "axial_depthwise"
        check_positive(where, in_channels=in_channels, dilation=dilation)
        check_odd(where, kernel_size=kernel_size)
        self.in_channels = self.out_channels = in_channels
        margin = dilation * (kernel_size // 2)
        self.along_columns = nn.Conv2d(
            in_channels, in_channels, (kernel_size, 1), padding=(margin, 0), dilation=dilation, groups=in_channels
        )
        self.along_rows = nn.Conv2d(
            in_channels, in_channels, (1, kernel_size), padding=(0, margin), dilation=dilation, groups=in_channels
        )
        self.norm = make_norm(where, norm_layer, in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed map."""
        check_map("axial_depthwise", x, self.in_channels)
        return self.norm(x + self.along_columns(x) + self.along_rows(x))
