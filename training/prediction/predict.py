"""Masks, probability maps and overlays for images of any size."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lmnet.builder.files import written_aside
from lmnet.training.data.case_set import CaseSet, Pixels, resize_image
from lmnet.training.data.cases import Case
from lmnet.training.data.classes import ClassInfo, make_classes
from lmnet.training.data.image_files import ImageFile
from lmnet.training.data.meaning import DataMeaning, DataOptions
from lmnet.training.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from lmnet.training.data.scan import scan_images
from lmnet.training.prediction.inference import at_own_size, probabilities, resolve_device
from lmnet.training.prediction.overlay import overlay, shown
from lmnet.training.prediction.tiles import Box, cut, joined, tile_boxes


@dataclass(frozen=True)
class MaskRules:
    """How a mask is made from what the model gives.

    Args:
        threshold: least probability, above 0 and at most 1, of a pixel that is not background; of the other classes the
            most probable one is taken. None: the most probable class of all.
        classes: names of the classes to keep; others become background. Empty for all.
        flips: whether the class shares of the image and of its three mirror images are averaged (four times the work).
        tile: side in pixels of the overlapping tiles that an image is cut into, each given to the model; 0 to give it
            the whole image at once.
    """

    threshold: float | None = None
    classes: tuple[str, ...] = ()
    flips: bool = False
    tile: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of its range.
        """
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ValueError(
                f"predict: threshold must be above 0 and at most 1, got threshold={self.threshold}. "
                "Use a value like 0.5."
            )
        if self.tile < 0 or 0 < self.tile < 32:
            raise ValueError(
                f"predict: tile must be 0 or at least 32 pixels, got tile={self.tile}. Use 0 for no tiles."
            )

    def mask(self, shares: Tensor, classes: Sequence[ClassInfo]) -> Pixels:
        """Return the class of each pixel, (H, W) uint8, from class shares (K, H, W).

        Raises:
            ValueError: a class to keep is none of the model's.
        """
        names = [each.name for each in classes]
        unknown = [name for name in self.classes if name not in names[1:]]
        if unknown:
            raise ValueError(
                f"predict: the classes must be the model's, got {', '.join(unknown)}. It has {', '.join(names[1:])}."
            )
        if self.threshold is None:
            mask = shares.argmax(dim=0)
        else:
            mask = (shares[1:].argmax(dim=0) + 1) * (1 - shares[0] >= self.threshold)
        result: Pixels = mask.numpy().astype(np.uint8)
        if self.classes:
            result[~np.isin(result, [names.index(name) for name in self.classes])] = 0
        return result


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model sees in one image, at the image's own size.

    Args:
        path: the image's file.
        image: (H, W, C) uint8.
        mask: (H, W) uint8, the class of each pixel.
        shares: (K, H, W) float32 in 0..1, the probability of each class at each pixel.
        classes: names and colours of the model's classes.
        index: which slice of a volume; None for a file that holds one image.
    """

    path: Path
    image: Pixels
    mask: Pixels
    shares: npt.NDArray[np.float32]
    classes: tuple[ClassInfo, ...] = make_classes(2)
    index: int | None = None

    def __repr__(self) -> str:
        """One line: the image, its size, and the share of each class that was found."""
        height, width = self.mask.shape
        shares = [
            f"{each.name} {100 * float((self.mask == index).mean()):.1f} %"
            for index, each in enumerate(self.classes)
            if index and (self.mask == index).any()
        ]
        place = "" if self.index is None else f", slice {self.index}"
        return f"{self.path.name or 'image'}{place}, {width}x{height}: {', '.join(shares) or 'nothing found'}"

    def _repr_png_(self) -> bytes:
        """The overlay, for notebooks."""
        buffer = io.BytesIO()
        Image.fromarray(self.overlay).save(buffer, format="PNG")
        return buffer.getvalue()

    @property
    def probability(self) -> npt.NDArray[np.float32]:
        """(H, W) float32 in 0..1, that a pixel is not background."""
        return np.clip(1 - self.shares[0], 0, 1)

    @property
    def overlay(self) -> Pixels:
        """(H, W, 3) uint8: the image with each predicted class tinted and outlined in its colour."""
        return overlay(shown(self.image), predicted=self.mask, colors=[each.color for each in self.classes])

    def save(self, folder: Path, name: str, *, each_class: bool = False) -> list[Path]:
        """Write NAME_mask.png, NAME_probability.png and NAME_overlay.png; return their paths.

        With two classes the mask is 0 and 255; with more it holds the class numbers and their colours as a palette,
        also of classes that do not occur in it. The probability is 8 bit.

        Args:
            folder: where to.
            name: beginning of the files' names.
            each_class: also write NAME_probability_CLASS.png for every class but the background.
        """
        pictures = {
            "mask": mask_picture(self.mask, self.classes),
            "probability": _grey(self.probability),
            "overlay": Image.fromarray(self.overlay),
        }
        if each_class:
            pictures |= {f"probability_{each.name}": _grey(self.shares[i]) for i, each in enumerate(self.classes) if i}
        paths = []
        for kind, picture in pictures.items():
            path = folder / f"{name}_{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path, suffix=path.suffix) as temporary:
                picture.save(temporary)
            paths.append(path)
        return paths

    @property
    def areas(self) -> dict[str, int]:
        """Pixels of each class but the background, by its name."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes))
        return {each.name: int(counts[number]) for number, each in enumerate(self.classes) if number > 0}


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
    rules: MaskRules | None = None,
) -> Iterator[Prediction]:
    """Yield the prediction of each image, in order. Every image is read before the first prediction.

    Args:
        model: image (N, C, H, W) → logits; put in eval mode.
        paths: files of the images.
        size: side in pixels that images are resized to.
        batch_size: images at once.
        workers: processes that resize images; 0 for this one.
        device: auto, cpu, cuda or cuda:N.
        in_channels: input channels of the model.
        mean: mean of each channel.
        std: standard deviation of each channel.
        meaning: what the values of images meant when the model was trained.
        options: what the user says about the files' values.
        rules: how masks are made; None for the most probable class at each pixel.

    Raises:
        DataError: with every image that cannot be read.
    """
    files = [path if isinstance(path, ImageFile) else ImageFile((path,)) for path in paths]
    cases = [Case(str(number), file, (), "") for number, file in enumerate(files)]
    images = scan_images(cases, options=options or DataOptions(), known=meaning)
    found = predict_set(
        model,
        images,
        size=size,
        batch_size=batch_size,
        workers=workers,
        device=device,
        in_channels=in_channels,
        mean=mean,
        std=std,
        rules=rules,
    )
    for file, each in zip(files, found, strict=True):
        yield replace(each, path=file.path, index=file.index)


