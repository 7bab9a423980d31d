"""Several nets as one: their class probabilities are averaged. The nets of a cross-validation are opened so."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.training.prediction.inference import class_logits

_LEAST = 1e-9


class Ensemble(nn.Module):
    """The mean of several nets' class probabilities, as logits.

    Args:
        nets: image (N, C, H, W) → logits (N, K, H, W), all for the same images and classes.

    Shapes:
        image (N, C, H, W) → logits (N, K, H, W), whose softmax is the mean of the nets' softmax.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities."""
        size = image.shape[-2:]
        shares = [class_logits(net(image), size).softmax(dim=1) for net in self.nets]
        return torch.stack(shares).mean(dim=0).clamp_min(_LEAST).log()
