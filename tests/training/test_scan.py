import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from lmnet.training import DataError, load_data
from lmnet.training.data import case_set


def test_all_problems_are_listed_at_once(tmp_path, write_folder):
    root = write_folder(tmp_path)
    (root / "images" / "case_00.png").write_bytes(b"not an image")
    truncated = root / "masks" / "case_01.png"
    truncated.write_bytes(truncated.read_bytes()[:60])
    Image.fromarray(np.zeros((10, 20), dtype=np.uint8)).save(root / "masks" / "case_02.png")
    (root / "masks" / "case_03.png").unlink()

    with pytest.raises(DataError) as caught:
        load_data(root)

    text = str(caught.value)
    assert len(caught.value.problems) == 4
    for part in (
        "images/case_00.png",
        "masks/case_01.png",
        "the mask has 20x10 pixels and its image 40x40",
        "images/case_03.png",
    ):
        assert part in text


def test_grey_masks_are_cut_and_it_is_said(tmp_path, write_folder):
    root = write_folder(tmp_path)
    with Image.open(root / "masks" / "case_00.png") as picture:
        edges = picture.resize((20, 20)).resize((40, 40), Image.Resampling.BILINEAR)
    edges.save(root / "masks" / "case_00.png")

    data = load_data(root)

    assert data.notes[0].startswith("masks: above 127 = lesion; 12 files.")
    assert set(np.unique(data.cases.mask(0))) == {0, 1}


def test_more_classes_in_masks_than_outputs_are_refused(tmp_path, write_folder):
    root = write_folder(tmp_path)
    for path in (root / "masks").iterdir():
        Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40).astype(np.uint8) % 3).save(path)

    with pytest.raises(DataError, match=r"values are 0, 1, 2, and the net has 2 classes"):
        load_data(root)
    assert len(load_data(root, num_classes=3).cases) == 12


def test_a_class_that_never_occurs_is_refused(tmp_path, write_folder):
    root = write_folder(tmp_path)
    for path in (root / "masks").iterdir():
        Image.fromarray(np.zeros((40, 40), dtype=np.uint8)).save(path)

    with pytest.raises(DataError, match=r"train: no mask has a pixel of lesion"):
        load_data(root)


def test_a_set_that_does_not_fit_in_memory_is_read_from_its_files(tmp_path, write_folder, monkeypatch):
    root = write_folder(tmp_path)
    kept = load_data(root)
    monkeypatch.setattr(case_set, "MEMORY_MIB", 0)

    read = load_data(root)

    assert read.fingerprint == kept.fingerprint
    for ours, theirs in zip(read.train.at(32)[0], kept.train.at(32)[0], strict=True):
        assert ours.equal(theirs)


def test_pixels_are_resized_once_for_each_size(drawn):
    assert drawn.train.at(32) is drawn.train.at(32)
    assert drawn.train.at(32)[0][0].shape == (3, 32, 32)
    assert drawn.train.at(32, 1)[0][0].shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [(0, 3, "size must be at least 1"), (8, 4, "images have 3 channels and the net takes 4"), (8, 0, "at least 1")],
)
def test_sizes_and_channels_out_of_range_are_refused(drawn, size, channels, message):
    with pytest.raises(ValueError, match=message):
        drawn.train.at(size, channels)


def test_the_fingerprint_knows_content_and_split(tmp_path, write_folder):
    root = write_folder(tmp_path)
    first = load_data(root)
    assert load_data(root).fingerprint == first.fingerprint
    assert load_data(root, seed=1).fingerprint != first.fingerprint
    with Image.open(root / "images" / "case_00.png") as picture:
        changed = np.array(picture)
    changed[0, 0] ^= 1
    Image.fromarray(changed).save(root / "images" / "case_00.png")
    assert load_data(root).fingerprint != first.fingerprint


def test_an_unknown_side_is_refused(drawn):
    with pytest.raises(ValueError, match=r"side must be one of all, train, val, test, got side='tset'"):
        drawn.side("tset")


