"""NIfTI, DICOM, nnU-Net and Decathlon: folders made by the libraries' own writers, trained, evaluated, predicted."""

import json

import numpy as np
import pytest
from PIL import Image

from lmnet.training import DataError
from lmnet.training.cli_eval import main as eval_main
from lmnet.training.cli_predict import main as predict_main
from lmnet.training.cli_train import main as train_main
from lmnet.training.data.image_files import ImageFile, read_image
from lmnet.training.data.load import load_cases

nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")

AFFINE = np.array([[-0.7, 0, 0, 10], [0, 0.8, 0.1, -5], [0, -0.1, 2.5, 3], [0, 0, 0, 1]])
SHAPE = (48, 40, 3)  # columns, rows, slices


def volume(seed):
    """A noisy volume with a bright box, and the box as a mask."""
    rng = np.random.default_rng(seed)
    values = rng.integers(300, 500, SHAPE).astype(np.int16)
    mask = np.zeros(SHAPE, np.uint8)
    mask[10 : 20 + seed, 8:30, :2] = 1
    values[mask > 0] += 400
    return values, mask


def nifti(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)


def dicom(path, values, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, tags.pop("PhotometricInterpretation", "MONOCHROME2")
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.astype(np.uint16).tobytes()
    data.save_as(path, enforce_file_format=True)


@pytest.fixture(params=["nii.gz", "nii"])
def nnunet(tmp_path, request):
    root = tmp_path / "Dataset001_Box"
    for index in range(4):
        values, mask = volume(index)
        nifti(root / "imagesTr" / f"box_{index:03d}_0000.{request.param}", values)
        nifti(root / "labelsTr" / f"box_{index:03d}.{request.param}", mask)
    content = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "tumour": 1}, "numTraining": 4}
    (root / "dataset.json").write_text(json.dumps({**content, "file_ending": f".{request.param}"}))
    return root


def test_nnunet_volumes_become_slices_split_by_case(nnunet):
    scanned = load_cases(nnunet, num_classes=2)

    assert (scanned.layout, len(scanned.cases)) == ("nnunet", 12)
    assert scanned.cases.names[:2] == ["box_000/0000", "box_000/0001"]
    assert {case.group for case in scanned.cases.cases} == {f"box_{i:03d}" for i in range(4)}
    assert "1 = tumour" in scanned.notes[0]
    assert "4 volumes give 12 slices." in scanned.notes
    _, mask = volume(0)
    np.testing.assert_array_equal(scanned.cases.mask(1), mask[..., 1].T)


def test_nnunet_nifti_is_trained_evaluated_and_predicted_with_its_affine(nnunet, tmp_path, tiny_spec, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    quick = ["--epochs", "1", "--size", "32", "--threads", "1", "--workers", "0"]
    assert train_main([tiny_spec, "--data", str(nnunet), "--out", str(run), *quick]) == 0
    assert eval_main([str(run), "--json"]) == 0
    source = next((nnunet / "imagesTr").glob("box_000_*"))
    capsys.readouterr()

    assert predict_main([str(run), str(source), "--out", str(out), "--json"]) == 0

    (row,) = json.loads(capsys.readouterr().out)
    written = nibabel.load(row["mask"])
    assert written.shape == SHAPE
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    assert row["slices"] == 3
    assert row["lesion_share"] == pytest.approx(float((np.asarray(written.dataobj) > 0).mean()))


def test_a_predicted_volume_has_its_voxels_in_place(tmp_path):
    from lmnet.training.data.medical_files import read_frame, write_mask_like

    values, mask = volume(3)
    nifti(tmp_path / "a.nii.gz", values)
    stacked = np.stack([mask[..., index].T for index in range(SHAPE[2])])

    write_mask_like(tmp_path / "m.nii.gz", tmp_path / "a.nii.gz", stacked)

    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj), mask)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.nii.gz", 2).values, values[..., 2].T)


