"""Augmentation of one image with its mask, by name: none, light, heavy, robust, or the authors' list."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import InterpolationMode

from lmnet.training.data.distort import (
    EachChannel,
    GridDistortion,
    OnImage,
    coarse,
    equalized,
    gamma,
    grid_dropout,
    noise,
    rgb_shift,
    vignette,
)


def light(size: int) -> v2.Transform:
    """Flips, turns, shifts, zooms and light: cheap enough for a CPU that trains at the same time."""
    affine = v2.RandomAffine(
        degrees=45.0, translate=(0.1, 0.1), scale=(0.75, 1.3), interpolation=InterpolationMode.BILINEAR
    )
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([affine], p=0.75),
            v2.RandomApply([EachChannel(v2.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25))], p=0.5),
        ]
    )


def heavy(size: int) -> v2.Transform:
    """``light`` with a wider zoom, shear, stronger colour, blur and grey: for few images and pretrained encoders."""
    affine = v2.RandomAffine(
        degrees=90.0, translate=(0.15, 0.15), scale=(0.6, 1.5), shear=8.0, interpolation=InterpolationMode.BILINEAR
    )
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([affine], p=0.85),
            v2.RandomApply(
                [EachChannel(v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.04))], p=0.7
            ),
            v2.RandomApply([v2.GaussianBlur(kernel_size=5, sigma=(0.3, 1.5))], p=0.15),
            EachChannel(v2.RandomGrayscale(p=0.05)),
        ]
    )


def robust(size: int) -> v2.Transform:
    """``heavy`` with what differs from hospital to hospital: tint, exposure, sharpness, noise, borders.

    For nets that shall hold on another hospital's images. Masks move with the image; none of the changes of light do.
    """
    affine = v2.RandomAffine(
        degrees=180.0, translate=(0.15, 0.15), scale=(0.5, 1.6), shear=10.0, interpolation=InterpolationMode.BILINEAR
    )
    sharpness = v2.RandomChoice(
        [v2.GaussianBlur(kernel_size=7, sigma=(0.3, 2.5)), OnImage(coarse), v2.RandomAdjustSharpness(3.0, p=1.0)]
    )
    exposure = v2.RandomChoice([OnImage(gamma), EachChannel(OnImage(equalized))])
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([affine], p=0.9),
            v2.RandomApply(
                [EachChannel(v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.5, hue=0.06))], p=0.8
            ),
            v2.RandomApply([EachChannel(OnImage(partial(rgb_shift, limit=30)))], p=0.3),
            v2.RandomApply([exposure], p=0.3),
            v2.RandomApply([EachChannel(sharpness)], p=0.3),
            v2.RandomApply([OnImage(noise)], p=0.2),
            v2.RandomApply([OnImage(vignette)], p=0.2),
            EachChannel(v2.RandomGrayscale(p=0.05)),
        ]
    )


def paper(size: int) -> v2.Transform:
    """The authors' list (arXiv 2501.03838 and their code)."""
    affine = v2.RandomAffine(
        degrees=30.0, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=InterpolationMode.BILINEAR
    )
    one_of = v2.RandomChoice(
        [
            EachChannel(v2.RandomGrayscale(p=1.0)),
            GridDistortion(),
            v2.ElasticTransform(alpha=size / 8, sigma=4.0),
            EachChannel(OnImage(equalized)),
            EachChannel(v2.ColorJitter(saturation=0.3, hue=0.1)),
            EachChannel(v2.RandomChannelPermutation()),
            OnImage(grid_dropout),
            EachChannel(OnImage(rgb_shift)),
            v2.GaussianBlur(kernel_size=5, sigma=(0.3, 1.5)),
        ]
    )
    return v2.Compose(
        [
            v2.RandomResizedCrop((size, size), scale=(0.8, 1.0), antialias=True),
            v2.RandomApply([affine], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([EachChannel(v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.2))], p=0.4),
            v2.RandomApply([one_of], p=0.4),
        ]
    )


def none(size: int) -> v2.Transform:
    """Nothing."""
    return v2.Identity()


def augmented(transform: v2.Transform, image: Tensor, mask: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return an image and its mask, augmented; the seed alone decides how, in whatever process.

    Args:
        transform: made by one of ``lmnet.training.fitting.named.AUGMENTATIONS``.
        image: (C, H, W) uint8.
        mask: (H, W) uint8.
        seed: random seed; torch's own generator is left as it was.
    """
    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        drawn, drawn_mask = transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
    finally:
        torch.set_rng_state(before)
    return drawn.as_subclass(Tensor).contiguous(), drawn_mask.as_subclass(Tensor).contiguous()
