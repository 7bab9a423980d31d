"""Counting pixels: which class was meant and which was predicted, image by image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lmnet.training.data.classes import IGNORED


def confusion(predicted: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each image by class meant and class predicted.

    Args:
        predicted: (N, H, W) class of each pixel.
        mask: (N, H, W) true class of each pixel; pixels of 255 belong to no class and are not counted.
        num_classes: number of classes K.

    Returns:
        (N, K, K) int64; [n, i, j] is how many pixels of image n are of class i and were predicted j.
    """
    images = len(mask)
    cell = mask.long() * num_classes + predicted.long()
    cell = cell + torch.arange(images, device=mask.device)[:, None, None] * num_classes**2
    counts = torch.bincount(cell[mask != IGNORED], minlength=images * num_classes**2)
    return counts.view(images, num_classes, num_classes)


class ConfusionByCase(Metric):
    """Gathers the confusion of every image over batches and processes.

    Args:
        num_classes: number of classes K.

    Shapes:
        update takes predicted and mask (N, H, W) and the cases' indices (N,); ``result`` returns indices (M,) int64,
        sorted and without repeats (several processes may see a case twice), and confusions (M, K, K) int64.
    """

    full_state_update = False
    indices: list[Tensor]
    counts: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("indices", default=[], dist_reduce_fx="cat")
        self.add_state("counts", default=[], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, mask: Tensor, indices: Tensor) -> None:
        """Add a batch."""
        self.indices.append(indices)
        self.counts.append(confusion(predicted, mask, self.num_classes))

    def result(self) -> tuple[Tensor, Tensor]:
        """Return indices and confusions; of a single case, torchmetrics makes the index a number."""
        indices, counts = self.compute()
        return indices.reshape(-1), counts.reshape(-1, self.num_classes, self.num_classes)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return indices and confusions of all cases."""
        indices, counts = dim_zero_cat(self.indices), dim_zero_cat(self.counts)
        order = indices.argsort(stable=True)
        indices, counts = indices[order], counts[order]
        is_first = torch.ones_like(indices, dtype=torch.bool)
        is_first[1:] = indices[1:] != indices[:-1]
        return indices[is_first], counts[is_first]
