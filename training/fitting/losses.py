"""Losses on logits: Dice with binary cross-entropy, and the paper's weighted, smoothed cross-entropy with Dice.

Source: LM-Net, arXiv 2501.03838, section 4.2, and the authors' recipe (class weights 1 and 4, label smoothing 0.001).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmnet.training.data.classes import IGNORED
from lmnet.training.fitting.recipe import Recipe


def cross_entropy_dice(recipe: Recipe) -> nn.Module:
    """Return the loss that a recipe describes: its class weights, label smoothing and share of Dice."""
    return CrossEntropyDice(
        class_weights=recipe.class_weights,
        label_smoothing=recipe.label_smoothing,
        dice_weight=recipe.dice_weight,
        use_background=recipe.use_background_dice,
    )


def check_class_weights(recipe: Recipe, num_classes: int) -> None:
    """Check that a recipe's class weights fit a net.

    Raises:
        ValueError: there is another number of them than of classes.
    """
    count = len(recipe.class_weights)
    if recipe.loss == "cross_entropy_dice" and count not in (0, num_classes):
        example = ",".join(["1", *["4"] * (num_classes - 1)])
        raise ValueError(
            f"recipe: class_weights has {count} values and the net {num_classes} classes. Set "
            f"class_weights=[{example}], or class_weights=[] for equal weights."
        )


class CrossEntropyDice(nn.Module):
    """Cross-entropy plus soft Dice loss.

    With two classes and no weights this is the usual Dice + BCE, for softmax over two logits is a sigmoid of their
    difference.

    Args:
        class_weights: weight of each class in the cross-entropy; empty for equal weights.
        label_smoothing: 0 to 1, share of the target spread over all classes.
        dice_weight: weight of the Dice loss against the cross-entropy.
        use_background: whether the background's Dice counts too (as in the paper's macro means).

    Shapes:
        logits (N, K, H, W), mask (N, H, W) int64 → scalar. Pixels of 255 belong to no class and do not count.

    Example:
        >>> import torch
        >>> from lmnet.training import CrossEntropyDice
        >>> mask = torch.zeros(1, 32, 32, dtype=torch.int64)
        >>> mask[:, 8:16] = 1
        >>> right = torch.stack([mask == 0, mask == 1], dim=1) * 20.0
        >>> CrossEntropyDice()(right, mask) < 0.01
        tensor(True)
    """

    def __init__(
        self,
        *,
        class_weights: Sequence[float] = (),
        label_smoothing: float = 0.0,
        dice_weight: float = 1.0,
        use_background: bool = False,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.dice_weight = dice_weight
        self.use_background = use_background
        self.class_weights: Tensor | None
        weights = torch.tensor(list(class_weights), dtype=torch.float32) if class_weights else None
        self.register_buffer("class_weights", weights)

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of a batch."""
        logits = logits.float()
        cross_entropy = F.cross_entropy(
            logits, mask, weight=self.class_weights, label_smoothing=self.label_smoothing, ignore_index=IGNORED
        )
        return cross_entropy + self.dice_weight * soft_dice_loss(logits, mask, use_background=self.use_background)


def soft_dice_loss(logits: Tensor, mask: Tensor, *, use_background: bool = False) -> Tensor:
    """Return 1 - soft Dice, from the pixels of the whole batch, averaged over the classes.

    Args:
        logits: (N, K, H, W).
        mask: (N, H, W) int64; pixels of 255 do not count.
        use_background: whether class 0 is averaged in.
    """
    first = 0 if use_background else 1
    shares = logits.softmax(dim=1)[:, first:]
    is_known = mask != IGNORED
    known_mask = torch.where(is_known, mask, 0)
    truth = F.one_hot(known_mask, logits.shape[1]).movedim(-1, 1)[:, first:].to(shares.dtype)
    if not bool(is_known.all()):
        shares, truth = shares * is_known[:, None], truth * is_known[:, None]
    overlap = (shares * truth).sum(dim=(0, 2, 3))
    total = shares.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    return 1 - ((2 * overlap + 1) / (total + 1)).mean()