def predict_set(
    model: nn.Module,
    images: CaseSet,
    *,
    size: int,
    batch_size: int = 8,
    workers: int = 0,
    device: str = "auto",
    in_channels: int = 3,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    rules: MaskRules | None = None,
) -> Iterator[Prediction]:
    """Yield the prediction of each image of a set; its path is the case's name. See ``predict``."""
    rules = rules or MaskRules()
    target = resolve_device(device)
    model = model.to(target).eval()
    tiles = _Tiles(images, size, in_channels, rules.tile)
    loader = DataLoader(tiles, batch_size=batch_size, num_workers=workers, collate_fn=list)
    done = 0
    for batch in loader:
        small = torch.cat([tiles for tiles, _ in batch]).split(batch_size)
        shares = torch.cat(
            [probabilities(model, part, mean=mean, std=std, device=target, flips=rules.flips) for part in small]
        )
        for each, (_, boxes) in zip(shares.split([len(boxes) for _, boxes in batch]), batch, strict=True):
            image = images.image(done)
            height, width = image.shape[:2]
            full = joined(each, boxes, height, width) if rules.tile else at_own_size(each[0], height, width)
            usual = images.meaning.classes
            classes = usual if len(usual) == len(full) else make_classes(len(full))
            path = Path(images.cases[done].name)
            yield Prediction(path, image, rules.mask(full, classes), full.numpy(), classes)
            done += 1


class _Tiles(Dataset[tuple[torch.Tensor, list[Box]]]):
    """Images, or their tiles, at the size that the model is fed: (tiles, C, S, S), and where each tile is from."""

    def __init__(self, images: CaseSet, size: int, in_channels: int, tile: int) -> None:
        self.images, self.size, self.in_channels, self.tile = images, size, in_channels, tile

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, list[Box]]:
        image = self.images.image(index)
        boxes = tile_boxes(image.shape[0], image.shape[1], self.tile)
        return torch.stack([resize_image(tile, self.size, self.in_channels) for tile in cut(image, boxes)]), boxes


def _grey(share: npt.NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.round(np.clip(share, 0, 1) * 255).astype(np.uint8))
