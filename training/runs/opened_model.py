"""The model that a command names, opened: its net with weights, and all that stands beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import nn

from lmnet.builder.facts import facts_of_model, read_normalization
from lmnet.builder.find_model import FOLDS_FILE, find_model
from lmnet.builder.graph import GraphModel
from lmnet.builder.models import open_net
from lmnet.builder.planner import plan_spec
from lmnet.builder.weights import Weights
from lmnet.training.data.case_set import CaseSet, LoadedCase, channels_of
from lmnet.training.data.classes import make_classes
from lmnet.training.data.meaning import DataMeaning
from lmnet.training.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from lmnet.training.export.exported_model import open_exported
from lmnet.training.prediction.ensemble import Ensemble
from lmnet.training.prediction.inference import probe_classes
from lmnet.training.prediction.predict import MaskRules, Prediction, predict, predict_set
from lmnet.training.prediction.prediction_files import find_images
from lmnet.training.runs.run_folder import RunFolder, fold_folder, is_folds

MAX_SIZE, MAX_CHANNELS = 16_384, 1024


@dataclass(frozen=True, repr=False)
class OpenedModel:
    """A model with its weights, and how its images are prepared.

    Args:
        name: the spec's name.
        model: with weights, in eval mode.
        size: side in pixels that it was trained at.
        in_channels: channels of the image.
        num_classes: outputs.
        mean: mean of each channel.
        std: standard deviation of each channel.
        meaning: what the values of images and masks meant when it was trained; None if nothing says so.
        run: its run folder, if it is from one.
        facts: all that stands beside its weights, see ``GraphModel``.
        notes: what had to be assumed, for people.
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
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Two lines: what the model takes and gives, and its cost."""
        data = self.facts.get("data_name")
        trained = f", trained on {data}" if data else ""
        first = f"{self.name}{trained}: {self.in_channels} channels at {self.size} px -> {self.num_classes} classes"
        params = sum(parameter.numel() for parameter in self.model.parameters())
        cost = f"{params / 1e6:.3f} M parameters"
        if isinstance(self.model, GraphModel):
            plan = plan_spec(self.model.spec, input_size=(self.size, self.size))
            cost = f"{plan.deploy_params / 1e6:.3f} M parameters, {plan.deploy_macs / 1e9:.3f} GMACs at {self.size} px"
        return f"{first}\n{cost}"

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments that evaluate and predict take."""
        return {"size": self.size, "in_channels": self.in_channels, "mean": self.mean, "std": self.std}

    def predict(self, image: PredictInput, *, device: str = "auto", **rules: Any) -> Prediction | list[Prediction]:
        """Return the prediction of one image, or of every image of a folder.

        Args:
            image: an (H, W) or (H, W, C) uint8 array, a PIL image, a file, or a folder.
            device: auto, cpu, cuda or cuda:N.
            rules: how masks are made, see ``MaskRules``: ``threshold``, ``classes``, ``flips``, ``tile``.

        Raises:
            DataError: a file cannot be read, or the folder holds no image.
            ValueError: the array is no 8-bit image, or a rule is wrong.
        """
        how = MaskRules(**rules)
        if not isinstance(image, str | Path):
            case = LoadedCase("image", "", "", "", image=_pixels(image))
            images = CaseSet([case], self.meaning or DataMeaning())
            return next(predict_set(self.model, images, device=device, rules=how, **self.settings()))
        path = Path(image)
        files = [target.file for target in find_images([path], path / "predictions")[0]]
        found = predict(self.model, files, device=device, meaning=self.meaning, rules=how, **self.settings())
        return list(found) if path.is_dir() or len(files) > 1 else next(found)


PredictInput = npt.NDArray[np.uint8] | Image.Image | str | Path
"""What ``OpenedModel.predict`` takes."""


def _pixels(image: npt.NDArray[np.uint8] | Image.Image) -> npt.NDArray[np.uint8]:
    """Return an image in memory as (H, W, C) uint8."""
    if isinstance(image, Image.Image) and image.mode not in ("L", "I", "F") and ";" not in image.mode:
        image = image.convert("RGB")  # of more than 8 bits, Pillow would clip
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] > 32):
        raise ValueError(
            f"predict: an image must be (H, W) or (H, W, C) of uint8, got {pixels.dtype} {pixels.shape}. "
            "Scale its values to 0..255 as in training, put channels last, or give the file."
        )
    return channels_of(pixels if pixels.ndim == 3 else pixels[..., None])


