"""Normalisation and activation alone, where a net has them apart from its convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_positive, make_act, make_norm
from lmnet.blocks.registry import Example, register


@register("norm_act", example=Example({"act_layer": "relu"}, ((6, 8, 12),), ((6, 8, 12),)))
class NormAct(nn.Module):
    """Normalise a feature map, then activate it; either can be left out.

    Args:
        in_channels: channels of the input.
        norm_layer: timm's name of the normalisation, or ``none``.
        act_layer: timm's name of the activation, or ``none``.
        norm_eps: added to the normalisation's variance; None for the layer's own.
        norm_groups: groups of a ``groupnorm``; None for timm's 32.

    Shapes:
        (N, in_channels, H, W) -> (N, in_channels, H, W).

    Raises:
        ValueError: a layer's name is unknown, or norm_groups does not divide the channels.

    Cost:
        no MACs.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        norm_layer: str = "batchnorm2d",
        act_layer: str = "gelu",
        norm_eps: float | None = None,
        norm_groups: int | None = None,
    ) -> None:
        super().__init__()
        check_positive("norm_act", in_channels=in_channels)
        self.in_channels = self.out_channels = in_channels
        self.norm = make_norm("norm_act", norm_layer, in_channels, eps=norm_eps, groups=norm_groups)
        self.act = make_act("norm_act", act_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        check_map("norm_act", x, self.in_channels)
        return self.act(self.norm(x))
