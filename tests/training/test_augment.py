import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from lmnet.training.data.augment import augmented
from lmnet.training.data.clahe import clahe
from lmnet.training.data.distort import GridDistortion, OnImage, equalized, grid_dropout, rgb_shift
from lmnet.training.fitting.named import AUGMENTATIONS


@pytest.fixture
def pair(drawn):
    return drawn.train.at(64)[0]


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_augmentation_keeps_shape_and_type_and_mask_values(pair, name):
    transform = AUGMENTATIONS.get(name)(64)
    for seed in range(40):
        image, mask = augmented(transform, *pair, seed=seed)

        assert image.shape == (3, 64, 64)
        assert mask.shape == (64, 64)
        assert image.dtype == mask.dtype == torch.uint8
        assert type(image) is torch.Tensor
        assert set(mask.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_images_of_any_number_of_channels_are_augmented(pair, name, channels):
    image, mask = pair
    many = torch.cat([image[:1], torch.zeros(channels - 1, *image.shape[1:], dtype=torch.uint8)])
    for seed in range(40):
        drawn, _ = augmented(AUGMENTATIONS.get(name)(64), many, mask, seed=seed)

        assert drawn.shape == (channels, 64, 64)
        spread = drawn.float().std(dim=(1, 2))
        assert channels == 1 or spread[0] > spread[1:].max()  # channels keep their places


@pytest.mark.parametrize("name", ["light", "paper"])
def test_the_seed_decides_and_torchs_own_state_stays(pair, name):
    transform = AUGMENTATIONS.get(name)(64)
    before = torch.get_rng_state()

    first, again, other = (augmented(transform, *pair, seed=seed)[0] for seed in (1, 1, 2))

    assert first.equal(again)
    assert not first.equal(other)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    "transform", [GridDistortion(), AUGMENTATIONS.get("light")(64), AUGMENTATIONS.get("paper")(64)]
)
def test_image_and_mask_move_together(transform):
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[16:48, 16:48] = 1
    image = (mask * 255).expand(3, 64, 64).contiguous()

    for seed in range(10):
        moved, moved_mask = augmented(transform, image, mask, seed=seed)
        inside, outside = moved[:, moved_mask == 1].float(), moved[:, moved_mask == 0].float()
        assert inside.mean() > outside.mean() + 40


def test_grid_distortion_keeps_the_border_and_moves_the_inside_in_order():
    ramp = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64).contiguous() * 4
    largest = 0
    for seed in range(5):
        torch.manual_seed(seed)
        row = GridDistortion()(tv_tensors.Image(ramp))[0, 32].int()
        assert (row[[0, -1]] - ramp[0, 32, [0, -1]].int()).abs().max() <= 6
        assert (row.diff() >= 0).all()
        largest = max(largest, int((row - ramp[0, 32].int()).abs().max()))

    assert largest > 12


def test_grid_dropout_blackens_about_a_quarter_of_the_image_and_none_of_the_mask():
    torch.manual_seed(0)
    image, mask = OnImage(grid_dropout)(
        tv_tensors.Image(torch.full((3, 60, 60), 9, dtype=torch.uint8)),
        tv_tensors.Mask(torch.ones(60, 60, dtype=torch.uint8)),
    )

    assert 0.1 < (image == 0).float().mean() < 0.5
    assert mask.min() == 1


def test_rgb_shift_adds_a_constant_to_each_channel():
    torch.manual_seed(0)
    shifted = rgb_shift(torch.full((3, 8, 8), 100, dtype=torch.uint8))

    assert all(channel.unique().numel() == 1 for channel in shifted)
    assert 80 <= shifted.min() <= shifted.max() <= 120
    assert shifted.unique().numel() > 1


def test_clahe_raises_the_contrast_of_a_dull_picture_and_keeps_a_flat_one_flat():
    grey = torch.from_numpy(np.random.default_rng(0).integers(100, 130, (1, 64, 64), dtype=np.uint8))

    assert clahe(grey).float().std() > 2 * grey.float().std()
    assert clahe(torch.full((3, 32, 32), 90, dtype=torch.uint8)).unique().numel() <= 2
    torch.manual_seed(0)
    assert equalized(grey).shape == grey.shape


def test_clahe_of_one_tile_without_a_limit_is_plain_equalization():
    grey = torch.from_numpy(np.random.default_rng(0).integers(50, 200, (1, 32, 32), dtype=np.uint8))

    result = clahe(grey, clip_limit=1e9, tiles=1)[0].numpy()

    order = np.searchsorted(np.sort(grey.numpy().ravel()), grey[0].numpy(), side="right") / grey.numel()
    np.testing.assert_allclose(result, order * 255, atol=1)
