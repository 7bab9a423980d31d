"""Masks, probability maps and overlays for images of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lmnet.builder.files import written_aside
from lmnet.builder.image_files import ImageFile
from lmnet.training.data.case_set import CaseSet, Pixels, resize_image
from lmnet.training.data.cases import Case
from lmnet.training.data.classes import ClassInfo, make_classes
from lmnet.training.data.meaning import DataMeaning, DataOptions
from lmnet.training.data.scan import scan_images
from lmnet.training.inference import IMAGENET_MEAN, IMAGENET_STD, at_own_size, probabilities, resolve_device
from lmnet.training.overlay import overlay, shown


@dataclass(frozen=True)
class Prediction:
    """What a model sees in one image, at the image's own size.

    Args:
        path: of the image.
        image: (H, W, C) uint8.
        mask: (H, W) uint8, the class of each pixel.
        probability: (H, W) float32 in 0..1, that a pixel is not background.
        classes: names and colours of the model's classes.
        index: which slice of a volume; None for a file that holds one image.
    """

    path: Path
    image: Pixels
    mask: Pixels
    probability: npt.NDArray[np.float32]
    classes: tuple[ClassInfo, ...] = make_classes(2)
    index: int | None = None

    def save(self, folder: Path, name: str) -> list[Path]:
        """Write NAME_mask.png, NAME_probability.png and NAME_overlay.png; return their paths.

        With two classes the mask is 0 and 255; with more it holds the class numbers and their colours as a palette,
        whatever classes occur in it. The probability is 8 bit.
        """
        colors = [each.color for each in self.classes]
        drawn = overlay(shown(self.image), predicted=self.mask, colors=colors)
        pictures = {
            "mask": mask_picture(self.mask, self.classes),
            "probability": Image.fromarray(np.round(self.probability * 255).astype(np.uint8)),
            "overlay": Image.fromarray(drawn),
        }
        paths = []
        for kind, picture in pictures.items():
            path = folder / f"{name}_{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path, suffix=path.suffix) as temporary:
                picture.save(temporary)
            paths.append(path)
        return paths

    def shares(self) -> dict[str, float]:
        """Return the share of the image's pixels that each class but the background has."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes)) / self.mask.size
        return {each.name: float(counts[number]) for number, each in enumerate(self.classes) if number > 0}


def mask_picture(mask: Pixels, classes: Sequence[ClassInfo]) -> Image.Image:
    """Return a mask as an image: 0 and 255 with two classes, else class numbers with the classes' colours."""
    if len(classes) <= 2:
        return Image.fromarray(np.asarray(mask > 0, dtype=np.uint8) * 255)
    picture = Image.fromarray(mask).convert("P")
    picture.putpalette([part for each in classes for part in each.color])
    picture.putdata(mask.ravel().tolist())
    return picture


def predict(
    model: nn.Module,
    paths: Sequence[Path | ImageFile],
    *,
    size: int,
    batch_size: int = 8,
    workers: int = 0,
    device: str = "auto",
    in_channels: int = 3,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    meaning: DataMeaning | None = None,
    options: DataOptions | None = None,
) -> Iterator[Prediction]:
    """Yield the prediction of each image, in order. Every image is read before the first prediction.

    Args:
        model: image (N, C, H, W) → logits; put in eval mode.
        paths: of the images.
        size: side in pixels that the model is fed.
        batch_size: images at once.
        workers: processes that resize images; 0 for this one.
        device: auto, cpu, cuda or cuda:N.
        in_channels: of the model.
        mean: of the channels.
        std: of the channels.
        meaning: what the values of images meant when the model was trained.
        options: what the user says about the files' values.

    Raises:
        DataError: with every image that cannot be read.
    """
    files = [path if isinstance(path, ImageFile) else ImageFile((path,)) for path in paths]
    cases = [Case(str(number), file, (), "") for number, file in enumerate(files)]
    images = scan_images(cases, options=options or DataOptions(), known=meaning)
    target = resolve_device(device)
    model = model.to(target).eval()
    loader = DataLoader(_Resized(images, size, in_channels), batch_size=batch_size, num_workers=workers)
    done = 0
    for small in loader:
        for each in probabilities(model, small, mean=mean, std=std, device=target):
            image = images.image(done)
            full = at_own_size(each, *image.shape[:2])
            usual = images.meaning.classes
            yield Prediction(
                path=files[done].path,
                image=image,
                mask=full.argmax(dim=0).numpy().astype(np.uint8),
                probability=(1 - full[0]).clamp(0, 1).numpy(),
                classes=usual if len(usual) == len(full) else make_classes(len(full)),
                index=files[done].index,
            )
            done += 1


class _Resized(Dataset[torch.Tensor]):
    """Images at the size that the model is fed."""

    def __init__(self, images: CaseSet, size: int, in_channels: int) -> None:
        self.images, self.size, self.in_channels = images, size, in_channels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return resize_image(self.images.image(index), self.size, self.in_channels)
