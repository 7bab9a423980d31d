"""What a file says of orientation, spacing, depth, colour space and checksum is used, compared, or refused by name."""

import gzip
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from lmnet.training import DataError
from lmnet.training.data import intensities
from lmnet.training.data.cases import Case
from lmnet.training.data.image_files import ImageFile, read_image, read_raw
from lmnet.training.data.load import load_cases
from lmnet.training.data.mask_values import colors_of, grey_of
from lmnet.training.data.walk import slices

nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")
tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")

CODES = [
    "".join(letters[axis][sign] for axis, sign in zip(order, signs, strict=True))
    for letters in [("RL", "AP", "SI")]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((0, 1), repeat=3)
]
RNG = np.random.default_rng(0)
LESION = RNG.random((5, 6, 4)) > 0.5
AFFINE = np.array([[-0.7, 0, 0, 10], [0, 0.8, 0.1, -5], [0, -0.1, 2.5, 3], [0, 0, 0, 1]])


def turned(image, code):
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(code)))


def case_of(root, image, mask, suffix=".nii"):
    for name, volume in (("image", image), ("mask", mask)):
        nibabel.save(volume, root / f"{name}{suffix}")
    files = [ImageFile((root / f"{name}{suffix}",)) for name in ("image", "mask")]
    return Case("c", files[0], (files[1],), "c")


def matches(root, first, second):
    image = turned(nibabel.Nifti1Image((300 + 400 * LESION).astype(np.int16), AFFINE), first)
    mask = turned(nibabel.Nifti1Image(LESION.astype(np.uint8), AFFINE), second)
    cases = slices(case_of(root, image, mask))
    assert len(cases) == image.shape[2]
    for case in cases:
        np.testing.assert_array_equal(
            read_image(case.image).values > 500, read_raw(case.masks[0]).values, err_msg=f"{first} {second}"
        )


@pytest.mark.parametrize("first", CODES)
def test_a_mask_lies_on_its_image_however_its_axes_run(tmp_path, first):
    start = CODES.index(first)
    for second in (first, "RAS", "LPS", CODES[(start + 17) % 48], CODES[(start + 35) % 48]):
        matches(tmp_path, first, second)


@pytest.mark.slow
@pytest.mark.parametrize("first", CODES)
def test_a_mask_lies_on_its_image_in_every_pair_of_axis_codes(tmp_path, first):
    for second in CODES:
        matches(tmp_path, first, second)


MISPLACED = {
    "spacing": (lambda a: a @ np.diag([1, 1, 2, 1]), "its voxels are .* and those of its image 0.7 x 0.8"),
    "place": (lambda a: a + np.array([[0, 0, 0, 9], *[[0] * 4] * 3]), "places it up to 9 mm away"),
    "mirrored header": (lambda a: a @ np.diag([-1, 1, 1, 1]), "places it up to .* mm away"),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_a_mask_that_its_header_places_elsewhere_is_refused(tmp_path, name):
    change, message = MISPLACED[name]
    image = nibabel.Nifti1Image(LESION.astype(np.int16), AFFINE)
    mask = nibabel.Nifti1Image(LESION.astype(np.uint8), change(AFFINE))

    with pytest.raises(ValueError, match=f"mask.nii does not lie on it: .*{message}"):
        slices(case_of(tmp_path, image, mask))


def test_a_file_that_does_not_say_where_it_is_lies_as_it_is_stored(tmp_path):
    image = nibabel.Nifti1Image(LESION.astype(np.int16), AFFINE)
    mask = nibabel.Nifti1Image(LESION.astype(np.uint8), None)
    mask.header.set_zooms(image.header.get_zooms())

    for case in slices(case_of(tmp_path, image, mask)):
        np.testing.assert_array_equal(read_raw(case.image).values, read_raw(case.masks[0]).values)


def test_many_misplaced_masks_are_one_line(tmp_path):
    for index in range(40):
        for name, affine in (("images", AFFINE), ("masks", np.eye(4))):
            (tmp_path / name).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(LESION.astype(np.uint8), affine), tmp_path / name / f"c{index:02d}.nii")

    with pytest.raises(DataError, match="The same is wrong with 39 more files: c01.nii") as caught:
        load_cases(tmp_path, num_classes=2)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("place", [*(n / 9 for n in range(1, 9)), -6], ids=str)
