"""Any SMP encoder as a block with several outputs; ``lmnet-build --import lmnet.integrations.smp`` makes it known."""

from __future__ import annotations

import difflib

from segmentation_models_pytorch.encoders import get_encoder, get_encoder_names
from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_positive
from lmnet.blocks.registry import Example, register


@register(
    "smp_encoder",
    example=Example(
        {"encoder": "mobilenet_v2", "depth": 3},
        ((3, 64, 96),),
        ((16, 32, 48), (24, 16, 24), (32, 8, 12)),
    ),
)
class SmpBackbone(nn.Module):
    """Run an encoder of segmentation_models_pytorch and return its feature maps, finest first, without the image.

    Args:
        in_channels: channels of the image.
        encoder: SMP's name of the encoder (``resnet18``), or ``tu-`` and timm's.
        depth: halvings, 1 to 5.

    Shapes:
        (N, in_channels, H, W) -> a list of (N, C_i, H / r_i, W / r_i); ``out_channels`` and ``reductions`` hold C_i and
        r_i. Maps that have no channels (1/2 in transformers) are left out.

    Raises:
        ValueError: SMP has no such encoder, or depth is not 1 to 5.

    Cost:
        the encoder's.

    Source:
        segmentation_models_pytorch, https://github.com/qubvel-org/segmentation_models.pytorch. Built with random
        weights, never downloaded.
    """

    def __init__(self, in_channels: int, *, encoder: str, depth: int = 5) -> None:
        super().__init__()
        check_positive("smp_encoder", in_channels=in_channels)
        if not 1 <= depth <= 5:
            raise ValueError(f"smp_encoder: depth must be from 1 to 5, got depth={depth}. Use 5.")
        if encoder not in get_encoder_names() and not encoder.startswith("tu-"):
            close = difflib.get_close_matches(encoder, get_encoder_names(), n=3)
            hint = f"Did you mean {' or '.join(close)}?" if close else "smp.encoders.get_encoder_names() lists them."
            raise ValueError(f"smp_encoder: encoder must be one of SMP's, got encoder={encoder!r}. {hint}")
        self.in_channels = in_channels
        self.encoder = get_encoder(encoder, in_channels=in_channels, depth=depth, weights=None)
        channels = list(self.encoder.out_channels)
        self._levels = [level for level in range(1, depth + 1) if channels[level]]
        self.out_channels = [channels[level] for level in self._levels]
        self.reductions = [2**level for level in self._levels]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps, finest first."""
        check_map("smp_encoder", x, self.in_channels)
        features = self.encoder(x)
        return [features[level] for level in self._levels]
