"""PNG, TIFF and other images of any depth, colour space and orientation are read as they are, or refused by name."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from lmnet.training.data.image_files import ImageFile, read_image, read_raw, without_warnings
from lmnet.training.data.load import load_cases
from lmnet.training.data.mask_values import colors_of, grey_of

tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")

RNG = np.random.default_rng(0)
GREY_16 = RNG.integers(0, 4000, (8, 10)).astype(np.uint16)
COLORS = RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8)
DEEP = RNG.integers(300, 3000, (16, 24, 4)).astype(np.uint16)


def png(path, values, kind, interlace=0):
    """Write a 16-bit PNG by hand: Pillow writes 16 bits of grey only."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlace:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(
        b"\0" + row.astype(">u2").tobytes() for y, x, down, across in passes for row in values[y::down, x::across]
    )
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, interlace)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return ImageFile((path,))


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("kind", "channels", "kept"), [(0, 1, 1), (2, 3, 3), (4, 2, 1), (6, 4, 3)])
def test_sixteen_bits_of_a_png_are_kept(tmp_path, kind, channels, kept, interlace):
    raw = read_raw(png(tmp_path / "a.png", DEEP[..., :channels], kind, interlace))

    np.testing.assert_array_equal(raw.values, DEEP[..., :kept])
    assert (raw.alpha is not None) == (channels > kept)


TIFFS = {
    "16-bit RGB": (DEEP[..., :3], {"photometric": "rgb"}, None),
    "16-bit RGB, big-endian": (DEEP[..., :3], {"photometric": "rgb", "byteorder": ">"}, None),
    "16-bit RGB in planes": (DEEP[..., :3], {"photometric": "rgb", "planarconfig": "separate"}, None),
    "16-bit RGB, packed": (DEEP[..., :3], {"photometric": "rgb", "compression": "zlib"}, None),
    "8-bit RGB in planes": (COLORS, {"photometric": "rgb", "planarconfig": "separate"}, None),
    "16-bit RGB and alpha": (DEEP, {"photometric": "rgb", "extrasamples": ["unassalpha"]}, DEEP[..., :3]),
    "16-bit, white is zero": (GREY_16, {"photometric": "miniswhite"}, 65535 - GREY_16),
    "16-bit, white is zero, big-endian": (
        GREY_16, {"photometric": "miniswhite", "byteorder": ">"}, 65535 - GREY_16,
    ),
    "8-bit, white is zero": (COLORS[..., 0], {"photometric": "miniswhite"}, 255 - COLORS[..., 0]),
    "signed 8-bit": (np.array([[-100, 3], [90, -1]], np.int8), {}, None),
    "signed 16-bit": (GREY_16.astype(np.int16) - 1000, {}, None),
    "unsigned 32-bit": (GREY_16.astype(np.uint32) * 1_000_000, {}, None),
    "half floats": (GREY_16.astype(np.float16), {}, None),
    "doubles": (GREY_16.astype(np.float64) / 7, {}, None),
    "floats of three channels": (DEEP[..., :3].astype(np.float32), {"photometric": "rgb"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", TIFFS)
def test_a_tiff_of_any_depth_keeps_its_values(tmp_path, name):
    values, options, wanted = TIFFS[name]
    options = {"photometric": "minisblack", **options}
    stored = np.moveaxis(values, 2, 0) if options.get("planarconfig") == "separate" else values
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    wanted = values if wanted is None else wanted

    read = read_image(ImageFile((tmp_path / "a.tif",))).values

    np.testing.assert_array_equal(read, wanted if wanted.ndim == 3 else wanted[..., None])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_is_turned_as_its_tag_says_whatever_its_depth(tmp_path, orientation, dtype):
    values = DEEP[..., :3].astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    upright = {1: values, 2: values[:, ::-1], 3: values[::-1, ::-1], 4: values[::-1], 5: values.swapaxes(0, 1)}
    upright |= {6: np.rot90(values, -1), 7: values[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(values)}

    raw = read_image(ImageFile((tmp_path / "a.tif",)))

    np.testing.assert_array_equal(raw.values, upright[orientation])
    assert raw.is_turned == (orientation > 1)


def test_pages_of_a_deep_tiff_are_no_channels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 16, 24)), photometric="minisblack", metadata={"axes": "ZYX"})

    with pytest.raises(ValueError, match="it holds 3 pages"):
        read_image(ImageFile((tmp_path / "a.tif",)))


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "CMYK"])
def test_other_colour_spaces_become_red_green_blue(tmp_path, mode):
    picture = Image.fromarray(np.full((8, 10, 3), (200, 60, 40), np.uint8))
    if mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, rgb, lab, outputMode="LAB")
    else:
        converted = picture.convert(mode)
    converted.save(tmp_path / "a.tif")

    read = read_image(ImageFile((tmp_path / "a.tif",))).values

    np.testing.assert_allclose(read[4, 5], (200, 60, 40), atol=4)


