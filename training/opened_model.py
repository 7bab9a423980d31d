"""The model that a command names: a run folder, a zoo name with shipped weights, or a spec with a weights file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import nn

from lmnet.builder.graph import GraphModel
from lmnet.builder.models import create_model, load_weights
from lmnet.builder.picture import IMAGENET_MEAN, IMAGENET_STD
from lmnet.builder.weights import Weights
from lmnet.builder.zoo import split_name, weights_file, zoo_path, zoo_weights
from lmnet.training.data.case_set import CaseSet, LoadedCase, channels_of
from lmnet.training.data.meaning import DataMeaning
from lmnet.training.inference import probe_classes
from lmnet.training.prediction import MaskRules, Prediction, predict, predict_set
from lmnet.training.prediction_files import find_images
from lmnet.training.recipe import Recipe
from lmnet.training.run_folder import RunFolder

MAX_SIZE = 16_384


@dataclass(frozen=True)
class OpenedModel:
    """A model with its weights, and how its images are prepared.

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


def open_model(model: str, *, weights: str | None = None, size: int | None = None) -> OpenedModel:
    """Open a model for scoring or prediction: ``open_model("lmnet_xs").predict("photo.jpg")``.

    Args:
        model: a run folder, a zoo name (``lmnet_xs``; ``lmnet_xs@busi`` for the weights of another data set), or a
            spec's path.
        weights: a .safetensors file, a run folder or a zoo name; a run folder and a zoo name with shipped weights need
            none.
        size: side in pixels to feed it; None for the one it was trained at.

    Raises:
        ValueError: no such model or weights, or weights of another model.
    """
    folder = RunFolder(model)
    if folder.path.is_dir():
        folder.manifest()
        return _opened(str(folder.file("spec")), weights_file(weights or model), size, folder)
    spec, data = split_name(model)
    path = weights_file(weights) if weights else zoo_weights(zoo_path(spec).stem, data)
    return _opened(spec, path, size, None)


def model_facts(model: nn.Module) -> tuple[str, int, int]:
    """Return the name, input channels and classes of a net that the builder made."""
    spec: Any = model.spec
    channels, size = int(spec.layout.input.channels), min(spec.layout.input.size)
    return spec.name, channels, probe_classes(model, size=size, in_channels=channels)


def _opened(spec: str, weights: Path, size: int | None, run: RunFolder | None) -> OpenedModel:
    net = create_model(spec)
    return opened_with(net, load_weights(net, weights), size=size, run=run)


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
    facts, where = (weights.facts, weights.path) if weights is not None else ({}, Path())
    mean, std = net.normalization or (IMAGENET_MEAN, IMAGENET_STD)
    net.eval()
    name, in_channels, num_classes = model_facts(net)
    return OpenedModel(
        name=name,
        model=net,
        size=size or _size(facts, where),
        in_channels=in_channels,
        num_classes=num_classes,
        mean=mean,
        std=std,
        meaning=DataMeaning.load(facts["data"], where=str(where)) if "data" in facts else None,
        run=run,
    )


def _size(facts: Mapping[str, str], weights: Path) -> int:
    text = facts.get("size", str(Recipe().size))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_SIZE):
        raise ValueError(f"{weights}: its size is {text!r}, no number from 1 to {MAX_SIZE}. Give --size.")
    return int(text)