def test_a_split_is_taken_from_a_file(tmp_path, write_folder):
    root = write_folder(tmp_path / "data")
    split = {"train": ["case_00", "case_01"], "val": ["case_02"], "test": ["case_03"]}
    file = tmp_path / "split.json"
    file.write_text(json.dumps(split))

    data = load_data(root, split_file=file)

    assert data.test.names == ["case_03"]
    assert any("8 cases are on no side" in note for note in data.notes)


@pytest.mark.parametrize("kind", ["8-bit", "16-bit"])
def test_the_memory_of_a_scan_does_not_grow_with_the_set(tmp_path, write_folder, monkeypatch, kind):
    monkeypatch.setattr(case_set, "MEMORY_MIB", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    peaks = []
    for count in (40, 120):
        root = write_folder(tmp_path / str(count), count, side=200)
        if kind == "16-bit":
            for path in (root / "images").iterdir():
                with Image.open(path) as picture:
                    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 200).save(path)
        tracemalloc.start()
        data = load_data(root)
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
        kept = [case for case in data.cases.cases if case.image is not None]
        assert sum(case.image.nbytes + case.mask.nbytes for case in kept) <= 2**21
        assert 0 < len(kept) < 30
        assert data.cases.mask(39).shape == (200, 200)

    assert peaks[1] - peaks[0] < 5, peaks  # 80 more images are 12 MiB decoded


def test_all_problems_of_files_values_and_classes_come_in_one_pass(tmp_path, write_folder):
    root = write_folder(tmp_path)
    Image.fromarray(np.full((40, 40), np.nan, dtype=np.float32)).save(root / "images" / "nan.tif")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(root / "masks" / "nan.png")
    Image.fromarray(np.full((40, 40), 31, np.uint8)).save(root / "masks" / "case_00.png")

    with pytest.raises(DataError) as caught:
        load_data(root)

    text = str(caught.value)
    assert "images/nan.tif: none of its values is a finite number" in text
    assert "their values are 0, 31, 255" in text


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((40, 64), "rows and columns are swapped. Transpose the masks"),
        ((32, 20), "the masks are 1/2 as large as their images. Resize the masks"),
        ((128, 80), "the masks are 2 times as large as their images. Resize the masks"),
    ],
)
def test_sizes_that_are_wrong_in_one_way_are_one_line(tmp_path, size, said):
    for index in range(30):
        for folder, shape in (("images", (40, 64)), ("masks", size[::-1])):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(np.full(shape, index, np.uint8)).save(tmp_path / folder / f"p{index:02d}.png")

    with pytest.raises(DataError, match=f"{said}.*So it is with 29 more masks") as caught:
        load_data(tmp_path)
    assert [problem for problem in caught.value.problems if "pixels" in problem] == caught.value.problems[:1]


def listed(root, lesions, *, same=()):
    """Write a list with a split; the images in ``same`` have the content of the first one."""
    rows = ["image,mask,split"]
    sides = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    for index, side in enumerate(sides):
        image = np.random.default_rng(0 if index in same else index).integers(0, 200, (40, 40, 3), dtype=np.uint8)
        mask = np.zeros((40, 40), np.uint8)
        mask[4:20, 4:20] = 255 * (index < 6 or index in lesions)
        Image.fromarray(image).save(root / f"i{index}.png")
        Image.fromarray(mask).save(root / f"m{index}.png")
        rows.append(f"i{index}.png,m{index}.png,{side}")
    (root / "list.csv").write_text("\n".join(rows))
    return root / "list.csv"


def test_sides_without_lesion_are_noted(tmp_path):
    notes = load_data(listed(tmp_path, lesions=(9,))).notes

    assert "val: none of the 3 images has a lesion, so no score of val says anything." in notes
    assert "test: 1 of the 3 images have a lesion; scores rest on these." in notes


def test_the_same_image_on_two_sides_is_noted_whatever_it_is_called(tmp_path):
    path = listed(tmp_path, lesions=range(12), same=(0, 7, 10))
    with Image.open(tmp_path / "i10.png") as image:
        image.save(tmp_path / "i10.bmp")
    path.write_text(path.read_text().replace("i10.png", "i10.bmp"))

    notes = load_data(path).notes

    assert any(
        "2 images are on two sides of the split, so scores come out too high: i0 (train) = i7" in n for n in notes
    )
