"""A set of cases whose pixels are decoded once: at their own size, and resized once for each size asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lmnet.training.data.pictures import Pixels, read_image, read_mask

MEMORY_MIB = 2048
"""How much one set may keep decoded; larger sets are read from their files each time."""


@dataclass
class CaseSet:
    """Cases in a fixed order.

    Args:
        names: of the cases, unique.
        groups: the patient of each case.
        strata: the kind of each case.
        images: (H, W, 3) uint8 RGB of each case, or the file to read it from.
        masks: (H, W) uint8 classes of each case, or the files to read it from.
        digests: a hash of each case's content.
    """

    names: list[str]
    groups: list[str]
    strata: list[str]
    images: list[Pixels | Path]
    masks: list[Pixels | tuple[Path, ...]]
    digests: list[str]
    _resized: dict[tuple[int, int], ResizedSet] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Pixels:
        """Return a case's image at its own size, (H, W, 3) uint8."""
        image = self.images[index]
        return read_image(image) if isinstance(image, Path) else image

    def mask(self, index: int) -> Pixels:
        """Return a case's mask at its own size, (H, W) uint8 classes."""
        mask = self.masks[index]
        return read_mask(mask, resize_further=True).classes if isinstance(mask, tuple) else mask

    def subset(self, indices: Sequence[int]) -> CaseSet:
        """Return some of the cases; pixels are shared, not copied."""
        return CaseSet(
            names=[self.names[i] for i in indices],
            groups=[self.groups[i] for i in indices],
            strata=[self.strata[i] for i in indices],
            images=[self.images[i] for i in indices],
            masks=[self.masks[i] for i in indices],
            digests=[self.digests[i] for i in indices],
        )

    def at(self, size: int, in_channels: int = 3) -> ResizedSet:
        """Return the cases resized to ``size`` x ``size``; the second call with one size costs nothing.

        Args:
            size: side in pixels; the picture is stretched to a square, as the authors do.
            in_channels: 3 for RGB, 1 for grey.

        Raises:
            ValueError: size is below 1, or in_channels is not 1 or 3.
        """
        key = (size, in_channels)
        if key not in self._resized:
            self._resized[key] = ResizedSet(self, size, in_channels)
        return self._resized[key]

    @property
    def fingerprint(self) -> str:
        """A hash of the cases' names and content, in order."""
        digest = hashlib.sha256()
        for name, content in zip(self.names, self.digests, strict=True):
            digest.update(f"{name}\0{content}\n".encode())
        return digest.hexdigest()[:16]


class ResizedSet:
    """The cases of a set at one size, as uint8 tensors, kept in memory where they fit.

    Args:
        cases: the set.
        size: side in pixels.
        in_channels: 3 for RGB, 1 for grey.
    """

    def __init__(self, cases: CaseSet, size: int, in_channels: int) -> None:
        if size < 1:
            raise ValueError(f"data: size must be at least 1, got size={size}. Use a size like 128.")
        if in_channels not in (1, 3):
            raise ValueError(f"data: in_channels must be 1 or 3, got in_channels={in_channels}. Build the net for 3.")
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
    """Return an (H, W, 3) picture as a (in_channels, size, size) uint8 tensor; bilinear, antialiased."""
    picture = Image.fromarray(image)
    if in_channels == 1:
        picture = picture.convert("L")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if in_channels == 1 else pixels.permute(2, 0, 1).contiguous()
