"""Any timm backbone as a block with several outputs."""

from __future__ import annotations

import difflib
import logging
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_positive
from lmnet.blocks.encoder_weights import EncoderWeights, find_encoder_weights, package_hint
from lmnet.blocks.registry import Example, register


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Return whether a note of timm is more than the list of the classifier's weights, which an encoder leaves out."""
    return not record.getMessage().startswith("Unexpected keys")


def make_backbone(
    model: str, in_channels: int, out_indices: list[int] | None, *, weights: EncoderWeights | None = None
) -> Any:
    """Return timm's backbone without the stages behind the last map asked for, with random or ImageNet weights.

    timm's EfficientNet and MobileNet families keep those stages, run them, and throw their maps away.
    """
    import timm  # late: its import takes longer than torch's

    backbone: Any = timm.create_model(
        model,
        features_only=True,
        in_chans=in_channels,
        out_indices=out_indices,
        pretrained=weights is not None,
        pretrained_cfg_overlay=weights.overlay if weights is not None else None,
    )
    stages, blocks = getattr(backbone, "_stage_out_idx", None), getattr(backbone, "blocks", None)
    if stages and isinstance(blocks, nn.Sequential):
        backbone.blocks = blocks[: max(stages)]
    return backbone


@lru_cache(maxsize=1024)
def _reductions(model: str) -> tuple[int, ...]:
    """Return the strides of all feature maps of a backbone, which is built without memory."""
    with torch.device("meta"):
        return tuple(make_backbone(model, 3, None).feature_info.reduction())


def indices_of(model: str, strides: tuple[int, ...]) -> list[int]:
    """Return which of a backbone's feature maps have these strides; of several of one stride, the deepest.

    Raises:
        ValueError: it has no map of a stride, or the strides do not rise.
    """
    have = _reductions(model)
    deepest = {stride: index for index, stride in enumerate(have)}
    missing = [stride for stride in strides if stride not in deepest]
    if missing:
        raise ValueError(
            f"timm_encoder: {model} has maps of stride {', '.join(map(str, sorted(deepest)))}, got "
            f"strides={list(strides)}. Leave {missing[0]} out, or use another model."
        )
    if list(strides) != sorted(set(strides)) or not strides:
        raise ValueError(f"timm_encoder: strides must rise, got strides={list(strides)}. Write [4, 8, 16, 32].")
    return [deepest[stride] for stride in strides]


@register(
    "timm_encoder",
    example=Example(
        {"model": "mobilenetv4_conv_small_035", "out_indices": [0, 1, 2]},
        ((3, 64, 96),),
        ((32, 32, 48), (16, 16, 24), (24, 8, 12)),
    ),
)
class TimmEncoder(nn.Module):
    """Run a timm backbone and return its feature maps, finest first.

    Args:
        in_channels: channels of the image.
        model: timm's name of a backbone that supports ``features_only``.
        out_indices: which of the backbone's feature maps to return; None for all.
        strides: instead of ``out_indices``, the strides of the maps to return, for example [4, 8, 16, 32]. Backbones
            that begin with a stride of 2 and others that begin with 4 can then replace each other.

    Shapes:
        (N, in_channels, H, W) -> a list of (N, C_i, H / r_i, W / r_i); ``out_channels`` and ``reductions`` hold C_i and
        r_i. In a spec, ``NAME.0`` is the first output of node NAME.

    Raises:
        ValueError: timm has no such model, it gives no feature maps, or it has no such index or stride.

    Example:
        >>> import torch
        >>> from lmnet.blocks import TimmEncoder
        >>> encoder = TimmEncoder(3, model="mobilenetv3_small_050")
        >>> [tuple(x.shape[1:]) for x in encoder(torch.randn(1, 3, 64, 64))]
        [(16, 32, 32), (8, 16, 16), (16, 8, 8), (24, 4, 4), (288, 2, 2)]

    Cost:
        the backbone's.

    Source:
        timm, https://github.com/huggingface/pytorch-image-models. Built with random weights, never downloaded by the
        constructor; ``load_pretrained`` loads ImageNet weights from an installed package, timm's hub or a file.

    Differs:
        stages behind the last map asked for are dropped where timm keeps them (EfficientNet, MobileNet).
    """

    later_options = frozenset({"strides"})
    """Left out of an architecture's hash at their defaults: specs of before keep their hash."""

    def __init__(
        self,
        in_channels: int,
        *,
        model: str,
        out_indices: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> None:
        import timm  # late: its import takes longer than torch's

        super().__init__()
        check_positive("timm_encoder", in_channels=in_channels)
        if not timm.is_model(model):
            close = difflib.get_close_matches(model, timm.list_models(), n=3)
            hint = f"Did you mean {' or '.join(close)}?" if close else "timm.list_models() lists them."
            raise ValueError(f"timm_encoder: model must be one of timm's, got model={model!r}. {hint}")
        if out_indices is not None and strides is not None:
            raise ValueError("timm_encoder: give out_indices or strides, got both. Leave one out.")
        indices = None if out_indices is None else list(out_indices)
        try:
            if strides is not None:
                indices = indices_of(model, tuple(strides))
            self.backbone = make_backbone(model, in_channels, indices)
        except (AssertionError, IndexError, RuntimeError, TypeError, AttributeError) as err:
            raise ValueError(
                f"timm_encoder: model must give the feature maps asked for, got model={model!r}, "
                f"out_indices={indices} ({type(err).__name__}: {err}). Leave out_indices out to see how many there are."
            ) from err
        self.in_channels, self.model = in_channels, model
        self.out_channels: list[int] = self.backbone.feature_info.channels()
        self.reductions: list[int] = self.backbone.feature_info.reduction()
        self._channels_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"

    def load_pretrained(self, source: str | Path = "auto") -> EncoderWeights:
        """Load ImageNet weights into the backbone; with another number of channels than 3, timm adapts the stem.

        Args:
            source: auto, package, hub or a file, see ``find_encoder_weights``.

        Returns:
            the weights, with the mean and deviation that images must be normalised with.

        Raises:
            ValueError: there are no such weights, the hub does not answer, or they are another backbone's.
        """
        found = find_encoder_weights(self.model, source)
        indices = list(self.backbone.feature_info.out_indices)
        log = logging.getLogger("timm.models._builder")
        log.addFilter(_is_of_interest)
        try:
            given = make_backbone(self.model, self.in_channels, indices, weights=found)
        except Exception as err:  # noqa: BLE001 - the network and pickled files raise anything
            line = textwrap.shorten(str(err).strip() or type(err).__name__, 300, placeholder=" ...")
            raise ValueError(
                f"timm_encoder: {found.source} gave no weights of {self.model} ({line}). {package_hint(self.model)}"
            ) from err
        finally:
            log.removeFilter(_is_of_interest)
        self.backbone.load_state_dict(given.state_dict())
        return found

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps, finest first."""
        check_map("timm_encoder", x, self.in_channels)
        maps = self.backbone(x)
        return [y.permute(0, 3, 1, 2) if self._channels_last else y for y in maps]
