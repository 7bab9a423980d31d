"""Augmentations of the authors' list that torchvision lacks, as its own kind of transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from lmnet.training.data.clahe import clahe


class EachChannel(v2.Transform):
    """Changes colours by another transform, also of images with other than 1 or 3 channels.

    Such an image is changed channel by channel, each as a grey image of its own.

    Args:
        transform: changes colours and leaves masks alone.
    """

    def __init__(self, transform: v2.Transform) -> None:
        super().__init__()
        self.inner = transform

    def forward(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> Any:
        """Return the image, changed, and the mask."""
        if image.shape[-3] in (1, 3):
            return self.inner(image, mask)
        channels = [self.inner(tv_tensors.wrap(each, like=image), mask)[0] for each in image.split(1)]
        return tv_tensors.wrap(torch.cat(channels), like=image), mask


class GridDistortion(v2.Transform):
    """Stretches and squeezes the cells of a grid, image and mask alike."""

    CELLS = 5
    """Cells of the grid a side."""
    LIMIT = 0.3
    """A cell's side changes by at most this share."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the grid: where each row and column of the result is taken from."""
        height, width = F.get_size(flat_inputs[0])
        rows, columns = self._moves(height), self._moves(width)
        displacement = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
        return {"displacement": displacement[None]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resample one input."""
        return F.elastic(inpt, displacement=params["displacement"], interpolation=_interpolation(inpt))

    def _moves(self, length: int) -> Tensor:
        """Return how far each position moves, in -1..1 coordinates."""
        steps = 1 + (torch.rand(self.CELLS) * 2 - 1) * self.LIMIT
        knots = torch.cat([torch.zeros(1), (steps / steps.sum()).cumsum(0)])
        place = torch.linspace(0, 1, length) * self.CELLS
        cell = place.long().clamp(max=self.CELLS - 1)
        moved = knots[cell] + (place - cell) * (knots[cell + 1] - knots[cell])
        return 2 * (moved - place / self.CELLS)


class OnImage(v2.Transform):
    """Changes an image by a function; the mask stays.

    Args:
        change: (C, H, W) uint8 to the same; what is random is drawn from torch's generator.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Change one image."""
        return tv_tensors.wrap(self.change(inpt.as_subclass(Tensor)), like=inpt)


def grid_dropout(image: Tensor) -> Tensor:
    """Blacken squares on a grid of random width and place; a square's side is half of the grid's step."""
    side = min(image.shape[-2:])
    step = int(torch.randint(max(2, side // 10), max(3, side // 4), ()))
    down, right = torch.randint(0, step, (2,)).tolist()
    hole = max(1, round(step / 2))
    rows = (torch.arange(image.shape[-2]) + down) % step < hole
    columns = (torch.arange(image.shape[-1]) + right) % step < hole
    return image.masked_fill(rows[:, None] & columns[None, :], 0)


def rgb_shift(image: Tensor, *, limit: int = 20) -> Tensor:
    """Add a constant to each channel; ``limit`` is the largest change, of 255."""
    shift = torch.randint(-limit, limit + 1, (3, 1, 1), dtype=torch.int16)
    return (image.to(torch.int16) + shift[: image.shape[-3]]).clamp(0, 255).to(torch.uint8)


def equalized(image: Tensor) -> Tensor:
    """Equalize the brightness tile by tile (CLAHE), with a clip limit from 1 to 4."""
    return clahe(image, clip_limit=1 + float(torch.rand(())) * 3)


def gamma(image: Tensor) -> Tensor:
    """Raise brightness to a power from 1/1.8 to 1.8: dark parts open up or close, black and white stay."""
    power = 1.8 ** (2 * float(torch.rand(())) - 1)
    table = (255 * torch.linspace(0, 1, 256) ** power).round().to(torch.uint8)
    return table[image.long()]


def coarse(image: Tensor) -> Tensor:
    """Lose resolution: make the image smaller, to 0.4 of its sides at least, and then as large as before."""
    share = 0.4 + 0.6 * float(torch.rand(()))
    size = list(image.shape[-2:])
    return F.resize(F.resize(image, [max(1, round(side * share)) for side in size]), size)


def noise(image: Tensor) -> Tensor:
    """Add a sensor's noise, independent in each pixel and channel, with a deviation of up to 12 of 255."""
    added = torch.randn(image.shape) * (float(torch.rand(())) * 12)
    return (image + added).round().clamp(0, 255).to(torch.uint8)


def vignette(image: Tensor) -> Tensor:
    """Blacken what lies outside of a random disc, as the border of an endoscope's image is.

    The disc's centre is near the middle, its radius near half the diagonal.
    """
    height, width = image.shape[-2:]
    down, right = (0.5 + 0.2 * (torch.rand(2) - 0.5)).tolist()
    radius = 0.45 + 0.2 * float(torch.rand(()))
    rows = (torch.arange(height) / height - down)[:, None]
    columns = (torch.arange(width) / width - right)[None, :]
    return image.masked_fill(rows**2 + columns**2 > radius**2, 0)


def _interpolation(inpt: Any) -> F.InterpolationMode:
    is_mask = isinstance(inpt, tv_tensors.Mask)
    return F.InterpolationMode.NEAREST if is_mask else F.InterpolationMode.BILINEAR
