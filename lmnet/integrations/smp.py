"""LM-Net's encoders and decoder in segmentation_models_pytorch (SMP): ``import lmnet.integrations.smp``.

Afterwards ``smp.Unet("lmnet_release", encoder_weights=None)`` works, and so does every other net of the zoo, with
lmnet_ before its name: ``lmnet_unext``. The class ``LMNet`` below puts LM-Net's decoder on any SMP encoder, and specs
may use the block ``smp_encoder``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segmentation_models_pytorch.base import SegmentationModel
from segmentation_models_pytorch.encoders import encoders, get_encoder
from segmentation_models_pytorch.encoders._base import EncoderMixin
from timm.models import adapt_input_conv
from torch import Tensor, nn

from lmnet.blocks.resample import Downsample
from lmnet.blocks.segmentation_head import SegmentationHead
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import Spec, load_spec
from lmnet.builder.zoo import list_models
from lmnet.integrations import smp_encoder  # noqa: F401 - registers the block
from lmnet.integrations.decoder import LMNetDecoder
from lmnet.integrations.encoder import SpecEncoder, encoder_levels, registered_name

__all__ = ["LMNet", "SmpEncoder", "register_spec"]

MAX_DEPTH = 5


class SmpEncoder(nn.Module, EncoderMixin):
    """A spec's encoder under SMP's contract: one map for each halving of the image, the full size first.

    Map 0 is the net's own if it has one at full size (as SMP's VGG), otherwise the image. A halving that the net
    jumps over is a map without channels (as SMP does for transformers). Where the net ends above 1 / 2^depth, strided
    3x3 convolutions that keep the channels follow: LM-Net ends at 1/16, so depth 4 is the net itself.

    Args:
        spec: see SpecEncoder; its reductions are powers of 2.
        depth: halvings, 1 to 5.
        output_stride: only 32, SMP's word for "not dilated".

    Shapes:
        (N, in_channels, H, W) -> a list of depth + 1 maps (N, out_channels[i], ceil(H / 2^i), ceil(W / 2^i)).

    Raises:
        ValueError: depth or output_stride is out of range, or the spec's reductions are not powers of 2.
    """

    def __init__(self, spec: Spec, depth: int = 5, output_stride: int = 32) -> None:
        super().__init__()
        if not 1 <= depth <= MAX_DEPTH:
            raise ValueError(f"{spec.name}: depth must be from 1 to {MAX_DEPTH}, got depth={depth}. Use 4.")
        self._spec, self._depth, self._output_stride = spec, depth, output_stride
        self._build(3)

    def _build(self, in_channels: int) -> None:
        self._in_channels = in_channels
        reductions = [level.reduction for level in encoder_levels(plan_spec(self._spec))]
        if any(reduction & (reduction - 1) for reduction in reductions):
            raise ValueError(
                f"{self._spec.name}: reductions must be powers of 2 for SMP, got reductions={reductions}. "
                "Use downsample nodes of stride 2."
            )
        smallest = max(reductions[0], 2**self._depth)
        self.body = SpecEncoder(self._spec, in_channels=in_channels, max_reduction=smallest)
        channels = dict(zip(self.body.reductions, self.body.out_channels, strict=True))
        self._out_channels = [channels.get(1, in_channels)]
        self._out_channels += [channels.get(2**level, 0) for level in range(1, self._depth + 1)]
        self.further = nn.ModuleList()
        for level in range(1, self._depth + 1):
            if 2**level > self.body.reductions[-1]:
                width = self._out_channels[level] = self._out_channels[level - 1]
                self.further.append(Downsample(width, out_channels=width))

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Rebuild the encoder for images of other channels and keep its weights; timm's rule adapts the first."""
        if in_channels == self._in_channels:
            return
        state = self.state_dict()
        self._build(in_channels)
        for key, value in self.state_dict().items():
            if value.shape != state[key].shape:
                state[key] = adapt_input_conv(in_channels, state[key])
        self.load_state_dict(state)

    def make_dilated(self, output_stride: int) -> None:
        """Raise ValueError: re-parameterisation knows no dilation."""
        raise ValueError(
            f"{self._spec.name}: dilated mode is not supported, got output_stride={output_stride}. "
            "Use a decoder that takes stride 32 (Unet, FPN, Linknet, MAnet)."
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps."""
        maps = dict(zip(self.body.reductions, self.body(x), strict=True))
        features, further = [maps.get(1, x)], iter(self.further)
        for level in range(1, self._depth + 1):
            reduction = 2**level
            if reduction in maps:
                features.append(maps[reduction])
            elif reduction > self.body.reductions[-1]:
                features.append(next(further)(features[-1]))
            else:
                height, width = -(-x.shape[2] // reduction), -(-x.shape[3] // reduction)
                features.append(x.new_empty(x.shape[0], 0, height, width))
        return features


class LMNet(SegmentationModel):
    """LM-Net's decoder on any SMP encoder: GFT at the bottom, LFT on fused skips, multi-branch decoder steps.

    Args:
        encoder_name: SMP's name of an encoder.
        encoder_depth: halvings that the encoder makes, 1 to 5.
        encoder_weights: SMP's name of pretrained weights; None for random ones.
        in_channels: channels of the image.
        classes: maps of logits.
        width: see LMNetDecoder.
        decoder: further options of LMNetDecoder (window, num_heads, depth).

    Shapes:
        (N, in_channels, H, W) -> (N, classes, H, W), H and W multiples of the encoder's output stride.

    Raises:
        RuntimeError: SMP's size error, which names the padded size.
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        encoder_name: str = "resnet18",
        encoder_depth: int = 4,
        encoder_weights: str | None = None,
        in_channels: int = 3,
        classes: int = 2,
        width: int = 16,
        **decoder: Any,
    ) -> None:
        super().__init__()
        self.encoder = get_encoder(encoder_name, in_channels=in_channels, depth=encoder_depth, weights=encoder_weights)
        channels = list(self.encoder.out_channels)
        if channels[0] == in_channels:
            channels[0] = 0  # the image itself is no feature
        self.decoder = LMNetDecoder(channels, width=width, **decoder)
        self.segmentation_head = SegmentationHead(
            self.decoder.out_channels, num_classes=classes, scale=self.decoder.reduction
        )
        self.classification_head = None
        self.name = f"lmnet-{encoder_name}"


def register_spec(spec: str | Path | Spec, name: str | None = None) -> str:
    """Make a spec's encoder an SMP encoder and return its name.

    Args:
        spec: a name of the zoo, the path of a YAML file, or a spec.
        name: the encoder's name; None for the spec's.

    Raises:
        SpecError: there is no such spec.
        ValueError: SMP has another encoder of that name.
    """
    spec = spec if isinstance(spec, Spec) else load_spec(spec)
    name = name or spec.name
    if name in encoders:
        raise ValueError(f"smp: there is an encoder {name!r} already. Pass another name.")
    encoders[name] = {"encoder": SmpEncoder, "pretrained_settings": {}, "params": {"spec": spec}}
    return name


for _name in list_models():
    register_spec(_name, registered_name(_name))
