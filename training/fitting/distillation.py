"""Distillation: a small net learns from the class shares that a better net gives to the same images.

Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv 1503.02531, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmnet.training.data.normalization import normalized
from lmnet.training.prediction.inference import class_logits


@dataclass(frozen=True)
class Teacher:
    """A trained model that another learns from.

    Args:
        model: with its weights; it is used in eval mode and not changed.
        size: side in pixels that it was trained at; images are resized to it.
        mean: mean of the channels that it was trained with.
        std: deviation of the channels that it was trained with.
        name: what it is, for messages and the run folder.
    """

    model: nn.Module
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str = "teacher"

    @torch.no_grad()
    def logits(self, image: Tensor) -> Tensor:
        """Return the teacher's logits at the images' own size, (N, K, H, W), for uint8 images (N, C, H, W)."""
        model = self.model.to(image.device).eval()
        pixels = normalized(image, self.mean, self.std)
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bilinear", antialias=True)
        return class_logits(model(pixels), image.shape[-2:])


def distillation_loss(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return the Kullback-Leibler divergence from the teacher's softened class shares, averaged over pixels.

    Args:
        logits: logits of the student, (N, K, H, W).
        teacher: logits of the teacher, of the same shape.
        temperature: divides both logits; the loss is scaled by its square, so that gradients keep their size.

    Raises:
        ValueError: the two differ in the number of classes.
    """
    if logits.shape != teacher.shape:
        raise ValueError(
            f"distillation: the teacher has {teacher.shape[1]} classes, the student {logits.shape[1]}. "
            "Use a teacher of the same classes."
        )
    student = F.log_softmax(logits.float() / temperature, dim=1)
    target = F.log_softmax(teacher.float() / temperature, dim=1)
    pixels = logits.shape[0] * logits.shape[2] * logits.shape[3]
    return F.kl_div(student, target, reduction="sum", log_target=True) * temperature**2 / pixels
