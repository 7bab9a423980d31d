"""An image in another light is the same image behind `standardize`."""

from __future__ import annotations

import pytest
import torch

from lmnet.blocks import Standardize


def test_light_and_tint_make_no_difference() -> None:
    image = torch.randn(2, 3, 24, 31)
    gain, shift = torch.tensor([0.5, 1.5, 0.8]).view(1, 3, 1, 1), torch.tensor([0.3, -0.2, 0.0]).view(1, 3, 1, 1)
    block = Standardize(3, eps=1e-6)
    torch.testing.assert_close(block(image * gain + shift), block(image), atol=1e-5, rtol=0)


def test_each_image_is_taken_by_itself() -> None:
    images = torch.stack([torch.randn(3, 16, 16), 5 + 3 * torch.randn(3, 16, 16)])
    block = Standardize(3)
    torch.testing.assert_close(block(images)[1:], block(images[1:]))
    assert block(images).mean((2, 3)).abs().max() < 1e-5
    assert (block(images).std((2, 3)) - 1).abs().max() < 0.05


def test_a_flat_image_stays_flat() -> None:
    flat = torch.full((1, 3, 8, 8), 0.7) + 1e-4 * torch.randn(1, 3, 8, 8)
    assert Standardize(3)(flat).abs().max() < 0.05


def test_eps_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="standardize: eps must be above 0, got eps=0.0"):
        Standardize(3, eps=0.0)