def test_nnunet_channels_and_an_ignore_label_are_read(tmp_path):
    for index in range(3):
        for channel in range(2):
            pixels = np.random.default_rng(channel).integers(0, 255, (40, 48), dtype=np.uint8)
            path = tmp_path / "imagesTr" / f"c{index}_{channel:04d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
        (tmp_path / "labelsTr").mkdir(exist_ok=True)
        mask = np.zeros((40, 48), np.uint8)
        mask[5:20], mask[30:] = 1, 2
        Image.fromarray(mask).save(tmp_path / "labelsTr" / f"c{index}.png")
    labels = {"background": 0, "vessel": 1, "ignore": 2}
    content = {"channel_names": {"0": "a", "1": "b"}, "labels": labels, "numTraining": 3, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))

    cases = load_cases(tmp_path, num_classes=2).cases

    assert cases.image(0).shape == (40, 48, 2)
    assert cases.at(32, 2)[0][0].shape == (2, 32, 32)
    assert np.unique(cases.mask(0)).tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, c: next((r / "labelsTr").iterdir()).unlink(), "there is no labelsTr/box_"),
        (
            lambda r, c: c["labels"].update(whole=[1, 2]),
            "label whole is .1, 2.; regions of several values are not read",
        ),
        (lambda r, c: c.update(channel_names={"0": "a", "1": "b", "2": "c"}), None),
        (
            lambda r, c: next((r / "imagesTr").iterdir()).write_bytes(b"junk"),
            "it is no NIfTI file that nibabel can read",
        ),
    ],
)
def test_a_raw_data_set_that_is_wrong_is_refused(nnunet, change, message):
    content = json.loads((nnunet / "dataset.json").read_text())
    change(nnunet, content)
    (nnunet / "dataset.json").write_text(json.dumps(content))

    if message is None:
        assert len(load_cases(nnunet, num_classes=2).cases) == 12
    else:
        with pytest.raises(DataError, match=message):
            load_cases(nnunet, num_classes=2)


def test_a_decathlon_task_of_two_channels_is_read_and_trained(tmp_path, tiny_spec):
    entries = []
    for index in range(3):
        values, mask = volume(index)
        nifti(tmp_path / "imagesTr" / f"la_{index}.nii.gz", np.stack([values, values * 2], axis=-1))
        nifti(tmp_path / "labelsTr" / f"la_{index}.nii.gz", mask)
        entries.append({"image": f"./imagesTr/la_{index}.nii.gz", "label": f"./labelsTr/la_{index}.nii.gz"})
    content = {"labels": {"0": "background", "1": "left atrium"}, "training": entries, "test": []}
    (tmp_path / "dataset.json").write_text(json.dumps(content))

    scanned = load_cases(tmp_path, num_classes=2)

    assert (scanned.layout, len(scanned.cases)) == ("decathlon", 9)
    assert scanned.cases.image(0).shape == (40, 48, 2)
    assert len(scanned.cases.meaning.intensities.ranges) == 2
    assert scanned.cases.meaning.classes[1].name == "left atrium"
    changes = ["--set", "input.channels=2", "--set", "augment=heavy", "--size", "32", "--epochs", "1", "--workers", "0"]
    assert train_main([tiny_spec, "--data", str(tmp_path), *changes, "--out", str(tmp_path / "run")]) == 0


def test_dicom_images_with_png_masks_are_read_and_rescaled(tmp_path):
    values = np.linspace(0, 4000, 40 * 48).reshape(40, 48).astype(np.uint16)
    for index in range(3):
        dicom(tmp_path / "images" / f"c{index}.dcm", values + index, RescaleSlope=1, RescaleIntercept=-1024)
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask = (values > 2000).astype(np.uint8) * 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"c{index}.png")

    scanned = load_cases(tmp_path, num_classes=2)

    low, high = scanned.cases.meaning.intensities.ranges[0]
    assert low == pytest.approx(-1004, abs=3)
    assert high == pytest.approx(2958, abs=3)
    assert scanned.cases.image(0).shape == (40, 48, 3)