def test_sixteen_bit_cmyk_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="separated")

    with pytest.raises(ValueError, match="a TIFF whose colours are of the kind 5 in uint16. Save it as grey or RGB"):
        read_image(ImageFile((tmp_path / "a.tif",)))


def test_a_ppm_of_sixteen_bits_is_refused(tmp_path):
    head = b"P6\n# made by a scanner\n24 16\n4095\n"
    (tmp_path / "a.ppm").write_bytes(head + DEEP[..., :3].astype(">u2").tobytes())

    with pytest.raises(ValueError, match="more than 8 bits in each of its 3 channels"):
        read_image(ImageFile((tmp_path / "a.ppm",)))


@pytest.mark.parametrize(("bits", "kind"), [(1, "1"), (2, "L"), (4, "L"), (8, "L")])
def test_few_bits_are_spread_over_black_to_white(tmp_path, bits, kind):
    values = (RNG.integers(0, 2**bits, (8, 16)) * (255 // (2**bits - 1))).astype(np.uint8)
    Image.fromarray(values).convert(kind).save(tmp_path / "a.png", bits=bits)

    np.testing.assert_array_equal(read_image(ImageFile((tmp_path / "a.png",))).values[..., 0], values)


def test_sixteen_bit_masks_of_repeated_bytes_are_eight_bit_masks(tmp_path):
    lesion = np.zeros((8, 10, 3), np.uint16)
    lesion[2:5] = 65535
    np.testing.assert_array_equal(np.unique(grey_of(read_raw(png(tmp_path / "a.png", lesion, 2)))), [0, 255])
    lesion[..., 1:] = 0
    raw = read_raw(png(tmp_path / "b.png", lesion, 2))
    assert grey_of(raw) is None
    assert colors_of(raw)[3, 3].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="one value or one 8-bit colour a pixel, and it has 3 channels of uint16"):
        colors_of(read_raw(png(tmp_path / "c.png", DEEP[..., :3], 2)))


def test_deep_images_and_their_range_are_decided_together(tmp_path):
    for index in range(3):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        png(tmp_path / "images" / f"c{index}.png", DEEP[..., :3] + np.uint16(index), 2)
        Image.fromarray((np.eye(16, 24) * 255).astype(np.uint8)).save(tmp_path / "masks" / f"c{index}.png")

    cases = load_cases(tmp_path, num_classes=2).cases

    assert len(cases.meaning.intensities.ranges) == 3
    assert len(np.unique(cases.image(0))) > 200


def test_a_thread_that_ends_leaves_the_warnings_of_the_others_ignored():
    before = list(warnings.filters)
    first, second = without_warnings(), without_warnings()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn("odd metadata", UserWarning, stacklevel=1)  # an error outside, in the tests
    second.__exit__(None, None, None)
    assert warnings.filters == before
    with pytest.raises(UserWarning, match="odd metadata"):
        warnings.warn("odd metadata", UserWarning, stacklevel=1)
