"""LM-Net's encoders as timm models: ``import lmnet.integrations.timm``, then ``timm.create_model("lmnet_release")``.

Registered are all nets of the zoo, under names that begin with lmnet_: unext is ``lmnet_unext``. ``register_spec`` adds
any other spec. ``pretrained=True`` takes the encoder's part of the weights that the zoo has for Kvasir-SEG; the
classifier starts from random weights.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import ClassifierHead
from timm.models import adapt_input_conv, build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import Spec, load_spec
from lmnet.builder.zoo import list_models, zoo_weights
from lmnet.integrations.encoder import SpecEncoder, encoder_levels, registered_name

__all__ = ["SpecClassifier", "register_spec"]

default_cfgs: dict[str, Any] = {}  # timm's register_model looks for this name


class SpecClassifier(SpecEncoder):
    """A spec's encoder, average pooling and a linear layer: what timm trains on images with one label each.

    With ``features_only=True`` timm takes the encoder alone.

    Args:
        cfg: the spec.
        in_chans: channels of the image.
        num_classes: labels; 0 leaves the linear layer out.
        global_pool: timm's name of the pooling; "" for none.
        drop_rate: dropout before the linear layer.
        output_stride: only 32, timm's word for "as the net is".
        variables: new values of the spec's variables (``width=16``).

    Shapes:
        (N, in_chans, H, W) -> (N, num_classes).

    Raises:
        SpecError: a variable is unknown, or its value wrong.
        ValueError: the spec has no encoder, or output_stride is not 32.
    """

    def __init__(
        self,
        cfg: Spec,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        output_stride: int = 32,
        **variables: Any,
    ) -> None:
        if output_stride != 32:
            raise ValueError(
                f"{cfg.name}: dilated mode is not supported, got output_stride={output_stride}. Leave it out."
            )
        super().__init__(cfg.override(variables), in_channels=in_chans)
        self.num_classes, self.drop_rate, self.grad_checkpointing = num_classes, drop_rate, False
        self.num_features = self.head_hidden_size = self.out_channels[-1]
        self.feature_info = [
            {"num_chs": level.channels, "reduction": level.reduction, "module": level.node} for level in self.levels
        ]
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate)

    def get_classifier(self) -> nn.Module:
        """Return the linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the linear layer by a new one for ``num_classes`` labels."""
        self.num_classes = num_classes
        self.head.reset(num_classes, pool_type=global_pool)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the smallest feature map."""
        return super().forward(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of a feature map, or with ``pre_logits`` the pooled features."""
        return self.head(x, pre_logits=pre_logits)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Refuse what the net does not do; turning it off is allowed, as in timm.

        Raises:
            ValueError: enable is True.
        """
        if enable:
            raise ValueError("timm: gradient checkpointing of the whole net is not supported. Call with enable=False.")

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last map and the maps asked for, finest first.

        Args:
            x: image (N, in_chans, H, W).
            indices: which maps; a number N for the last N; None for all.
            norm: for timm's sake; the maps have no norm of their own.
            stop_early: for timm's sake; all maps are computed.
            output_fmt: only NCHW.
            intermediates_only: leave the last map out.

        Raises:
            ValueError: another output_fmt, or there is no such map.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"timm: maps are NCHW, got output_fmt={output_fmt!r}. Leave it out.")
        maps = super().forward(x)
        wanted = list(range(len(maps))) if indices is None else indices
        if isinstance(wanted, int):
            wanted = list(range(len(maps) - wanted, len(maps)))
        check_indices("timm", wanted, len(maps))
        chosen = [maps[index] for index in wanted]
        return chosen if intermediates_only else (maps[-1], chosen)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return the logits."""
        return self.forward_head(self.forward_features(x))


def check_indices(where: str, indices: Sequence[int], levels: int) -> None:
    """Check that a net has the feature maps that are asked for.

    Raises:
        ValueError: it has not.
    """
    wrong = [index for index in indices if not -levels <= index < levels]
    if wrong:
        raise ValueError(
            f"{where}: it has {levels} feature maps, 0 to {levels - 1}, got {', '.join(map(str, wrong))}. Use fewer."
        )


def _encoder_part(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return what the weights of a net hold for a model's encoder, in float32.

    The first convolution of a model for other images than RGB is summed or repeated, as timm does.

    Raises:
        ValueError: a tensor of the encoder is missing or has another shape.
    """
    own = {key: tensor for key, tensor in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    found = {key: state[key].float() for key in own if key in state}
    for key, tensor in found.items():
        channels = own[key].shape[1] if tensor.ndim == 4 else 3
        if tensor.ndim == 4 and tensor.shape[1] == 3 and channels != 3:
            found[key] = adapt_input_conv(channels, tensor)
    wrong = [
        key
        for key, tensor in own.items()
        if not key.startswith("head.") and (key not in found or found[key].shape != tensor.shape)
    ]
    if wrong:
        raise ValueError(
            f"timm: the weights must fit the encoder, got {wrong[0]} missing or of another shape, and {len(wrong) - 1} "
            "more. Leave out options that change the net, or pretrained=True."
        )
    return found


def register_spec(spec: str | Path | Spec, name: str | None = None) -> str:
    """Make a spec's encoder a timm model and return the model's name.

    Args:
        spec: a name of the zoo, the path of a YAML file, or a spec.
        name: the timm model's name; None for the spec's.

    Raises:
        SpecError: there is no such spec, or it is wrong.
        ValueError: timm has another model of that name, or the spec has no encoder.
    """
    spec = spec if isinstance(spec, Spec) else load_spec(spec)
    name = name or spec.name
    if timm.is_model(name):
        raise ValueError(f"timm: there is a model {name!r} already. Pass another name.")
    encoder_levels(plan_spec(spec))  # refused here, not when a model is made
    return _register(spec, name)


def _register(spec: Spec, name: str) -> str:
    """Register a spec that has an encoder, which is planned when a model is made: the whole zoo takes seconds."""

    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        maps = encoder_levels(plan_spec(spec))
        levels = len(maps)
        # timm takes features from modules of one map each; where one module gives several, it must ask the net for them
        is_asked = any(level.output for level in maps)
        if options.get("features_only"):
            check_indices(name, options.get("out_indices", ()), levels)
            options["num_classes"] = 0
        overlay = dict(options.pop("pretrained_cfg_overlay", None) or {})
        if pretrained and not overlay.keys() & {"file", "url", "hf_hub_id", "state_dict"}:
            overlay["file"] = str(zoo_weights(spec.name))
        return build_model_with_cfg(
            SpecClassifier,
            name,
            pretrained,
            model_cfg=spec,
            feature_cfg={"out_indices": tuple(range(levels)), **({"feature_cls": "getter"} if is_asked else {})},
            pretrained_cfg_overlay=overlay,
            pretrained_strict=False,  # the classifier is not in the weights; _encoder_part sees to the rest
            pretrained_filter_fn=_encoder_part,
            **options,
        )

    entry.__name__ = entry.__qualname__ = name
    default_cfgs.update(
        generate_default_cfgs(
            {
                name: {
                    "input_size": (3, *spec.layout.input.size),
                    "mean": IMAGENET_DEFAULT_MEAN,
                    "std": IMAGENET_DEFAULT_STD,
                    "num_classes": 1000,
                    "classifier": "head.fc",
                    "first_conv": None,
                }
            }
        )
    )
    register_model(entry)
    setattr(sys.modules[__name__], name, entry)
    return name


for _name in list_models():
    _register(load_spec(_name), registered_name(_name))
