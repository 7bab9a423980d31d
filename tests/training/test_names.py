"""Names and places of files: what is paired, what is left out, what is said."""

import csv
import json
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

from lmnet.training import DataError, load_data
from lmnet.training.data.cases import find_cases
from lmnet.training.data.load import load_cases

DISC = (np.hypot(*np.mgrid[-32:32, -40:40]) < 20).astype(np.uint8) * 255


def image(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (
        np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 255, (64, 80), np.uint8)
        if pixels is None
        else pixels
    )
    Image.fromarray(pixels).save(path, **options)
    return path


def pairs(root, count=3, *, images="images", masks="masks", suffix="png", ending=""):
    for index in range(count):
        image(root / images / f"c{index}.{suffix}")
        image(root / masks / f"c{index}{ending}.png", DISC)
    return root


@pytest.mark.parametrize("ending", ["_GT", "_Mask", "_label", "_seg", "-mask", "_segmentation", ".mask", " mask"])
def test_usual_endings_of_masks_are_taken_in_any_case(tmp_path, ending):
    assert len(find_cases(pairs(tmp_path, ending=ending)).cases) == 3


@pytest.mark.parametrize(
    ("images", "masks"),
    [("Images", "Masks"), ("imgs", "masks"), ("images", "labels"), ("img", "gt"), ("image", "mask")],
)
def test_usual_names_of_folders_are_taken(tmp_path, images, masks):
    assert len(find_cases(pairs(tmp_path, images=images, masks=masks)).cases) == 3


def test_names_are_compared_in_composed_form(tmp_path):
    image(tmp_path / "images" / f"{unicodedata.normalize('NFD', 'müller')}.png")
    image(tmp_path / "masks" / f"{unicodedata.normalize('NFC', 'müller')}.png", DISC)

    assert [case.name for case in find_cases(tmp_path).cases] == [unicodedata.normalize("NFC", "müller")]


def test_two_sides_that_never_match_are_shown_in_one_line(tmp_path):
    for index in range(40):
        image(tmp_path / "images" / f"a{index:02d}.png")
        image(tmp_path / "masks" / f"b{index:02d}.png", DISC)

    problems = find_cases(tmp_path).problems

    assert len(problems) == 1
    assert "images/ holds a00.png, a01.png, a02.png, ... (40); masks/ holds b00.png" in problems[0]


def test_many_missing_masks_are_counted(tmp_path):
    pairs(tmp_path)
    for index in range(50):
        image(tmp_path / "images" / f"more{index:02d}.png")

    problems = find_cases(tmp_path).problems

    assert len(problems) == 11
    assert problems[-1] == "and 40 more files: an image has no mask in masks/."


@pytest.mark.parametrize("suffix", ["webp", "gif", "ppm", "jp2", "bmp", "tif"])
def test_every_format_that_pillow_reads_is_used(tmp_path, suffix):
    pairs(tmp_path, 2)
    image(tmp_path / "images" / f"other.{suffix}")
    image(tmp_path / "masks" / "other.png", DISC)

    assert len(load_cases(tmp_path).cases) == 3


def test_what_is_left_out_is_counted_and_named(tmp_path):
    pairs(tmp_path)
    (tmp_path / "images" / "notes.xyz").write_text("x")
    (tmp_path / "masks" / "more.docx").write_text("x")

    assert load_cases(tmp_path).notes[-1] == "2 files are left out: images/notes.xyz, masks/more.docx."


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints/c0-checkpoint.png",
        "__MACOSX/c0.png",
        "@eaDir/c0.png",
        ".hidden/c0.png",
        "._c0.png",
        "c0 - Copy.png",
        "c0 copy.png",
        "c0-checkpoint.png",
        "Thumbs.db",
    ],
)
def test_what_tools_leave_behind_is_skipped(tmp_path, name):
    pairs(tmp_path)
    for folder in ("images", "masks"):
        image(tmp_path / folder / name if name.endswith("png") else tmp_path / folder / f"{name}.bmp", DISC)
        if not name.endswith("png"):
            (tmp_path / folder / f"{name}.bmp").rename(tmp_path / folder / name)

    assert [case.name for case in find_cases(tmp_path).cases] == ["c0", "c1", "c2"]