def test_a_packed_volume_with_one_wrong_byte_is_refused(tmp_path, place):
    volume = RNG.integers(0, 2000, (24, 24, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    content = bytearray((tmp_path / "a.nii.gz").read_bytes())
    content[place if place < 0 else int(place * len(content))] ^= 255
    (tmp_path / "a.nii.gz").write_bytes(content)

    with pytest.raises(ValueError, match="damaged or cut short|no NIfTI file"):
        read_raw(ImageFile((tmp_path / "a.nii.gz",), 0))


def test_a_packed_volume_is_read_whatever_its_name_says(tmp_path):
    nibabel.save(nibabel.Nifti1Image(LESION.astype(np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "b.nii").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "c.nii.gz").write_bytes(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))

    for name in ("b.nii", "c.nii.gz"):
        np.testing.assert_array_equal(read_raw(ImageFile((tmp_path / name,), 1)).values[..., 0], LESION[..., 1].T)


@pytest.mark.parametrize("letters", ["RGB", "RGBA"])
def test_colours_of_nifti_are_channels(tmp_path, letters):
    values = RNG.integers(0, 255, (5, 6, 2, len(letters)), dtype=np.uint8)
    packed = values.view([(letter, "u1") for letter in letters])[..., 0]
    nibabel.save(nibabel.Nifti1Image(packed, np.eye(4)), tmp_path / "a.nii.gz")

    read = read_image(ImageFile((tmp_path / "a.nii.gz",), 1)).values

    np.testing.assert_array_equal(read, values[:, :, 1, :3].swapaxes(0, 1))


def test_complex_values_of_nifti_are_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(LESION.astype(np.complex64), np.eye(4)), tmp_path / "a.nii")

    with pytest.raises(ValueError, match="its values are of the kind complex64, which is no image"):
        read_image(ImageFile((tmp_path / "a.nii",), 0))


def dicom(path, values, kind, **tags):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = tags.pop("SOPClassUID", pydicom.uid.SecondaryCaptureImageStorage)
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    samples = values.shape[-1] if values.shape[-1] == 3 else 1
    data.Rows, data.Columns = values.shape[-3:-1] if samples == 3 else values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = samples, kind
    data.BitsAllocated = data.BitsStored = 8 * values.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
    if samples == 3:
        data.PlanarConfiguration = 0
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes()
    data.save_as(path, enforce_file_format=True)
    return ImageFile((path,))


GREY_16 = RNG.integers(0, 4000, (8, 10)).astype(np.uint16)
COLORS = RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_dicom_of_every_depth_is_read(tmp_path, dtype, kind):
    values = RNG.integers(0, 120, (8, 10)).astype(dtype)
    bits = 8 * values.dtype.itemsize
    inverted = (-1 if values.dtype.kind == "i" else 2**bits - 1) - values.astype(np.int64)

    read = read_image(dicom(tmp_path / "a.dcm", values, kind)).values[..., 0]

    np.testing.assert_array_equal(read, values if kind == "MONOCHROME2" else inverted)


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colours_of_dicom_are_read_as_red_green_blue(tmp_path, kind):
    from pydicom.pixels import convert_color_space

    stored = COLORS if kind == "RGB" else convert_color_space(COLORS, "RGB", kind)

    read = read_image(dicom(tmp_path / "a.dcm", stored, kind)).values

    np.testing.assert_allclose(read.astype(int), COLORS, atol=0 if kind == "RGB" else 2)


def test_planes_of_dicom_colours_are_read(tmp_path):
    path = tmp_path / "a.dcm"
    planes = np.ascontiguousarray(np.moveaxis(COLORS, 2, 0))
    dicom(path, COLORS, "RGB", PlanarConfiguration=1)
    data = pydicom.dcmread(path)
    data.PixelData = planes.tobytes()
    data.save_as(path)

    np.testing.assert_array_equal(read_image(ImageFile((path,))).values, COLORS)


@pytest.mark.parametrize("kind", ["YBR_PARTIAL_420", "YBR_RCT", "YBR_ICT", "HSV", "CMYK"])
def test_colours_of_dicom_that_are_not_read_are_refused_by_name(tmp_path, kind):
    with pytest.raises(ValueError, match=f"a DICOM image of the kind {kind} with 3 values a pixel"):
        read_image(dicom(tmp_path / "a.dcm", COLORS, kind))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_of_dicom_gives_images_colours_and_masks_numbers(tmp_path, bits):
    table = np.zeros((256, 3), dtype=np.uint8)
    table[5] = table[200] = 30
    table[9] = (220, 60, 60)
    indices = np.full((8, 10), 5, dtype=np.uint8)
    indices[1::2], indices[2:5, 3:6] = 200, 9
    tags = {}
    for number, name in enumerate(("Red", "Green", "Blue")):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        entries = table[:, number].astype(np.uint16) * (257 if bits == 16 else 1)
        tags[f"{name}PaletteColorLookupTableData"] = entries.astype("<u2" if bits == 16 else "u1").tobytes()
    file = dicom(tmp_path / "a.dcm", indices, "PALETTE COLOR", **tags)

    np.testing.assert_array_equal(read_image(file).values, table[indices])
    np.testing.assert_array_equal(grey_of(read_raw(file)), indices)


def test_slope_and_intercept_of_each_frame_are_used(tmp_path):
    frames = np.stack([GREY_16, GREY_16])
    groups = []
    for slope in (1, 3):
        pixels, group = pydicom.Dataset(), pydicom.Dataset()
        pixels.RescaleSlope, pixels.RescaleIntercept, pixels.RescaleType = slope, -1000, "US"
        group.PixelValueTransformationSequence = [pixels]
        groups.append(group)
    file = dicom(tmp_path / "a.dcm", frames, "MONOCHROME2", NumberOfFrames=2, PerFrameFunctionalGroupsSequence=groups)

    for index, slope in enumerate((1, 3)):
        read = read_image(ImageFile(file.paths, index)).values[..., 0]
        np.testing.assert_array_equal(read, GREY_16.astype(float) * slope - 1000)


def test_pixels_that_were_never_measured_do_not_set_the_range(tmp_path):
    values = RNG.integers(0, 100, (64, 80)).astype(np.int16)
    values[:8] = -2000
    said = read_image(dicom(tmp_path / "a.dcm", values, "MONOCHROME2", PixelPaddingValue=-2000))
    unsaid = read_image(dicom(tmp_path / "b.dcm", values, "MONOCHROME2"))

    for raw in (said, unsaid):
        low, high = intensities.decide([intensities.sample(raw.values, raw.is_padding)]).ranges[0]
        assert (low, high) == (pytest.approx(0, abs=2), pytest.approx(99, abs=2))
    assert intensities.padding([intensities.sample(unsaid.values)]) == -2000
    assert intensities.padding([intensities.sample(values[8:, :, None])]) is None


def test_a_segmentation_of_dicom_is_refused_by_name(tmp_path):
    frames = np.zeros((3, 8, 10), np.uint8)
    file = dicom(
        tmp_path / "a.dcm", frames, "MONOCHROME2", NumberOfFrames=3, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"
    )

    with pytest.raises(ValueError, match="Segmentation Storage file .DICOM-SEG., whose frames are sorted by segment"):
        read_image(ImageFile(file.paths, 0))


def test_dicom_without_an_ending_is_found(tmp_path):
    for folder, values in (("images", GREY_16), ("masks", (GREY_16 > 2000).astype(np.uint8))):
        (tmp_path / folder).mkdir()
        for index, name in enumerate(("IM0001", "1.2.840.7", "scan.IMA", "d.dcm")):
            dicom(tmp_path / folder / name, values + np.uint8(0 if folder == "masks" else index), "MONOCHROME2")

    assert [case.name for case in load_cases(tmp_path, num_classes=2).cases.cases] == [
        "1.2.840.7",
        "IM0001",
        "d",
        "scan",
    ]


def test_what_a_codec_of_dicom_needs_is_shown(tmp_path):
    data = pydicom.dcmread(dicom(tmp_path / "a.dcm", GREY_16, "MONOCHROME2").path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    data.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    data["PixelData"].VR = "OB"
    data.save_as(tmp_path / "a.dcm")

    with pytest.raises(ValueError, match="missing dependencies.*(pyjpegls|pylibjpeg|gdcm)"):
        read_image(ImageFile((tmp_path / "a.dcm",)))


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


DEEP = RNG.integers(300, 3000, (16, 24, 4)).astype(np.uint16)


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


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "CMYK", "HSV"])
def test_other_colour_spaces_become_red_green_blue(tmp_path, mode):
    picture = Image.fromarray(np.full((8, 10, 3), (200, 60, 40), np.uint8))
    if mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, rgb, lab, outputMode="LAB")
    else:
        converted = picture.convert(mode)
    if mode == "HSV":
        pytest.skip("no format that lmnet reads stores it")
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
        Image.fromarray((LESION[0, 0, 0] + np.eye(16, 24) * 255).astype(np.uint8)).save(
            tmp_path / "masks" / f"c{index}.png"
        )

    cases = load_cases(tmp_path, num_classes=2).cases

    assert len(cases.meaning.intensities.ranges) == 3
    assert len(np.unique(cases.image(0))) > 200
