import numpy as np
import pytest
from PIL import Image

from lmnet.training.data.pictures import read_image, read_mask

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def save(path, array, mode=None):
    picture = Image.fromarray(array)
    if mode is not None:
        picture = picture.convert(mode)
    picture.save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_picture_of_any_mode_is_read_as_rgb(tmp_path, suffix, mode):
    path = save(tmp_path / f"a.{suffix}", np.repeat(GREY[:, :, None], 3, axis=2), mode)

    image = read_image(path)

    assert image.shape == (4, 6, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image[..., 0], GREY, atol=51 if mode == "P" else 3)  # a palette of 216 colours


def test_an_alpha_channel_is_dropped(tmp_path):
    pixels = np.dstack([GREY, GREY, GREY, np.zeros_like(GREY)])

    image = read_image(save(tmp_path / "a.png", pixels))

    np.testing.assert_array_equal(image, pixels[..., :3])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", GREY.astype(np.uint16) * 257)

    np.testing.assert_array_equal(read_image(path)[..., 1], GREY)


def test_a_float_picture_runs_from_its_smallest_to_its_largest(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[-1.0, 0.0, 1.0]], dtype=np.float32))

    np.testing.assert_array_equal(read_image(path)[0, :, 0], [0, 128, 255])


def test_a_jpeg_is_read_as_rgb(tmp_path):
    path = save(tmp_path / "a.jpg", np.full((16, 16, 3), (200, 30, 30), dtype=np.uint8))

    red, green, _ = read_image(path)[8, 8]

    assert red > 180
    assert green < 60


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no picture", "must be a picture that Pillow can read"), (None, "must exist")],
    ids=["no picture", "absent"],
)
def test_a_file_that_is_no_picture_is_refused(tmp_path, content, message):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ValueError, match=message):
        read_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_truncated_picture_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(ValueError, match="must be whole and readable"):
        read_image(path)


def test_a_jpeg_mask_is_cut_at_127(tmp_path):
    path = save(tmp_path / "a.jpg", np.full((16, 16), 120, dtype=np.uint8))
    bright = save(tmp_path / "b.jpg", np.full((16, 16), 140, dtype=np.uint8))

    dark_mask, bright_mask = read_mask([path]), read_mask([bright])

    assert dark_mask.is_grey
    assert dark_mask.classes.max() == 0
    assert bright_mask.classes.min() == 1


def test_a_nearly_black_jpeg_mask_holds_no_classes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 6, (16, 16), dtype=np.uint8)

    assert read_mask([save(tmp_path / "a.jpg", noise)]).classes.max() == 0


@pytest.mark.parametrize("high", [1, 3, 255], ids=["0 and 1", "0 to 3", "0 and 255"])
def test_a_lossless_mask_holds_classes_or_black_and_white(tmp_path, high):
    mask = read_mask([save(tmp_path / "a.png", np.array([[0, high]], dtype=np.uint8))])

    assert mask.classes.tolist() == [[0, 1 if high == 255 else high]]
    assert not mask.is_grey


def test_a_palette_mask_holds_its_indices(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode=None).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.putdata([0, 1, 2])
    picture.save(tmp_path / "a.png")

    assert read_mask([tmp_path / "a.png"]).classes.tolist() == [[0, 1, 2]]


def test_one_bit_and_transparent_masks_are_read(tmp_path):
    one_bit = save(tmp_path / "a.png", np.array([[0, 255]], dtype=np.uint8), "1")
    clear = save(tmp_path / "b.png", np.array([[[0, 0, 0, 0], [255, 255, 255, 0]]], dtype=np.uint8))

    assert read_mask([one_bit]).classes.tolist() == [[0, 1]]
    assert read_mask([clear]).classes.tolist() == [[0, 1]]


def test_several_masks_are_joined(tmp_path):
    left = save(tmp_path / "a.png", np.array([[255, 0, 0]], dtype=np.uint8))
    right = save(tmp_path / "b.png", np.array([[0, 0, 255]], dtype=np.uint8))

    assert read_mask([left, right]).classes.tolist() == [[1, 0, 1]]


def test_masks_of_two_sizes_are_refused_or_stretched(tmp_path):
    first = save(tmp_path / "a.png", np.array([[0, 0, 0, 0]], dtype=np.uint8))
    second = save(tmp_path / "b.png", np.array([[255, 0]], dtype=np.uint8))

    with pytest.raises(ValueError, match=r"must have one size, got 4x1 and b.png 2x1"):
        read_mask([first, second])
    stretched = read_mask([first, second], resize_further=True)
    assert stretched.classes.tolist() == [[1, 1, 0, 0]]
    assert stretched.resized == ("b.png",)
