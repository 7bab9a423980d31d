"""From uint8 images to class probabilities: the same steps for training, scoring and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmnet.training.data.normalization import IMAGENET_MEAN, IMAGENET_STD, normalized


def class_logits(output: Any, size: Sequence[int]) -> Tensor:
    """Return a model's output as logits of at least two classes at a mask's size.

    One output channel is read as the lesion's logit against 0; smaller maps are upsampled (bilinear).

    Raises:
        ValueError: the output is not one (N, K, H, W) tensor.
    """
    if isinstance(output, dict) and len(output) == 1:
        output = next(iter(output.values()))
    if not isinstance(output, Tensor) or output.ndim != 4:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"model: the output must be logits (N, K, H, W), got {got}. Return the logits alone.")
    if output.shape[1] == 1:
        output = torch.cat([torch.zeros_like(output), output], dim=1)
    if output.shape[-2:] != tuple(size):
        output = F.interpolate(output, size=tuple(size), mode="bilinear", align_corners=False)
    return output


@torch.inference_mode()
def probabilities(
    model: nn.Module,
    image: Tensor,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    device: str | torch.device = "cpu",
    flips: bool = False,
) -> Tensor:
    """Return the share of each class at each pixel, on the CPU.

    Args:
        model: in eval mode, on ``device``.
        image: (N, C, S, S) uint8.
        mean: mean of each channel.
        std: standard deviation of each channel.
        device: where to compute.
        flips: average over the image and its three mirror images.

    Returns:
        (N, K, S, S) float32.
    """
    ready = normalized(image.to(device), mean, std)
    mirrored: list[list[int]] = [[], [-1], [-2], [-2, -1]] if flips else [[]]
    total = torch.zeros(())
    for axes in mirrored:
        logits = class_logits(model(ready.flip(axes)), image.shape[-2:])
        total = total + logits.float().softmax(dim=1).flip(axes).cpu()
    return total / len(mirrored)


def probe_classes(model: nn.Module, *, size: int, in_channels: int = 3) -> int:
    """Return how many classes a model gives, by running it once on a black image.

    Args:
        model: left as it was.
        size: side of the image in pixels.
        in_channels: channels of the image.

    Raises:
        ValueError: the output is not one (N, K, H, W) tensor.
    """
    was_training = model.training
    model.eval()
    first = next(model.parameters(), None)  # an exported file has none
    device = first.device if first is not None else None
    image = torch.zeros(1, in_channels, size, size, device=device)
    with torch.inference_mode():
        logits = class_logits(model(image), (size, size))
    model.train(was_training)
    return int(logits.shape[1])


def at_own_size(shares: Tensor, height: int, width: int) -> Tensor:
    """Return one image's (K, S, S) class shares at its own size (bilinear), (K, height, width)."""
    if shares.shape[-2:] == (height, width):
        return shares
    return F.interpolate(shares[None], size=(height, width), mode="bilinear", align_corners=False)[0]


def resolve_device(device: str) -> torch.device:
    """Return the device for a name; ``auto`` is a GPU if there is one.

    Raises:
        ValueError: the name is unknown or the machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        use = "cuda" if "gpu" in device.lower() else "auto"
        raise ValueError(f"device: it must be auto, cpu, cuda or cuda:N, got device={device!r}. Use {use}.") from None
    count = torch.cuda.device_count() if resolved.type == "cuda" else 0
    if resolved.type == "cuda" and (resolved.index or 0) >= count:
        raise ValueError(f"device: this machine has {count} GPUs, got device={device!r}. Use cpu.")
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device: it must be auto, cpu, cuda or cuda:N, got device={device!r}. Use auto.")
    return resolved
