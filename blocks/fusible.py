"""LV-UNet's block: convolutions that become one, and an activation that looks at its neighbours.

Source: Jiang et al.: "LV-UNet: A Lightweight and Vanilla Model for Medical Image Segmentation", 2024, arXiv 2408.16886;
the authors' code, https://github.com/juntaoJianggavin/LV-UNet (no licence file: written again). After VanillaNet,
Chen et al., 2023, arXiv 2305.12972.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lmnet.blocks.checks import check_choice, check_map, check_odd, check_positive
from lmnet.blocks.registry import Example, register

EPS = 1e-6
RESIZES = ("none", "down", "up")


class SeriesActivation(nn.Module):
    """ReLU, then a depthwise convolution without bias and batch norm: a sum of shifted ReLUs.

    Args:
        channels: channels in and out.
        kernel_size: side of the kernel, odd.

    Shapes:
        (N, channels, H, W) -> (N, channels, H, W).
    """

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        self.norm: nn.Module = nn.BatchNorm2d(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.norm(self.conv(F.relu(x)))

    def reparameterize(self) -> None:
        """Fold the batch norm into the convolution, in place; needs eval mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


@register(
    "fusible", example=Example({"out_channels": 8, "resize": "down", "slope": 1.0}, ((6, 16, 24),), ((8, 8, 12),))
)
class FusibleConv(nn.Module):
    """Convolve a map twice 1x1, resize it, activate it by a series of ReLUs; the convolutions can become one.

    Between the convolutions is a leaky ReLU of slope ``slope``. At 1 it does nothing, so that re-parameterisation makes
    one convolution of the two; at other slopes it only folds the batch norms.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        resize: ``down`` (2x2 max-pooling), ``up`` (bilinear, corners not aligned, by 2) or ``none``.
        slope: of the leaky ReLU, 0 to 1.
        kernel_size: side of the activation's kernel, odd.

    Shapes:
        (N, in_channels, H, W) -> (N, out_channels, H', W'); H' is H // 2, 2 * H or H.

    Raises:
        ValueError: an option is out of range.

    Cost:
        MACs: in_channels * (in_channels + out_channels) per pixel of the input (in_channels * out_channels once they
        are one), and kernel_size^2 * out_channels per pixel of the output.

    Source:
        LV-UNet, arXiv 2408.16886, fusible module; VanillaNet, arXiv 2305.12972, series activation.

    Differs:
        the authors' switch to the deploy form merges the convolutions at any slope, which changes a net that was not
        trained with slope 1 at the end; here they stay two then. Their training moves the slope from 0 towards 1 by
        epoch ("deep training"); here the slope is an option, and a training may set another one for its steps alone,
        ``training_slope``, as the recipe's ``deep_training`` does.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        resize: str = "none",
        slope: float = 0.0,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        where = "fusible"
        check_positive(where, in_channels=in_channels, out_channels=out_channels)
        check_choice(where, RESIZES, resize=resize)
        check_odd(where, kernel_size=kernel_size)
        if not 0 <= slope <= 1:
            raise ValueError(f"{where}: slope must be 0 to 1, got slope={slope}. Use 0 for a plain ReLU.")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.resize, self.slope = resize, slope
        self.training_slope: float | None = None
        self.first: nn.Conv2d | None = nn.Conv2d(in_channels, in_channels, 1)
        self.first_norm: nn.Module = nn.BatchNorm2d(in_channels, eps=EPS)
        self.second = nn.Conv2d(in_channels, out_channels, 1)
        self.second_norm: nn.Module = nn.BatchNorm2d(out_channels, eps=EPS)
        self.act = SeriesActivation(out_channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved map."""
        check_map("fusible", x, self.in_channels)
        if self.first is not None:
            learning = self.training_slope if self.training else None
            x = F.leaky_relu(self.first_norm(self.first(x)), self.slope if learning is None else learning)
        x = self.second_norm(self.second(x))
        if self.resize == "down":
            x = F.max_pool2d(x, 2)
        elif self.resize == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.act(x)

    def reparameterize(self) -> None:
        """Fold the batch norms into the convolutions and, at slope 1, the convolutions into one, in place.

        Raises:
            RuntimeError: the block is in training mode, where batch norm is not a constant.
        """
        if not (isinstance(self.first_norm, nn.BatchNorm2d) and isinstance(self.second_norm, nn.BatchNorm2d)):
            return
        if self.training:
            raise RuntimeError("fusible: reparameterize needs eval mode, got training=True. Call .eval() first.")
        assert self.first is not None
        first = fuse_conv_bn_eval(self.first, self.first_norm)
        second = fuse_conv_bn_eval(self.second, self.second_norm)
        self.first, self.first_norm, self.second_norm = first, nn.Identity(), nn.Identity()
        if self.slope == 1:
            self.first, second = None, _one_of(first, second)
        self.second = second
        self.act.reparameterize()


def _one_of(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Return the 1x1 convolution that equals two in a row."""
    merged = nn.Conv2d(first.in_channels, second.out_channels, 1, device="meta")
    assert first.bias is not None
    assert second.bias is not None
    with torch.no_grad():
        left, right = second.weight.flatten(1).double(), first.weight.flatten(1).double()
        weight = (left @ right).to(first.weight.dtype)[:, :, None, None]
        bias = (left @ first.bias.double() + second.bias.double()).to(first.weight.dtype)
    merged.weight, merged.bias = nn.Parameter(weight), nn.Parameter(bias)
    return merged.train(second.training)
