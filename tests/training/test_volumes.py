"""What a volume says of its axes, spacing, place, packing and colours is used, compared, or refused by name."""

import gzip
import itertools

import numpy as np
import pytest

from lmnet.training import DataError
from lmnet.training.data.cases import Case
from lmnet.training.data.image_files import ImageFile, read_image, read_raw
from lmnet.training.data.load import load_cases
from lmnet.training.data.walk import slices

nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")

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
