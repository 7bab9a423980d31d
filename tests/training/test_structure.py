"""What names of folders, files and columns mean is said in one line, or asked for."""

import os

import numpy as np
import pytest
from PIL import Image

from lmnet.training import DataError, load_data
from lmnet.training.cli_predict import main as predict_main
from lmnet.training.data.cases import find_cases
from lmnet.training.data.load import load_cases
from lmnet.training.data.meaning import DataOptions

DISC = np.where(np.hypot(*np.mgrid[-16:16, -20:20]) < 12, 255, 0).astype(np.uint8)


def image(path, pixels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        seed = sum(str(path).encode("utf-8", "surrogateescape"))
        pixels = np.random.default_rng(seed).integers(0, 255, (32, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def pairs(root, names, *, masks="masks"):
    for name in names:
        image(root / "images" / f"{name}.png")
        image(root / masks / f"{name}.png", DISC)
    return root


NAMES = [f"p{i:02d}" for i in range(12)]


def test_one_folder_of_masks_is_the_lesion(tmp_path):
    pairs(tmp_path, NAMES, masks="masks/0")

    data = load_data(tmp_path)

    assert np.unique(data.cases.mask(0)).tolist() == [0, 1]
    assert any("each folder of masks is a class: masks/0/ = class 1" in note for note in data.notes)


def test_each_folder_of_masks_is_a_class(tmp_path):
    pairs(tmp_path, NAMES, masks="masks/0")
    for name in NAMES:
        mask = np.zeros_like(DISC)
        mask[28:, 30:] = 255
        image(tmp_path / "masks" / "1" / f"{name}.png", mask)

    data = load_data(tmp_path, num_classes=3)

    mask = data.cases.mask(3)
    assert (mask[16, 20], mask[30, 35], mask[0, 0]) == (1, 2, 0)
    (tmp_path / "masks" / "1" / "p03.png").unlink()
    assert find_cases(tmp_path).problems == ("images/p03.png: an image has no mask in masks/1/.",)


def test_patients_with_numbers_are_no_classes(tmp_path):
    found = find_cases(pairs(tmp_path, [f"{i}/{name}" for i in range(3) for name in NAMES]))

    assert {case.group for case in found.cases} == {"0", "1", "2"}
    assert "3 folders of images/ are taken as patients: 0, 1, 2." in found.notes


SPLITS = [("train", "val", "test"), ("Training", "validation", "Test"), ("train", "valid", "testing")]


@pytest.mark.parametrize("sides", SPLITS)
@pytest.mark.parametrize("is_top", [True, False])
def test_folders_of_a_split_are_the_split(tmp_path, sides, is_top):
    for side, count in zip(sides, (6, 2, 3), strict=True):
        for index in range(count):
            for folder, pixels in (("images", None), ("masks", DISC)):
                place = f"{side}/{folder}" if is_top else f"{folder}/{side}"
                image(tmp_path / place / f"{side}{index}.png", pixels)

    data = load_data(tmp_path)

    assert [len(data.side(side)) for side in ("train", "val", "test")] == [6, 2, 3]
    assert all(name.startswith(sides[2]) for name in data.test.names)
    assert len({case.group for case in data.cases.cases}) == 11
    assert sum("split" in note for note in data.notes) == 1


def test_a_side_that_is_not_there_is_taken_from_train(tmp_path):
    pairs(tmp_path, [f"train/a{i}/{k}" for i in range(20) for k in range(2)] + ["test/b/0", "test/c/1"])

    data = load_data(tmp_path)

    assert data.test.names == ["test/b/0", "test/c/1"]
    assert (len(data.train), len(data.val)) == (36, 4)
    assert any("names no val side: 4 images of train are taken for it" in note for note in data.notes)


def test_folders_that_are_no_split_are_patients(tmp_path):
    found = find_cases(pairs(tmp_path, ["train/a", "test/b", "p1/c"]))

    assert found.sides == {}


WRONG = {
    "images instead of the folder above": (lambda r: pairs(r, NAMES) / "images", "is the folder images/ of a data set"),
    "an empty folder": (lambda r: r, "the folder is empty"),
    "a zip": (lambda r: _file(r / "Kvasir.zip"), "it is an archive. Unpack it and give the folder"),
    "a folder with a zip": (lambda r: _file(r / "Kvasir.zip").parent, "it holds archives: Kvasir.zip. Unpack them"),
    "an image": (lambda r: pairs(r, NAMES) / "images" / "p00.png", "it is one image. Give the folder"),
    "polygons": (
        lambda r: [_file(r / "labels" / f"{n}.txt", image(r / "images" / f"{n}.png")) for n in NAMES][0].parents[1],
        "labels/ holds no image that is read, but files: 12 .txt. Draw polygons and boxes as masks first",
    ),
    "a COCO file": (lambda r: _file(r / "a.json", text='{"images": [], "annotations": []}'), "a COCO file of polygons"),
    "images that are not read": (
        lambda r: [_file(r / f / f"{n}.nrrd") for n in NAMES for f in ("images", "masks")][0].parents[1],
        "images/ holds no image that is read, but files: 12 .nrrd. Save them as .nii.gz",
    ),
    "several data sets": (
        lambda r: pairs(pairs(r / "a", NAMES).parent / "b", NAMES).parent,
        "Did you mean one of .*/a, .*/b\\?",
    ),
}


def _file(path, _=None, *, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_set_is_named_in_one_line(tmp_path, name):
    make, message = WRONG[name]
    path = make(tmp_path)

    with pytest.raises(DataError, match=message) as caught:
        load_data(path)
    assert len(caught.value.problems) <= 2


def table(root, separator=",", head=("image", "mask", "split"), encoding="utf-8", slash="/"):
    pairs(root, NAMES)
    sides = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    rows = [separator.join(head)]
    for name, side in zip(NAMES, sides, strict=True):
        row = [f"images{slash}{name}.png", f"masks{slash}{name}.png", side]
        rows.append(separator.join(row + ["44"] * (len(head) - 3)))
    (root / "list.csv").write_text("\n".join(rows) + "\n\n", encoding=encoding)
    return root / "list.csv"


LISTS = {
    "commas": {},
    "semicolons": {"separator": ";"},
    "tabs": {"separator": "\t"},
    "capitals": {"head": ("Image", " MASK", "Split")},
    "a byte order mark": {"encoding": "utf-8-sig"},
    "Excel's Unicode text": {"encoding": "utf-16", "separator": "\t"},
    "backslashes": {"slash": "\\"},
    "a further column": {"head": ("image", "mask", "split", "age")},
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_read_as_spreadsheets_write_it(tmp_path, name):
    data = load_data(table(tmp_path, **LISTS[name]))

    assert [len(data.side(side)) for side in ("train", "val", "test")] == [8, 2, 2]
    assert data.cases.names[0] == "images/p00"
    assert ("columns without a meaning here are left out: age." in data.notes) == (name == "a further column")


def test_a_wrong_heading_is_one_line(tmp_path):
    with pytest.raises(DataError, match="it has no column mask; its columns are image, label, split") as caught:
        load_data(table(tmp_path, head=("image", "label", "split")))
    assert len(caught.value.problems) == 1


SEQUENCES = [f"seq{i}_frame{k:03d}" for i in range(5) for k in range(8)]


def test_names_that_look_like_series_are_noted_and_an_option_groups_them(tmp_path):
    pairs(tmp_path, SEQUENCES)

    notes = load_cases(tmp_path).notes

    assert any(
        "40 images count as 40 patients, but their names look like 5 series (such as seq0* with 8)" in n for n in notes
    )
    data = load_data(tmp_path, options=DataOptions(group_from=r"^(seq\d+)_"))
    assert {case.group for case in data.cases.cases} == {f"seq{i}" for i in range(5)}
    assert not {n[:4] for n in data.train.names} & {n[:4] for n in data.test.names}
    with pytest.raises(DataError, match=r"--group-from \^x: 40 names do not match .seq0_frame000"):
        load_data(tmp_path, options=DataOptions(group_from="^x"))


@pytest.mark.parametrize("names", [NAMES, [f"case_{i}" for i in range(40)], [f"{i}" for i in range(40)]])
def test_names_that_are_only_numbered_are_no_series(tmp_path, names):
    assert not any("series" in note for note in load_cases(pairs(tmp_path, names)).notes)


def test_names_that_are_no_text_are_refused_before_the_work(tmp_path, capsys):
    pairs(tmp_path, NAMES)
    for folder in ("images", "masks"):
        place = os.fsencode(tmp_path / folder)
        os.rename(place + b"/p03.png", place + b"/Pr\xfcfung.png")

    message = r"1 file names are no UTF-8: 'Pr\\xfcfung'. Rename these files"
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)
    assert predict_main(["lmnet_xxs", str(tmp_path / "images"), "--out", str(tmp_path / "out")]) == 2
    assert "1 file names are no UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_of_macos_in_nnunet_are_skipped(tmp_path):
    for index in range(3):
        image(tmp_path / "imagesTr" / f"c{index}_0000.png")
        image(tmp_path / "labelsTr" / f"c{index}.png", (DISC > 0).astype(np.uint8))
    for name in ("imagesTr/._c0_0000.png", "labelsTr/._c0.png"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "a"}, "labels": {"background": 0, "x": 1}, "file_ending": ".png"}'
    )

    assert len(load_cases(tmp_path, num_classes=2).cases) == 3
