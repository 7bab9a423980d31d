"""The model that a command names: a run folder, a zoo name with shipped weights, or a spec with a weights file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lmnet.builder.models import create_model, load_weights
from lmnet.builder.zoo import zoo_folder, zoo_path
from lmnet.training.data.meaning import DataMeaning
from lmnet.training.inference import probe_classes
from lmnet.training.keeper import BEST
from lmnet.training.recipe import Recipe
from lmnet.training.run_folder import RunFolder

MAX_SIZE = 16_384


@dataclass(frozen=True)
class OpenedModel:
    """A model with its weights and what it wants to be fed.

    Args:
        name: of the spec.
        model: with weights, in eval mode.
        size: side in pixels that it was trained at.
        in_channels: of the image.
        num_classes: outputs.
        mean: of the channels.
        std: of the channels.
        meaning: what the values of images and masks meant when it was trained; None where nothing says so.
        run: its run folder, if it is from one.
    """

    name: str
    model: nn.Module
    size: int
    in_channels: int
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    meaning: DataMeaning | None = None
    run: RunFolder | None = None

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments that evaluate and predict take."""
        return {"size": self.size, "in_channels": self.in_channels, "mean": self.mean, "std": self.std}


def open_model(model: str, *, weights: str | None = None, size: int | None = None) -> OpenedModel:
    """Open a model for scoring or prediction.

    Args:
        model: a run folder, a zoo name, or a spec's path.
        weights: a .safetensors file; a run folder and a zoo name with shipped weights need none.
        size: side in pixels to feed it; None for the one it was trained at.

    Raises:
        ValueError: no such model or weights, or weights of another model.
    """
    folder = RunFolder(model)
    if folder.path.is_dir():
        folder.manifest()
        return _opened(str(folder.file("spec")), Path(weights) if weights else folder.path / BEST, size, folder)
    path = Path(weights) if weights else zoo_folder() / f"{zoo_path(model).stem}.safetensors"
    if weights is None and not path.exists():
        have = sorted(file.stem for file in zoo_folder().glob("*.safetensors"))
        raise ValueError(
            f"{model}: a model must have weights, got none in the zoo for it (there are: {', '.join(have) or 'none'}). "
            "Give --weights FILE or a run folder."
        )
    return _opened(model, path, size, None)


def model_facts(model: nn.Module) -> tuple[str, int, int]:
    """Return the name, input channels and classes of a net that the builder made."""
    spec: Any = model.spec
    channels, size = int(spec.layout.input.channels), min(spec.layout.input.size)
    return spec.name, channels, probe_classes(model, size=size, in_channels=channels)


def _opened(spec: str, weights: Path, size: int | None, run: RunFolder | None) -> OpenedModel:
    net = create_model(spec)
    facts = load_weights(net, weights).facts
    net.eval()
    name, in_channels, num_classes = model_facts(net)
    return OpenedModel(
        name=name,
        model=net,
        size=size or _size(facts, weights),
        in_channels=in_channels,
        num_classes=num_classes,
        mean=_channel_values(facts, "mean", weights),
        std=_channel_values(facts, "std", weights),
        meaning=DataMeaning.load(facts["data"], where=str(weights)) if "data" in facts else None,
        run=run,
    )


def _size(facts: Mapping[str, str], weights: Path) -> int:
    text = facts.get("size", str(Recipe().size))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_SIZE):
        raise ValueError(f"{weights}: its size is {text!r}, no number from 1 to {MAX_SIZE}. Give --size.")
    return int(text)


def _channel_values(facts: Mapping[str, str], key: str, weights: Path) -> tuple[float, ...]:
    """Return the mean or deviation that stands beside the weights, or ImageNet's where none does."""
    if key not in facts:
        usual: tuple[float, ...] = getattr(Recipe(), key)
        return usual
    try:
        values = tuple(float(value) for value in json.loads(facts[key]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{weights}: its {key} is {facts[key]!r}, no list of numbers. Get the file again.") from error
    is_good = len(values) >= 1 and all(math.isfinite(value) for value in values)
    if not is_good or (key == "std" and min(values) <= 0):
        raise ValueError(f"{weights}: its {key} is {facts[key]}, and finite numbers (std above 0) are needed.")
    return values
