"""A set of cases whose pixels are decoded once: at their own size, and resized once for each size asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from lmnet.training.data.cases import Case
from lmnet.training.data.classes import IGNORED
from lmnet.training.data.image_files import RawImage, read_image, read_raw
from lmnet.training.data.mask_values import MaskValues
from lmnet.training.data.meaning import DataMeaning

Pixels = npt.NDArray[np.uint8]

MEMORY_MIB = 2048
"""How much one set may keep decoded; larger sets are read from their files each time."""


@dataclass
class LoadedCase:
    """One case of a set.

    Args:
        name: unique in the set.
        group: the patient.
        stratum: the kind.
        digest: a hash of the files' content.
        image: (H, W, C) uint8; None if it is read from its file each time.
        mask: (H, W) uint8 classes; None if it is read from its files each time.
        source: where to read both from; None if they are in memory.
        present: the classes that occur in the mask; None if they were not looked for.
        content: a hash of the image's values alone; empty if there is none.
    """

    name: str
    group: str
    stratum: str
    digest: str
    image: Pixels | None = None
    mask: Pixels | None = None
    source: Case | None = None
    present: frozenset[int] | None = None
    content: str = ""


@dataclass(repr=False)
class CaseSet:
    """Cases in a fixed order.

    Args:
        cases: the cases.
        meaning: what the values of their images and masks mean.
    """

    cases: list[LoadedCase]
    meaning: DataMeaning = field(default_factory=DataMeaning)
    _resized: dict[tuple[int, int], ResizedSet] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.cases)

    def __repr__(self) -> str:
        """One line: how many images of how many patients."""
        return f"{len(self)} images of {len({case.group for case in self.cases})} patients"

    @property
    def names(self) -> list[str]:
        """Names of the cases, in order."""
        return [case.name for case in self.cases]

    def image(self, index: int) -> Pixels:
        """Return a case's image at its own size, (H, W, C) uint8; grey is repeated to three channels."""
        case = self.cases[index]
        if case.image is not None:
            return case.image
        assert case.source is not None
        return channels_of(self.meaning.intensities.apply(read_image(case.source.image).values))

    def mask(self, index: int) -> Pixels:
        """Return a case's mask at its own size, (H, W) uint8 classes; 255 for a pixel that belongs to no class."""
        case = self.cases[index]
        if case.mask is not None:
            return case.mask
        assert case.source is not None
        raws = [read_raw(file) for file in case.source.masks]
        return joined_masks(raws, self.meaning.masks, case.source.mask_classes)

    def subset(self, indices: Sequence[int]) -> CaseSet:
        """Return some of the cases; pixels are shared, not copied."""
        return CaseSet([self.cases[i] for i in indices], self.meaning)

    def at(self, size: int, in_channels: int = 3) -> ResizedSet:
        """Return the cases resized to ``size`` x ``size``; the second call with one size costs nothing.

        Args:
            size: side in pixels; the image is stretched to a square, as the authors do.
            in_channels: channels that the model takes: 3 for RGB, 1 for grey, or as many as the images have.

        Raises:
            ValueError: size is below 1, or the images have another number of channels.
        """
        key = (size, in_channels)
        if key not in self._resized:
            self._resized[key] = ResizedSet(self, size, in_channels)
        return self._resized[key]

    @property
    def fingerprint(self) -> str:
        """A hash of the cases' names and content, in order."""
        digest = hashlib.sha256()
        for case in self.cases:
            digest.update(f"{case.name}\0{case.digest}\n".encode())
        return digest.hexdigest()[:16]


class ResizedSet:
    """The cases of a set at one size, as uint8 tensors, kept in memory if they fit.

    Args:
        cases: the set.
        size: side in pixels.
        in_channels: channels that the model takes.
    """

    def __init__(self, cases: CaseSet, size: int, in_channels: int) -> None:
        if size < 1:
            raise ValueError(f"data: size must be at least 1, got size={size}. Use a size like 128.")
        if in_channels < 1:
            raise ValueError(f"data: in_channels must be at least 1, got in_channels={in_channels}. Use 3 for RGB.")
        self.cases, self.size, self.in_channels = cases, size, in_channels
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] | None = None
        if len(cases) * size * size * (in_channels + 1) <= MEMORY_MIB * 2**20:
            self._kept = [self._make(index) for index in range(len(cases))]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image (C, size, size) uint8 and mask (size, size) uint8. Neither may be changed in place."""
        return self._kept[index] if self._kept is not None else self._make(index)

    def _make(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = resize_image(self.cases.image(index), self.size, self.in_channels)
        mask = Image.fromarray(self.cases.mask(index))
        if mask.size != (self.size, self.size):
            mask = mask.resize((self.size, self.size), Image.Resampling.NEAREST)
        return image, torch.from_numpy(np.array(mask))


def resize_image(image: Pixels, size: int, in_channels: int = 3) -> torch.Tensor:
    """Return an (H, W, C) image as a (in_channels, size, size) uint8 tensor; bilinear, antialiased.

    Raises:
        ValueError: the image has neither in_channels nor three channels that one could be made of.
    """
    channels = image.shape[2]
    if channels == in_channels == 3:
        layers = [Image.fromarray(image)]
    elif channels == 3 and in_channels == 1:
        layers = [Image.fromarray(image).convert("L")]
    elif channels == in_channels:
        layers = [Image.fromarray(np.ascontiguousarray(image[..., channel])) for channel in range(channels)]
    else:
        raise ValueError(
            f"data: the images have {channels} channels and the net takes {in_channels}. Build the net with "
            f"in_channels={channels}: --set input.channels={channels}."
        )
    if layers[0].size != (size, size):
        layers = [layer.resize((size, size), Image.Resampling.BILINEAR) for layer in layers]
    pixels = torch.from_numpy(np.stack([np.array(layer) for layer in layers]))
    return pixels[0].permute(2, 0, 1).contiguous() if pixels.ndim == 4 else pixels


def channels_of(pixels: Pixels) -> Pixels:
    """Return an image whose one channel, grey, is repeated to three; others as they are."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def joined_masks(raws: Sequence[RawImage], meaning: MaskValues, classes: Sequence[int] = ()) -> Pixels:
    """Return the classes of one image's masks: a pixel has the largest class that any of them gives it.

    Masks of another size than the first are stretched to it.

    Args:
        raws: one a mask.
        meaning: what their values mean.
        classes: the class of each mask's lesion, if each class has a mask of its own.
    """
    masks = [meaning.apply(raw).astype(np.int16) for raw in raws]
    for mask, number in zip(masks, classes, strict=bool(classes)):
        mask[mask == 1] = number
    first = masks[0]
    first[first == IGNORED] = -1
    for mask in masks[1:]:
        mask[mask == IGNORED] = -1
        if mask.shape != first.shape:
            mask = np.asarray(Image.fromarray(mask).resize(first.shape[::-1], Image.Resampling.NEAREST))
        np.maximum(first, mask, out=first)
    first[first == -1] = IGNORED
    return first.astype(np.uint8)
