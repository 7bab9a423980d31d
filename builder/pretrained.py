"""Models by name, and models on disk: a spec beside safetensors weights, never pickled code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.utils import reparameterize_model
from torch import Tensor, nn

from lmnet.blocks import TimmEncoder
from lmnet.blocks.encoder_weights import EncoderWeights
from lmnet.builder.graph import GraphModel
from lmnet.builder.planner import plan_spec
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import Spec, load_spec
from lmnet.builder.zoo import zoo_folder, zoo_path

SPEC_FILE = "spec.yaml"
WEIGHTS_FILE = "model.safetensors"


def build_model(spec: Spec, *, input_size: Sequence[int] | None = None) -> GraphModel:
    """Return the net that a spec describes, with random weights.

    Raises:
        SpecError: with everything that is wrong with the spec.
    """
    return GraphModel(plan_spec(spec, input_size=input_size))


def create_model(
    spec: str | Path,
    *,
    in_channels: int | None = None,
    num_classes: int | None = None,
    pretrained: bool = False,
    pretrained_encoder: bool | str = False,
    **overrides: Any,
) -> GraphModel:
    """Return a net from the zoo or from a spec file.

    Args:
        spec: a name of the zoo (``lmnet_paper``), or the path of a YAML file.
        in_channels: channels of the picture; None for the spec's.
        num_classes: classes, background included; None for the spec's variable ``num_classes``.
        pretrained: load the zoo's weights for this name.
        pretrained_encoder: load ImageNet weights into the net's timm encoder: True or ``auto`` (an installed package,
            else timm's hub), ``package``, ``hub``, or a file. ``model.normalization`` then holds the mean and deviation
            that images must be normalised with.
        overrides: new values of the spec's variables (``width=16``).

    Raises:
        SpecError: there is no such spec, it is wrong, or a variable is unknown.
        ValueError: pretrained weights are not to be had, or do not fit the overridden net.
    """
    values = dict(overrides)
    if in_channels is not None:
        values["input.channels"] = in_channels
    if num_classes is not None:
        values["num_classes"] = num_classes
    model = build_model(load_spec(spec).override(values))
    if pretrained:
        weights = zoo_folder() / f"{zoo_path(spec).stem}.safetensors"
        if not weights.exists():
            have = sorted(path.stem for path in zoo_folder().glob("*.safetensors"))
            raise ValueError(
                f"create_model: pretrained weights must exist, got none for {spec}. "
                f"The zoo has weights for: {', '.join(have) or 'no net yet'}."
            )
        load_weights(model, weights)
    if pretrained_encoder:
        load_encoder(model, "auto" if pretrained_encoder is True else pretrained_encoder)
    return model


def load_encoder(model: GraphModel, source: str | Path = "auto") -> EncoderWeights:
    """Load ImageNet weights into the net's timm encoder and set ``model.normalization``.

    Args:
        model: a net with one ``timm_encoder`` node.
        source: auto, package, hub or a file, see ``lmnet.blocks.encoder_weights``.

    Raises:
        ValueError: the net has no timm encoder, or there are no such weights.
    """
    encoders = [module for module in model.children() if isinstance(module, TimmEncoder)]
    if len(encoders) != 1:
        raise ValueError(
            f"{model.spec.name}: it has {len(encoders)} timm_encoder nodes, and pretrained encoder weights need one. "
            "Use a net like efficientnet_lite0_lm."
        )
    found = encoders[0].load_pretrained(source)
    model.normalization = (found.mean, found.std)
    return found


def load_weights(model: nn.Module, weights: str | Path) -> None:
    """Load a state_dict from a safetensors file, or from a torch file that holds tensors only.

    A file of the authors' release code is recognised by its keys, see ``lmnet.builder.authors``. Half-precision weights
    are converted to the model's.

    Raises:
        ValueError: the file is missing, unreadable, holds more than tensors, or does not fit the model; missing,
            unexpected and mismatched keys are listed.
    """
    from lmnet.builder.authors import is_authors, translate

    state = read_state(weights)
    if is_authors(state):
        state = translate(state)
    own = model.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    mismatched = sorted(
        f"{key} {list(state[key].shape)} for {list(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    )
    if missing or unexpected or mismatched:
        lists = [
            f"{len(keys)} {kind} ({', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''})"
            for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched))
            if keys
        ]
        raise ValueError(
            f"{weights}: weights must fit the model, got {'; '.join(lists)}. Build the spec that they were saved with."
        )
    model.load_state_dict(state)


def read_state(weights: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or torch file without running code from it.

    Raises:
        ValueError: the file is missing, unreadable, or holds anything but tensors.
    """
    path = Path(weights)
    if not path.is_file():
        raise ValueError(f"{path}: weights must be a file, got none there. Check the path.")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        except SafetensorError as err:
            raise ValueError(f"{path}: weights must be a whole safetensors file, got {err}. Save them again.") from err
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # noqa: BLE001 - pickle raises anything; the file is refused whatever it was
        line = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        raise ValueError(
            f"{path}: weights must be a torch file of tensors only (weights_only), got {line[:120]}. "
            "Save model.state_dict() alone."
        ) from err
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: weights must be a state_dict, got {type(state).__name__}. Save model.state_dict().")
    return {key.removeprefix("module."): value for key, value in state.items()}


def write_state(model: nn.Module, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a model's state_dict as safetensors: to a temporary file, synced, then renamed over ``path``.

    Args:
        model: the model.
        path: the file.
        dtype: floating-point numbers are stored as this type; None to keep theirs.
    """
    path = Path(path)
    state = {}
    for key, value in model.state_dict().items():
        is_float = value.is_floating_point() and dtype is not None
        state[key] = value.detach().to("cpu", dtype if is_float else value.dtype).contiguous().clone()
    metadata = {"format": "pt", "deploy": str(is_deployed(model)).lower()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(state, temporary, metadata=metadata)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_deployed(model: nn.Module) -> bool:
    """Return whether a model has re-parameterised blocks."""
    return any(getattr(module, "depthwise", None) is not None for module in model.modules())


def deploy(model: GraphModel) -> GraphModel:
    """Return a re-parameterised copy in eval mode."""
    copied: GraphModel = reparameterize_model(model.eval())
    return copied


def save_pretrained(model: GraphModel, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a net to a folder: its spec as YAML and its weights as safetensors.

    Args:
        model: a net of the builder.
        folder: made if it does not exist.
        dtype: see ``write_state``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC_FILE).write_text(model.spec.dump(), encoding="utf-8")
    write_state(model, folder / WEIGHTS_FILE, dtype=dtype)


def from_pretrained(folder: str | Path) -> GraphModel:
    """Return the net that ``save_pretrained`` wrote, in eval mode.

    Raises:
        SpecError: the folder has no spec, or a wrong one.
        ValueError: the weights are missing or do not fit.
    """
    folder = Path(folder)
    model = build_model(load_spec(folder / SPEC_FILE)).eval()
    weights = folder / WEIGHTS_FILE
    if weights.is_file():
        with safe_open(weights, framework="pt") as file:
            deployed = (file.metadata() or {}).get("deploy") == "true"
        if deployed:
            reparameterize_model(model, inplace=True)
    load_weights(model, weights)
    return model


__all__ = ["SpecError", "build_model", "create_model", "deploy", "from_pretrained", "load_weights", "save_pretrained"]
