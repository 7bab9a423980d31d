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


def test_each_channel_gets_the_mean_and_deviation_asked_for() -> None:
    means, stds = [0.1, -0.4, -0.5], [0.6, 0.4, 0.3]
    out = Standardize(3, mean=means, std=stds, eps=1e-6)(2 + 5 * torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(out.mean((2, 3)), torch.tensor([means, means]), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((2, 3)), torch.tensor([stds, stds]), atol=1e-3, rtol=0)


def test_one_number_stands_for_all_channels() -> None:
    image = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(
        Standardize(3, mean=0.5, std=2.0)(image), Standardize(3, mean=[0.5] * 3, std=[2.0] * 3)(image)
    )


def test_numbers_for_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="mean must be one number or one for each of the 3 channels, got 2 numbers"):
        Standardize(3, mean=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"std must be above 0, got std=0\.0"):
        Standardize(3, std=[1.0, 0.0, 1.0])
