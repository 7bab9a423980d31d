import numpy as np
import pytest
from PIL import Image

from lmnet.training import DataError, load_data
from lmnet.training.data.cases import find_cases
from lmnet.training.data.splits import make_split


def picture(path, value=0, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side), value, dtype=np.uint8)).save(path)


def test_images_and_masks_are_paired_by_name(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    picture(tmp_path / "images" / "p1" / "b.png")
    picture(tmp_path / "masks" / "a.png")
    picture(tmp_path / "masks" / "p1" / "b_mask.png")

    found = find_cases(tmp_path)

    assert [(case.name, case.group) for case in found.cases] == [("a", "a"), ("p1/b", "p1")]
    assert found.problems == ()


def test_every_missing_and_extra_mask_is_named(tmp_path):
    for name in ("images/a.png", "images/b.png", "masks/a.png", "masks/c.png"):
        picture(tmp_path / name)

    with pytest.raises(DataError) as caught:
        load_data(tmp_path)

    assert len(caught.value.problems) == 2
    assert "images/b.png: an image has no mask" in str(caught.value)
    assert "masks/c.png: a mask has no image" in str(caught.value)


def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("images/a.png", "images/a.jpg", "masks/a.png"):
        picture(tmp_path / name)

    assert any("two files have this name" in problem for problem in find_cases(tmp_path).problems)


def test_lgg_slices_are_grouped_by_patient(tmp_path):
    for number in (1, 2, 10):
        picture(tmp_path / "TCGA_1" / f"TCGA_1_{number}.tif")
        picture(tmp_path / "TCGA_1" / f"TCGA_1_{number}_mask.tif")
    picture(tmp_path / "TCGA_2" / "TCGA_2_1_mask.tif")

    found = find_cases(tmp_path)

    assert found.layout == "lgg"
    assert [case.name for case in found.cases] == ["TCGA_1/TCGA_1_1", "TCGA_1/TCGA_1_2", "TCGA_1/TCGA_1_10"]
    assert {case.group for case in found.cases} == {"TCGA_1"}
    assert found.problems == ("TCGA_2/TCGA_2_1_mask.tif: a mask has no image TCGA_2_1.tif.",)


def test_busi_masks_of_one_image_are_kept_together(tmp_path):
    picture(tmp_path / "benign" / "benign (1).png")
    picture(tmp_path / "benign" / "benign (1)_mask.png")
    picture(tmp_path / "benign" / "benign (1)_mask_1.png")
    picture(tmp_path / "normal" / "normal (2).png")
    picture(tmp_path / "normal" / "normal (3)_mask.png")

    found = find_cases(tmp_path)

    assert found.layout == "busi"
    (case,) = found.cases
    assert [file.path.name for file in case.masks] == ["benign (1)_mask.png", "benign (1)_mask_1.png"]
    assert case.stratum == "benign"
    assert len(found.problems) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: picture(path / "a" / "b.png"), "it has none of the known layouts"),
        (lambda path: None, "the folder is empty. Check the path"),
        (lambda path: (path / "images").mkdir(), "there is images/, but a folder of masks .* is missing"),
        (lambda path: path.rmdir(), "there is no such data set"),
    ],
    ids=["unknown", "empty", "one folder", "absent"],
)
def test_a_folder_without_cases_is_refused(tmp_path, make, message):
    make(tmp_path)

    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("folder", "layout", "sides", "note"),
    [
        ("Kvasir-SEG", "kvasir", (720, 90, 90), "above 127 = lesion; 900 files"),
        ("kaggle_3m", "lgg", (526, 51, 59), None),
        ("Dataset_BUSI_with_GT", "busi", (95, 12, 12), "images have several masks; they are joined"),
    ],
)
def test_the_real_data_sets_are_recognised(real_data, folder, layout, sides, note):
    data = load_data(real_data / folder)

    assert data.name == layout
    assert tuple(len(data.side(side)) for side in ("train", "val", "test")) == sides
    assert note is None or any(note in text for text in data.notes)


def test_no_lgg_patient_stands_on_two_sides(real_data):
    data = load_data(real_data / "kaggle_3m", seed=3)
    assert not any("patients are on two sides" in note for note in data.notes)
    patients = [{case.group for case in data.side(side).cases} for side in ("train", "val", "test")]

    assert sum(map(len, patients)) == len(set.union(*patients)) == 90


def test_the_authors_way_cuts_through_lgg_patients(real_data):
    cases = find_cases(real_data / "kaggle_3m").cases
    patient = {case.name: case.group for case in cases}

    split = make_split(list(patient), list(patient.values()), by_group=False)

    assert {patient[name] for name in split.train} & {patient[name] for name in split.test}


def test_acdc_is_split_by_patient(real_data):
    found = find_cases(real_data / "ACDC")

    assert (len(found.cases), found.problems) == (768, ())
    assert all(case.name.startswith(f"{case.group}/{case.group}_frame") for case in found.cases)
    assert any("folders of images/ are taken as patients: patient001, patient003" in note for note in found.notes)
