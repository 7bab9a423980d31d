"""A net reads masks as it was trained on them, whatever data it meets later; files obey the umask."""

import os
import stat

import numpy as np
import pytest
from PIL import Image

from lmnet.builder.files import write_durably, written_aside
from lmnet.training import DataError
from lmnet.training.cli_eval import main as eval_main
from lmnet.training.cli_predict import main as predict_main
from lmnet.training.cli_train import main as train_main
from lmnet.training.data.classes import make_classes
from lmnet.training.data.load import load_cases
from lmnet.training.data.mask_values import MaskOptions, MaskValues
from lmnet.training.data.meaning import DataMeaning, DataOptions

LEFT, RIGHT = np.zeros((32, 40), bool), np.zeros((32, 40), bool)
LEFT[4:20, 4:16], RIGHT[8:30, 22:36] = True, True


def folder(root, low, first, second, dtype=np.uint8):
    for index in range(4):
        mask = np.where(LEFT, first, np.where(RIGHT, second, low)).astype(dtype)
        for name, pixels in (("images", np.full((32, 40, 3), 40 * index, np.uint8)), ("masks", mask)):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"c{index}.png")
    return root


def trained(kind, values, classes, **more):
    return DataMeaning(masks=MaskValues(kind, values, **more), classes=make_classes(classes))


READ_AGAIN = {
    "classes in another order": (trained("values", (0.0, 2.0, 1.0), 3), (0, 1, 2), (2, 1)),
    "values of their own": (trained("values", (0.0, 100.0), 2), (0, 100, 100), (1, 1)),
    "everything but 0": (trained("nonzero", (0, 1), 2), (0, 3, 7), (1, 1)),
    "background is white": (trained("values", (255.0, 0.0), 2), (255, 0, 0), (1, 1)),
    "another usual way of two classes": (trained("values", (0.0, 1.0), 2), (0, 255, 255), (1, 1)),
    "a threshold, and masks of 0 and 1": (trained("threshold", (0, 255), 2), (0, 1, 1), (1, 1)),
    "classes as always": (trained("values", (0.0, 1.0, 2.0), 3), (0, 1, 2), (1, 2)),
}


@pytest.mark.parametrize("name", READ_AGAIN)
def test_masks_are_read_as_in_training(tmp_path, name):
    known, values, (first, second) = READ_AGAIN[name]

    cases = load_cases(folder(tmp_path, *values), num_classes=len(known.classes), known=known).cases

    mask = cases.mask(0)
    assert set(mask[LEFT].tolist()) == {first}
    assert set(mask[RIGHT].tolist()) == {second}
    assert set(mask[~LEFT & ~RIGHT].tolist()) == {0}


def test_an_ignored_value_does_not_change_the_order_of_classes(tmp_path):
    known = trained("values", (0.0, 2.0, 1.0), 3)
    options = DataOptions(MaskOptions(ignore=0))

    mask = load_cases(folder(tmp_path, 0, 1, 2), num_classes=3, known=known, options=options).cases.mask(0)

    assert (set(mask[LEFT].tolist()), set(mask[RIGHT].tolist())) == ({2}, {1})


def test_what_the_user_says_comes_before_what_was_trained(tmp_path):
    known = trained("values", (0.0, 2.0, 1.0), 3)
    options = DataOptions(MaskOptions(values=(0, 1, 2)))

    mask = load_cases(folder(tmp_path, 0, 1, 2), num_classes=3, known=known, options=options).cases.mask(0)

    assert set(mask[LEFT].tolist()) == {1}


@pytest.mark.parametrize(
    ("known", "values"),
    [
        (trained("values", (0.0, 100.0, 200.0), 3), (0, 1, 2)),
        (trained("values", (0.0, 2.0, 1.0), 3), (0, 1, 3)),
        (trained("values", (255.0, 0.0), 2), (0, 1, 1)),
        (trained("colors", (0, 255), 2, colors=((0, 0, 0), (255, 0, 0))), (0, 1, 2)),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(tmp_path, known, values):
    with pytest.raises(
        DataError, match=r"the net was trained with .* Give the value of each class in this order"
    ) as at:
        load_cases(folder(tmp_path, *values), num_classes=len(known.classes), known=known)

    assert len(at.value.problems) == 1


def test_scaled_labels_are_the_whole_numbers_they_stand_for(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    for index in range(4):
        for name, values in (("images", LEFT * 300.0 + index), ("masks", LEFT.astype(float))):
            (tmp_path / name).mkdir(exist_ok=True)
            image = nibabel.Nifti1Image(values.T[..., None], np.eye(4))
            image.header.set_data_dtype("uint8" if name == "masks" else "int16")
            nibabel.save(image, tmp_path / name / f"c{index}.nii.gz")
    assert 1 not in np.unique(nibabel.load(tmp_path / "masks" / "c0.nii.gz").dataobj)

    for options in (DataOptions(), DataOptions(MaskOptions(values=(0.0, 1.0)))):
        cases = load_cases(tmp_path, num_classes=2, options=options).cases
        np.testing.assert_array_equal(cases.mask(0), LEFT)


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o027])
def test_every_written_file_obeys_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_durably(tmp_path / "a.json", b"{}")
        with written_aside(tmp_path / "b.png", suffix=".png") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o666 & ~mask
            Image.fromarray(np.zeros((2, 2), np.uint8)).save(temporary)
    finally:
        os.umask(before)

    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.json", "b.png")] == [0o666 & ~mask] * 2


def test_predicted_masks_of_patients_obey_the_umask(tmp_path):
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "a.png")
    before = os.umask(0o077)
    try:
        assert predict_main(["lmnet_xxs", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 0
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o600}


def test_a_run_that_is_evaluated_reads_masks_as_it_was_trained(tmp_path, tiny_spec, capsys):
    root, run = folder(tmp_path / "data", 0, 1, 2), tmp_path / "run"
    quick = ["--epochs", "1", "--size", "32", "--threads", "1", "--workers", "0"]
    said = ["--mask-values", "0,2,1", "--var", "num_classes=3"]
    assert train_main([tiny_spec, "--data", str(root), "--out", str(run), *said, *quick]) == 0
    capsys.readouterr()

    assert eval_main([str(run)]) == 0

    assert "masks: 0 = background, 2 = class 1, 1 = class 2" in capsys.readouterr().err