def open_model(model: str | Path, *, weights: str | Path | None = None, size: int | None = None) -> OpenedModel:
    """Open a model for scoring or prediction: ``open_model("lmnet_xs").predict("photo.jpg")``.

    Args:
        model: a run folder, a folder of ``save_pretrained``, a search's folder (its best net), the folder of a
            cross-validation (the mean of its nets), a zoo name
            (``lmnet_xs``; ``lmnet_xs@busi`` for the weights of another data set), an exported file, or a spec's path.
        weights: a .safetensors file, a folder or a zoo name to take the weights of; all but a spec have their own.
        size: side in pixels to feed it; None for the one it was trained at.

    Raises:
        ValueError: no such model or weights, or weights of another model.

    Example:
        >>> import numpy as np
        >>> import lmnet
        >>> model = lmnet.open_model("lmnet_xxs@synthetic")
        >>> model
        lmnet_xxs: 3 channels at 128 px -> 2 classes
        0.229 M parameters, 0.015 GMACs at 128 px
        >>> model.predict(np.zeros((60, 80, 3), np.uint8)).mask.shape
        (60, 80)
    """
    if weights is None and is_folds(model):
        return _opened_folds(Path(model), size)
    found = find_model(model, weights=weights)
    run = RunFolder(found.folder) if found.folder is not None and found.is_run else None
    if run is not None:
        run.manifest()
    if found.is_exported:
        net, name, facts = open_exported(found.spec)
        return _opened(net, name, facts, where=str(found.spec), size=size, run=None)
    graph, loaded = open_net(found)
    return opened_with(graph, loaded, size=size, run=run)


def _opened_folds(folder: Path, size: int | None) -> OpenedModel:
    count = json.loads((folder / FOLDS_FILE).read_text(encoding="utf-8"))["folds"]
    runs = [fold_folder(folder, fold) for fold in range(1, count + 1)]
    missing = [run.name for run in runs if not RunFolder(run).is_finished]
    if missing:
        names = ", ".join(missing)
        raise ValueError(f"{folder}: {names} of {count} is not trained to the end. Run the same command again.")
    opened = [open_model(run, size=size) for run in runs]
    together = Ensemble([each.model for each in opened]).eval()
    return replace(opened[0], name=f"{opened[0].name}, {count} folds", model=together, run=None)


def with_class_names(opened: OpenedModel, names: Sequence[str]) -> DataMeaning | None:
    """Return a model's meaning of values with the classes' names; a model that has names keeps them.

    Raises:
        ValueError: the model has other names, or another number of classes.
    """
    if not names:
        return opened.meaning
    own = [each.name for each in opened.meaning.classes] if opened.meaning is not None else list(names)
    if own != list(names):
        raise ValueError(
            f"--class-names: the classes of {opened.name} are {', '.join(own)}, got {', '.join(names)}. Leave it out."
        )
    if len(names) != opened.num_classes:
        raise ValueError(
            f"--class-names: {opened.name} has {opened.num_classes} classes with the background, got {len(names)}."
        )
    classes = make_classes(opened.num_classes, tuple(names))
    return replace(opened.meaning or DataMeaning(), classes=classes)


def model_facts(model: nn.Module) -> tuple[str, int, int]:
    """Return the name, input channels and classes of a net that the builder made."""
    spec: Any = model.spec
    channels, size = int(spec.layout.input.channels), min(spec.layout.input.size)
    return spec.name, channels, probe_classes(model, size=size, in_channels=channels)


def opened_with(
    net: GraphModel, weights: Weights | None, *, size: int | None = None, run: RunFolder | None = None
) -> OpenedModel:
    """Return a net, whose weights are loaded, with what they say about its images.

    Args:
        net: put in eval mode.
        weights: what it holds; None for random ones.
        size: side in pixels to feed it; None for the one it was trained at.
        run: its run folder, if it is from one.

    Raises:
        ValueError: the weights say what cannot be.
    """
    where = str(weights.path) if weights is not None else net.spec.name
    usual = {"size": str(min(net.spec.layout.input.size)), "in_channels": str(net.spec.layout.input.channels)}
    opened = _opened(net, net.spec.name, net.facts, where=where, size=size, run=run, usual=usual)
    return opened if weights is not None else replace(opened, notes=())


def _opened(
    net: nn.Module,
    name: str,
    facts: Mapping[str, str],
    *,
    where: str,
    size: int | None,
    run: RunFolder | None,
    usual: Mapping[str, str] | None = None,
) -> OpenedModel:
    """Return a net with what its facts say; ``usual`` stands in for what they do not say, and is noted."""
    usual = usual or {}
    net.eval()
    side = size or _whole(facts, usual, "size", where, MAX_SIZE)
    channels = _whole(usual, facts, "in_channels", where, MAX_CHANNELS)
    normalization = read_normalization(facts, where=where)
    assumed = [f"images are fed at {side} px, the size of the spec"] if "size" not in facts and size is None else []
    assumed += ["they are normalised with ImageNet's mean and deviation"] if normalization is None else []
    notes = (f"{where} does not say how it was trained: {', '.join(assumed)}.",) if assumed else ()
    mean, std = normalization or (IMAGENET_MEAN, IMAGENET_STD)
    return OpenedModel(
        name=name,
        model=net,
        size=side,
        in_channels=channels,
        num_classes=probe_classes(net, size=side, in_channels=channels),
        mean=mean,
        std=std,
        meaning=DataMeaning.load(facts["data"], where=where) if "data" in facts else None,
        run=run,
        facts=facts_of_model(facts),
        notes=notes,
    )


def _whole(facts: Mapping[str, str], usual: Mapping[str, str], key: str, where: str, most: int) -> int:
    text = facts.get(key, usual.get(key, "absent"))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= most):
        advice = " Give --size." if key == "size" else " Get the file again."
        raise ValueError(f"{where}: its {key} is {text!r}, no number from 1 to {most}.{advice}")
    return int(text)
