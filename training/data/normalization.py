"""Images as nets take them: normalised by mean and deviation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB


def normalized(image: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Return (N, C, H, W) uint8 images as float32: divided by 255, less the mean, by the deviation.

    Images of another number of channels than there are values (grey, four stains) take the values' averages.
    """
    if image.shape[1] != len(mean):
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    shift = torch.tensor(mean, device=image.device).view(1, -1, 1, 1)
    scale = torch.tensor(std, device=image.device).view(1, -1, 1, 1)
    scaled: Tensor = (image.float() / 255 - shift) / scale
    return scaled
