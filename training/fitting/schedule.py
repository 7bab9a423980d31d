"""The schedule of a training run: the learning rate, the size of the training images and the slope, by the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmnet.training.fitting.recipe import Recipe


@dataclass(frozen=True)
class Schedule:
    """The epochs over which the learning rate rises and falls.

    Args:
        end: epoch at which the cosine ends, at the recipe's lowest rate.
        start: epoch at which the rise begins; above 0 after a warm restart.

    Example:
        >>> from lmnet.training import Recipe, Schedule
        >>> recipe = Recipe(lr=1.0, min_lr=0.0, warmup_epochs=2)
        >>> [round(Schedule(end=10).learning_rate(recipe, epoch), 2) for epoch in (1, 2, 6, 10)]
        [0.5, 1.0, 0.5, 0.0]
    """

    end: int
    start: int = 0

    def learning_rate(self, recipe: Recipe, epoch: float) -> float:
        """Return the rate at a (fractional) epoch: a linear rise from ``start`` on, then a cosine down to min_lr."""
        epoch, end = epoch - self.start, self.end - self.start
        if epoch < recipe.warmup_epochs:
            return recipe.lr * max(epoch, 0.01) / recipe.warmup_epochs
        length = max(end - recipe.warmup_epochs, 1e-9)
        share = min(1.0, (epoch - recipe.warmup_epochs) / length)
        return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * share)) / 2

    def training_slope(self, epoch: int) -> float:
        """Return the slope of ``deep_training`` in an epoch: from 0 towards 1; 1 after a warm restart."""
        return 1.0 if self.start else 1 - math.cos(math.pi / 2 * min(1.0, epoch / self.end))

    def training_size(self, recipe: Recipe, size: int, epoch: int) -> int:
        """Return the side in pixels of an epoch's training images.

        It grows from ``start_size`` to ``size`` over the first two thirds of the epochs, in steps of 32 pixels.
        """
        if not recipe.start_size or recipe.start_size >= size:
            return size
        share = min(1.0, epoch / max(1.0, self.end * 2 / 3))
        return size if share == 1.0 else recipe.start_size + int((size - recipe.start_size) * share) // 32 * 32
