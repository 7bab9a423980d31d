"""Images in and masks out: any image file as a normalised tensor, logits as a grey image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lmnet.builder import intensities
from lmnet.builder.image_files import ImageFile, read_image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB


def draw_picture(height: int, width: int) -> Image.Image:
    """Return a synthetic image: a dark red ground, lit from one side, with a brighter round lesion."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    light = 0.35 + 0.5 * np.exp(-((x - 0.3) ** 2 + (y - 0.3) ** 2) * 3)
    lesion = 1 / (1 + np.exp(60 * (np.hypot((x - 0.6) / 1.3, y - 0.55) - 0.18)))
    colours = np.stack([light + 0.2 * lesion, 0.45 * light + 0.35 * lesion, 0.35 * light + 0.2 * lesion], axis=-1)
    return Image.fromarray((colours.clip(0, 1) * 255).astype(np.uint8), "RGB")


def read_picture(path: str | Path, channels: int) -> intensities.Pixels:
    """Return an image file as (H, W, channels) uint8; more than 8 bits are scaled as ``intensities.decide`` says.

    Raises:
        ValueError: the file is missing, no image or damaged, or it has channels that the net does not take.
    """
    try:
        values = read_image(ImageFile((Path(path),))).values
        pixels = intensities.decide([intensities.sample(values)]).apply(values)
    except ValueError as err:
        raise ValueError(f"{path}: {err}") from err
    return fit_channels(pixels, channels, where=str(path))


def fit_channels(pixels: intensities.Pixels, channels: int, *, where: str) -> intensities.Pixels:
    """Return an image with the channels that a net takes: grey repeated to three, RGB made grey.

    Raises:
        ValueError: neither is possible.
    """
    if pixels.shape[2] == channels:
        return pixels
    if pixels.shape[2] == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 3 and channels == 1:
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    raise ValueError(f"{where}: the image has {pixels.shape[2]} channels and the net takes {channels}.")


def to_tensor(pixels: intensities.Pixels) -> Tensor:
    """Return an image (H, W, C) as (1, C, H, W) uint8."""
    return torch.tensor(pixels).permute(2, 0, 1)[None].contiguous()


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


def to_mask(logits: Tensor) -> Image.Image:
    """Return (1, num_classes, H, W) logits as a grey image: class 0 black, the last class white."""
    classes = logits.shape[1]
    index = logits[0].argmax(dim=0) if classes > 1 else (logits[0, 0] > 0).long()
    return Image.fromarray((index * (255 // max(1, classes - 1))).to(torch.uint8).numpy())