def test_dicom_is_trained_evaluated_and_predicted(tmp_path, tiny_spec, capsys):
    for index in range(4):
        values, mask = (each[..., 0].T for each in volume(index))
        dicom(tmp_path / "data" / "images" / f"c{index}.dcm", values, StudyID=str(index))
        dicom(tmp_path / "data" / "masks" / f"c{index}.dcm", mask)
    run, images = tmp_path / "run", tmp_path / "data" / "images"
    values, _ = (each[..., 0].T for each in volume(2))
    (tmp_path / "photos").mkdir()
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "photos" / "c2.png")  # the same values in another format
    quick = ["--epochs", "1", "--size", "32", "--threads", "1", "--workers", "0"]

    assert train_main([tiny_spec, "--data", str(tmp_path / "data"), "--out", str(run), *quick]) == 0
    assert eval_main([str(run), "--json"]) == 0
    assert predict_main([str(run), str(images), "--out", str(tmp_path / "a")]) == 0
    assert predict_main([str(run), str(tmp_path / "photos"), "--out", str(tmp_path / "b")]) == 0

    written = np.asarray(Image.open(tmp_path / "a" / "c2_mask.png"))
    assert written.shape == values.shape
    assert 0 < (written > 0).mean() < 1
    np.testing.assert_array_equal(written, np.asarray(Image.open(tmp_path / "b" / "c2_mask.png")))


@pytest.mark.parametrize(("signed", "inverted"), [(0, lambda v: 4095 - v), (1, lambda v: -1 - v)])
@pytest.mark.parametrize("top", [20, 3000])
def test_dicom_that_is_shown_inverted_is_inverted_by_one_rule_for_all_files(tmp_path, top, signed, inverted):
    values = np.linspace(0, top, 20).astype(np.int32).reshape(4, 5)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "PixelRepresentation": signed, "BitsStored": 12 + 2 * signed}
    dicom(tmp_path / "a.dcm", values, **tags, HighBit=11 + 2 * signed)
    dicom(tmp_path / "b.dcm", values, **tags, HighBit=11 + 2 * signed, RescaleSlope=2, RescaleIntercept=-1024)

    plain, rescaled = (read_image(ImageFile((tmp_path / name,))).values[..., 0] for name in ("a.dcm", "b.dcm"))

    np.testing.assert_array_equal(plain, inverted(values))
    np.testing.assert_array_equal(rescaled, 2 * inverted(values) - 1024)


def test_a_slice_that_is_there_twice_is_named_and_another_of_its_size_is_not(tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        values, mask = volume(seed)
        nifti(tmp_path / "images" / f"{name}.nii.gz", values)
        nifti(tmp_path / "masks" / f"{name}.nii.gz", mask)

    scanned = load_cases(tmp_path, num_classes=2)

    assert len({case.digest for case in scanned.cases.cases}) == 6
    assert any("3 images are there more than once" in note for note in scanned.notes)


@pytest.mark.parametrize("name", ["a.dcm", "a.nii", "a.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"junk" * 300])
def test_junk_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match="it is no (NIfTI|DICOM) file"):
        read_image(ImageFile((tmp_path / name,)))


def test_a_cut_volume_is_refused(tmp_path):
    nifti(tmp_path / "a.nii", volume(0)[0])
    path = tmp_path / "a.nii"
    path.write_bytes(path.read_bytes()[:-3000])

    with pytest.raises(ValueError, match="damaged or cut short"):
        read_image(ImageFile((path,), 2))
    with pytest.raises(ValueError, match="it holds 3 images. Name a slice"):
        read_image(ImageFile((path,)))


@pytest.mark.parametrize(("name", "module"), [("a.nii", "nibabel"), ("a.dcm", "pydicom")])
def test_without_the_extra_the_command_to_install_it_is_named(tmp_path, monkeypatch, name, module):
    import sys

    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ValueError, match=r"Install what reads it: pip install 'lmnet\[medical\]'"):
        read_image(ImageFile((tmp_path / name,)))
