"""What a DICOM file says of depth, colours, slope and padding is used, or refused by name."""

import numpy as np
import pytest

from lmnet.training.data import intensities
from lmnet.training.data.image_files import ImageFile, read_image, read_raw
from lmnet.training.data.load import load_cases
from lmnet.training.data.mask_values import grey_of

pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")

RNG = np.random.default_rng(0)
GREY_16 = RNG.integers(0, 4000, (8, 10)).astype(np.uint16)
COLORS = RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8)


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
