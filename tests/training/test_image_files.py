import os

import numpy as np
import pytest
from PIL import Image

from lmnet.training.data import intensities
from lmnet.training.data.image_files import ImageFile, read_image, read_raw

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def save(path, array, mode=None, **options):
    picture = Image.fromarray(array)
    if mode is not None:
        picture = picture.convert(mode)
    picture.save(path, **options)
    return path


def read(path):
    return read_image(ImageFile((path,))).values


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp", "gif", "ppm", "jp2"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_an_image_of_any_mode_is_read(tmp_path, suffix, mode):
    if (suffix, mode) in {("jp2", "P"), ("webp", "P"), ("ppm", "P")}:
        pytest.skip(f"{suffix} has no palette")
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", np.repeat(GREY[:, :, None], 3, axis=2), mode, **options)

    image = read(path)

    assert image.shape[:2] == (4, 6)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image[..., 0], GREY, atol=51 if mode == "P" or suffix == "gif" else 3)


def test_an_alpha_channel_is_dropped(tmp_path):
    pixels = np.dstack([GREY, GREY, GREY, np.zeros_like(GREY)])

    np.testing.assert_array_equal(read(save(tmp_path / "a.png", pixels)), pixels[..., :3])


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_an_image_is_read_as_viewers_show_it(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", GREY, exif=exif)

    raw = read_image(ImageFile((path,)))

    assert raw.is_turned
    assert raw.values.shape[:2] == ((6, 4) if orientation > 4 else (4, 6))
    upright = {2: GREY[:, ::-1], 3: GREY[::-1, ::-1], 4: GREY[::-1], 5: GREY.T}
    upright |= {6: np.rot90(GREY, -1), 7: GREY[::-1, ::-1].T, 8: np.rot90(GREY)}
    np.testing.assert_array_equal(raw.values[..., 0], upright[orientation])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_twelve_bits_in_a_sixteen_bit_file_keep_their_levels(tmp_path, suffix):
    values = np.linspace(300, 950, 64 * 80).astype(np.uint16).reshape(64, 80)
    raw = read(save(tmp_path / f"a.{suffix}", values))

    decided = intensities.decide([intensities.sample(raw)])

    assert decided.ranges[0] == pytest.approx((303, 946), abs=2)
    assert len(np.unique(decided.apply(raw))) > 250
    assert "303" in decided.describe()


def test_a_range_that_is_given_decides(tmp_path):
    raw = read(save(tmp_path / "a.png", np.array([[0, 2048, 4096]], dtype=np.uint16)))

    decided = intensities.decide([intensities.sample(raw)], (0.0, 4096.0))

    np.testing.assert_array_equal(decided.apply(raw)[0, :, 0], [0, 128, 255])


def test_values_that_are_no_number_do_not_decide(tmp_path):
    values = np.linspace(0, 1, 5120, dtype=np.float32).reshape(64, 80)
    values[0, 0], values[0, 1] = np.inf, np.nan
    raw = read(save(tmp_path / "a.tif", values))
    sampled = intensities.sample(raw)

    pixels = intensities.decide([sampled]).apply(raw)

    assert sampled.bad == 2
    assert pixels[0, 0, 0] == 255
    assert pixels[0, 1, 0] == 0
    assert 100 < pixels[32, 40, 0] < 156


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([np.zeros((2, 2, 1), np.uint8), np.ones((2, 2, 1), np.uint16)], "several kinds: 1 16-bit, 1 8-bit. Convert"),
        ([np.full((2, 2, 1), np.nan)], "no image has a finite value"),
        ([np.zeros((2, 2, 1), np.uint16), np.ones((2, 2, 2), np.uint16)], "images of 1, 2 channels"),
    ],
)
def test_intensities_that_can_be_read_in_two_ways_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        intensities.decide([intensities.sample(each) for each in samples])


def test_one_value_throughout_is_black():
    values = np.full((2, 2, 1), 7, np.uint16)

    assert intensities.decide([intensities.sample(values)]).apply(values).max() == 0


def test_intensities_of_another_kind_than_decided_are_refused():
    with pytest.raises(ValueError, match="it has 16-bit values, and 8-bit images were expected"):
        intensities.Intensities().apply(np.zeros((2, 2, 1), np.uint16))
    with pytest.raises(ValueError, match="it has 3 channels, and 2 were expected"):
        intensities.Intensities(((0, 1), (0, 1))).apply(np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="low below high"):
        intensities.Intensities.load([[3, 1]])


def test_files_of_one_channel_each_are_joined(tmp_path):
    paths = tuple(save(tmp_path / f"a_000{i}.png", GREY + i) for i in range(2))

    assert read_image(ImageFile(paths)).values.shape == (4, 6, 2)
    save(paths[1], GREY[:2])
    with pytest.raises(ValueError, match="channels of one image differ in size: a_0000.png 6x4, a_0001.png 6x2"):
        read_image(ImageFile(paths))


def test_float_images_of_several_channels_are_read(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(0).random((8, 9, 4), dtype=np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")

    np.testing.assert_array_equal(read(tmp_path / "a.tif"), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no image", "no image that Pillow can read"), (None, "there is no such file")],
    ids=["no image", "absent"],
)
def test_a_file_that_is_no_image_is_refused(tmp_path, content, message):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_pipe_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.png")

    with pytest.raises(ValueError, match="not a regular file"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(ValueError, match="damaged or cut short"):
        read(path)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("1", (9000, 9000)).save(path)
    before = Image.MAX_IMAGE_PIXELS

    with pytest.raises(
        ValueError, match="9000x9000 pixels, more than 67108864. Make it smaller, or set LMNET_MAX_PIXELS="
    ):
        read(path)
    monkeypatch.setenv("LMNET_MAX_PIXELS", "81000000")
    assert read(path).shape == (9000, 9000, 1)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_a_file_of_several_pages_is_refused(tmp_path, suffix):
    pages = [Image.fromarray(GREY + i) for i in range(3)]
    pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:])

    with pytest.raises(ValueError, match="it holds 3 pages. Save each page as a file of its own"):
        read_raw(ImageFile((tmp_path / f"a.{suffix}",)))
