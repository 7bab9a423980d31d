"""Masks, probability maps and overlays for pictures of any size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lmnet.training.data.case_set import resize_image
from lmnet.training.data.cases import pictures_in
from lmnet.training.data.errors import DataError
from lmnet.training.data.pictures import Pixels, is_picture, read_image
from lmnet.training.inference import IMAGENET_MEAN, IMAGENET_STD, at_own_size, probabilities, resolve_device
from lmnet.training.overlay import overlay


@dataclass(frozen=True)
class Prediction:
    """What a model sees in one picture, at the picture's own size.

    Args:
        path: of the picture.
        image: (H, W, 3) uint8.
        mask: (H, W) uint8, the class of each pixel.
        probability: (H, W) float32 in 0..1, that a pixel is not background.
    """

    path: Path
    image: Pixels
    mask: Pixels
    probability: npt.NDArray[np.float32]

    def save(self, folder: Path, name: str) -> list[Path]:
        """Write NAME_mask.png, NAME_probability.png and NAME_overlay.png; return their paths.

        The mask is 0 and 255, or the classes themselves where there are more than two; the probability is 8 bit.
        """
        is_binary = int(self.mask.max(initial=0)) <= 1
        pictures = {
            "mask": self.mask * 255 if is_binary else self.mask,
            "probability": np.round(self.probability * 255).astype(np.uint8),
            "overlay": overlay(self.image, predicted=self.mask > 0),
        }
        paths = []
        for kind, pixels in pictures.items():
            path = folder / f"{name}_{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            paths.append(path)
        return paths


def find_pictures(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return every picture that the paths name, with the name (without ending) that its results are given.

    Pictures of a folder keep their place under it.

    Raises:
        DataError: a path is absent, a folder has no pictures, or two pictures would be given one name.
    """
    found: list[tuple[Path, str]] = []
    problems = []
    for path in paths:
        if path.is_dir():
            inside = pictures_in(path)
            found += [(file, file.relative_to(path).with_suffix("").as_posix()) for file in inside]
            if not inside:
                problems.append(f"{path}: a folder must hold pictures, got none.")
        elif not path.exists():
            problems.append(f"{path}: the file must exist.")
        elif not is_picture(path):
            problems.append(f"{path}: a picture must be JPEG, PNG, TIFF or BMP by its name, got {path.name}.")
        else:
            found.append((path, path.stem))
    seen: dict[str, Path] = {}
    for path, name in found:
        if seen.setdefault(name, path) != path:
            problems.append(f"{path}: results must have different names, got {name} for {seen[name]} too.")
    if problems:
        raise DataError("pictures", problems, "Mend the list of pictures.")
    return found


def check_pictures(paths: Sequence[Path]) -> None:
    """Read every picture once, so that nothing is written where one is broken.

    Raises:
        DataError: with every picture that cannot be read.
    """

    def problem(path: Path) -> str | None:
        try:
            read_image(path)
        except ValueError as error:
            return f"{path}: {error}"
        return None

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        problems = [text for text in pool.map(problem, paths) if text is not None]
    if problems:
        raise DataError("pictures", problems)


def predict(
    model: nn.Module,
    paths: Sequence[Path],
    *,
    size: int,
    batch_size: int = 8,
    workers: int = 0,
    device: str = "auto",
    in_channels: int = 3,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Iterator[Prediction]:
    """Yield the prediction of each picture, in order.

    Args:
        model: image (N, C, H, W) → logits; put in eval mode.
        paths: of the pictures.
        size: side in pixels that the model is fed.
        batch_size: pictures at once.
        workers: processes that read pictures; 0 reads in this one.
        device: auto, cpu, cuda or cuda:N.
        in_channels: of the model, 3 or 1.
        mean: of the channels.
        std: of the channels.

    Raises:
        DataError: a picture cannot be read.
    """
    target = resolve_device(device)
    model = model.to(target).eval()
    loader = DataLoader(
        _Pictures(list(paths), size, in_channels), batch_size=batch_size, num_workers=workers, collate_fn=_as_lists
    )
    for group in loader:
        broken = [f"{path}: {image}" for path, image, _ in group if isinstance(image, str)]
        if broken:
            raise DataError("pictures", broken)
        shares = probabilities(model, torch.stack([small for *_, small in group]), mean=mean, std=std, device=target)
        for (path, image, _), each in zip(group, shares, strict=True):
            full = at_own_size(each, *image.shape[:2])
            yield Prediction(
                path=path,
                image=image,
                mask=full.argmax(dim=0).numpy().astype(np.uint8),
                probability=(1 - full[0]).clamp(0, 1).numpy(),
            )


class _Pictures(Dataset[tuple[Path, "Pixels | str", Tensor]]):
    """Pictures with their resized forms; one that cannot be read comes with the reason instead of pixels."""

    def __init__(self, paths: list[Path], size: int, in_channels: int) -> None:
        self.paths, self.size, self.in_channels = paths, size, in_channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Path, Pixels | str, Tensor]:
        path = self.paths[index]
        try:
            image = read_image(path)
        except ValueError as error:
            return path, str(error), torch.empty(0)
        return path, image, resize_image(image, self.size, self.in_channels)


def _as_lists(group: list[tuple[Path, Pixels | str, Tensor]]) -> list[tuple[Path, Pixels | str, Tensor]]:
    return group
