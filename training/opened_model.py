"""The model that a command names: a run folder, a zoo name with shipped weights, or a spec with a weights file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lmnet.builder.pretrained import create_model, load_weights
from lmnet.builder.zoo import zoo_folder, zoo_path
from lmnet.training.data.meaning import DataMeaning
from lmnet.training.inference import probe_classes
from lmnet.training.keeper import BEST
from lmnet.training.recipe import Recipe
from lmnet.training.run_folder import RunFolder
from lmnet.training.weights_file import read_weights


@dataclass(frozen=True)
class OpenedModel:
    """A model with its weights and what it wants to be fed.

    Args:
        name: of the spec.
        model: with weights, in eval mode.
        size: side in pixels that it was trained at.
        in_channels: of the picture.
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
    facts = read_weights(weights)[1] if weights.suffix == ".safetensors" else {}
    load_weights(net, weights)
    net.eval()
    name, in_channels, num_classes = model_facts(net)
    usual = Recipe()
    return OpenedModel(
        name=name,
        model=net,
        size=size or int(facts.get("size", usual.size)),
        in_channels=in_channels,
        num_classes=num_classes,
        mean=tuple(json.loads(facts["mean"])) if "mean" in facts else usual.mean,
        std=tuple(json.loads(facts["std"])) if "std" in facts else usual.std,
        meaning=DataMeaning.load(facts["data"], where=str(weights)) if "data" in facts else None,
        run=run,
    )
