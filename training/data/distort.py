"""Augmentations of the authors' list that torchvision lacks, as its own kind of transform."""

from __future__ import annotations

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
    """Stretches and squeezes the cells of a grid, image and mask alike.

    Args:
        cells: number of the grid's cells a side.
        limit: a cell's side changes by at most this share.
    """

    def __init__(self, *, cells: int = 5, limit: float = 0.3) -> None:
        super().__init__()
        self.cells, self.limit = cells, limit

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
        steps = 1 + (torch.rand(self.cells) * 2 - 1) * self.limit
        knots = torch.cat([torch.zeros(1), (steps / steps.sum()).cumsum(0)])
        place = torch.linspace(0, 1, length) * self.cells
        cell = place.long().clamp(max=self.cells - 1)
        moved = knots[cell] + (place - cell) * (knots[cell + 1] - knots[cell])
        return 2 * (moved - place / self.cells)


class GridDropout(v2.Transform):
    """Blackens squares on a grid of random width and place; the mask stays.

    Args:
        ratio: the squares' share of the grid's step, along each side.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, *, ratio: float = 0.5) -> None:
        super().__init__()
        self.ratio = ratio

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the grid's step and place."""
        side = min(F.get_size(flat_inputs[0]))
        step = int(torch.randint(max(2, side // 10), max(3, side // 4), ()))
        return {"step": step, "shift": torch.randint(0, step, (2,)).tolist()}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Blacken the squares of one image."""
        step, (down, right) = params["step"], params["shift"]
        hole = max(1, round(step * self.ratio))
        rows = (torch.arange(inpt.shape[-2]) + down) % step < hole
        columns = (torch.arange(inpt.shape[-1]) + right) % step < hole
        return tv_tensors.wrap(inpt.masked_fill(rows[:, None] & columns[None, :], 0), like=inpt)


class RGBShift(v2.Transform):
    """Adds a constant to each channel of an 8-bit image.

    Args:
        limit: largest change, of 255.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, *, limit: int = 20) -> None:
        super().__init__()
        self.limit = limit

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the change of each channel."""
        return {"shift": torch.randint(-self.limit, self.limit + 1, (3, 1, 1), dtype=torch.int16)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Shift one image."""
        shifted = (inpt.to(torch.int16) + params["shift"][: inpt.shape[-3]]).clamp(0, 255).to(torch.uint8)
        return tv_tensors.wrap(shifted, like=inpt)


class CLAHE(v2.Transform):
    """Equalizes the brightness tile by tile, with a clip limit drawn anew each time.

    Args:
        limit: largest clip limit.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, *, limit: float = 4.0) -> None:
        super().__init__()
        self.limit = limit

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the clip limit."""
        return {"clip_limit": 1 + float(torch.rand(())) * (self.limit - 1)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Equalize one image."""
        return tv_tensors.wrap(clahe(inpt.as_subclass(Tensor), clip_limit=params["clip_limit"]), like=inpt)


class Gamma(v2.Transform):
    """Raises brightness to a power: dark parts open up or close, black and white stay.

    Args:
        limit: the largest power, and one over the smallest.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, *, limit: float = 1.8) -> None:
        super().__init__()
        self.limit = limit

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the power, as often below as above 1."""
        return {"power": self.limit ** (2 * float(torch.rand(())) - 1)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Change one image."""
        table = (255 * torch.linspace(0, 1, 256) ** params["power"]).round().to(torch.uint8)
        return tv_tensors.wrap(table[inpt.long()], like=inpt)


class Coarse(v2.Transform):
    """Loses resolution: the image is made smaller and then as large as before.

    Args:
        limit: the smallest side in between, as a share of the side.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, *, limit: float = 0.4) -> None:
        super().__init__()
        self.limit = limit

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the size in between."""
        share = self.limit + (1 - self.limit) * float(torch.rand(()))
        size = list(F.get_size(flat_inputs[0]))
        return {"size": size, "between": [max(1, round(side * share)) for side in size]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Change one image."""
        return F.resize(F.resize(inpt, params["between"]), params["size"])


class Noise(v2.Transform):
    """Adds the noise of a sensor: independent in each pixel and channel.

    Args:
        limit: the largest standard deviation, of 255.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, *, limit: float = 12.0) -> None:
        super().__init__()
        self.limit = limit

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Change one image."""
        noise = torch.randn(inpt.shape) * (float(torch.rand(())) * self.limit)
        return tv_tensors.wrap((inpt + noise).round().clamp(0, 255).to(torch.uint8), like=inpt)


class Vignette(v2.Transform):
    """Blackens what lies outside of a random disc, as the border of an endoscope's picture is; the mask stays."""

    _transformed_types = (tv_tensors.Image,)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the disc: its centre near the middle, its radius near half the diagonal."""
        height, width = F.get_size(flat_inputs[0])
        down, right = (0.5 + 0.2 * (torch.rand(2) - 0.5)).tolist()
        radius = 0.45 + 0.2 * float(torch.rand(()))
        rows = (torch.arange(height) / height - down)[:, None]
        columns = (torch.arange(width) / width - right)[None, :]
        return {"outside": rows**2 + columns**2 > radius**2}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Blacken the border of one image."""
        return tv_tensors.wrap(inpt.masked_fill(params["outside"], 0), like=inpt)


def _interpolation(inpt: Any) -> F.InterpolationMode:
    is_mask = isinstance(inpt, tv_tensors.Mask)
    return F.InterpolationMode.NEAREST if is_mask else F.InterpolationMode.BILINEAR
