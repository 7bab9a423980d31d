"""Layers of tokens (N, H, W, C), applied to maps (N, C, H, W): the same numbers by 1x1 convolutions.

Exported files hold this form: the runtimes run convolutions faster than products of tokens with few channels, and
nothing is transposed.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def linear_on_map(layer: nn.Linear, x: Tensor) -> Tensor:
    """Return the layer's output for each pixel: (N, in_features, H, W) -> (N, out_features, H, W)."""
    return F.conv2d(x, layer.weight[:, :, None, None], layer.bias)


def norm_on_map(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Return each pixel's normalised channels, (N, C, H, W); the means are convolutions too."""
    average = x.new_full((1, x.shape[1], 1, 1), 1 / x.shape[1])
    centred = x - F.conv2d(x, average)
    normed = centred * (F.conv2d(centred * centred, average) + layer.eps).rsqrt()
    return normed * layer.weight[:, None, None] + layer.bias[:, None, None]