def test_links_are_followed_and_cycles_are_not(tmp_path):
    real = pairs(tmp_path / "real", images="images/p1", masks="masks/p1")
    root = pairs(tmp_path / "root")
    for folder in ("images", "masks"):
        (root / folder / "linked").symlink_to(real / folder / "p1", target_is_directory=True)
        (root / folder / "again").symlink_to(root / folder, target_is_directory=True)

    assert [case.name for case in find_cases(root).cases] == ["c0", "c1", "c2", "linked/c0", "linked/c1", "linked/c2"]


@pytest.mark.parametrize("depth", ["Kvasir-SEG", "download/Kvasir-SEG"])
def test_a_folder_too_high_is_told_the_one_inside(tmp_path, depth):
    pairs(tmp_path / depth)

    with pytest.raises(DataError, match=f"Did you mean {tmp_path / depth}\\?"):
        find_cases(tmp_path)


def test_the_same_image_twice_is_noted(tmp_path):
    pairs(tmp_path)
    for folder in ("images", "masks"):
        (tmp_path / folder / "twin.png").write_bytes((tmp_path / folder / "c0.png").read_bytes())

    assert any("1 images are there more than once, for example c0 = twin" in n for n in load_cases(tmp_path).notes)


def test_an_image_and_its_mask_are_compared_as_viewers_show_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pairs(tmp_path, 2)
    image(tmp_path / "images" / "turned.png", np.zeros((80, 64), np.uint8), exif=exif)
    image(tmp_path / "masks" / "turned.png", DISC)

    scanned = load_cases(tmp_path)

    assert scanned.cases.image(2).shape[:2] == scanned.cases.mask(2).shape == (64, 80)
    assert any("1 images are turned as their orientation tag says: turned" in note for note in scanned.notes)


def rows(root, *, split=False):
    pairs(root, 6)
    return [
        {"image": f"images/c{i}.png", "mask": f"masks/c{i}.png", "group": f"p{i // 2}"}
        | ({"split": ["train", "train", "train", "train", "val", "test"][i]} if split else {})
        for i in range(6)
    ]


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_a_list_of_pairs_is_read(tmp_path, suffix):
    listed = rows(tmp_path, split=True)
    path = tmp_path / f"list.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(listed))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(listed[0]))
            writer.writeheader()
            writer.writerows(listed)

    data = load_data(path)

    assert (data.name, len(data.train), data.val.names) == ("table", 4, ["images/c4"])
    assert [case.group for case in data.cases.cases] == ["p0", "p0", "p1", "p1", "p2", "p2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[0].pop("mask"), "row 1 has no image or no mask"),
        (lambda r: r[0].update(mask="masks/none.png"), "row 1: there is no .*none.png"),
        (lambda r: [row.pop("mask") for row in r], "it has no column mask; its columns are image, group"),
        (lambda r: r[0].update(split="trian"), "row 1 has split 'trian'. Use train, val or test"),
        (lambda r: r[0].update(split="train"), "5 rows have no split, and others have one"),
        (lambda r: r.append(dict(r[0])), "1 rows have a name that another row has"),
    ],
)
def test_a_list_that_is_wrong_is_refused(tmp_path, change, message):
    listed = rows(tmp_path)
    change(listed)
    (tmp_path / "list.json").write_text(json.dumps(listed))

    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "list.json")


@pytest.mark.parametrize("text", ["{}", "[1]", "nonsense"])
def test_a_list_that_is_no_list_is_refused(tmp_path, text):
    (tmp_path / "list.json").write_text(text)

    with pytest.raises(DataError, match="list.json: it cannot be read"):
        load_data(tmp_path / "list.json")
