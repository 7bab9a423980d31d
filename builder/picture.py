"""Pictures in and masks out: any image file as a normalised tensor, logits as a grey picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def draw_picture(height: int, width: int) -> Image.Image:
    """Return a drawn picture: a dark red ground, lit from one side, with a brighter round lesion."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    light = 0.35 + 0.5 * np.exp(-((x - 0.3) ** 2 + (y - 0.3) ** 2) * 3)
    lesion = 1 / (1 + np.exp(60 * (np.hypot((x - 0.6) / 1.3, y - 0.55) - 0.18)))
    colours = np.stack([light + 0.2 * lesion, 0.45 * light + 0.35 * lesion, 0.35 * light + 0.2 * lesion], axis=-1)
    return Image.fromarray((colours.clip(0, 1) * 255).astype(np.uint8), "RGB")


def read_picture(path: str | Path, channels: int) -> Image.Image:
    """Return an image file as a picture of 1, 3 or 4 channels, 8 bit.

    Raises:
        ValueError: the file is missing, no picture, damaged, or the net takes another number of channels.
    """
    if channels not in MODES:
        raise ValueError(
            f"{path}: a picture has 1, 3 or 4 channels, got a net with {channels}. Call the model in Python."
        )
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith("I;16") or picture.mode == "I":
                values = np.asarray(picture, dtype=np.float64)
                top = max(float(values.max()), 1.0)
                return Image.fromarray((values / top * 255).astype(np.uint8)).convert(MODES[channels])
            return picture.convert(MODES[channels])
    except FileNotFoundError as err:
        raise ValueError(f"{path}: a picture must exist, got no such file. Check the path.") from err
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as err:
        raise ValueError(f"{path}: a picture must be a whole image file, got {err}. Save it again.") from err


def to_tensor(picture: Image.Image) -> Tensor:
    """Return a picture as (1, C, H, W) float32, with ImageNet's mean and deviation taken out of RGB."""
    values = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
    image = (values[..., None] if values.ndim == 2 else values).permute(2, 0, 1)[None]
    if image.shape[1] == 3:
        mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
        image = (image - mean) / std
    return image.contiguous()


def to_mask(logits: Tensor) -> Image.Image:
    """Return (1, num_classes, H, W) logits as a grey picture: class 0 black, the last class white."""
    classes = logits.shape[1]
    index = logits[0].argmax(dim=0) if classes > 1 else (logits[0, 0] > 0).long()
    return Image.fromarray((index * (255 // max(1, classes - 1))).to(torch.uint8).numpy())
