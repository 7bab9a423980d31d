"""What masks mean: one table over kinds, each written as files and read as a data set."""

import json

import numpy as np
import pytest
from PIL import Image

from lmnet.training import DataError, load_data
from lmnet.training.data.load import load_cases
from lmnet.training.data.mask_values import MaskOptions, MaskValues
from lmnet.training.data.meaning import DataMeaning, DataOptions

DISC = np.hypot(*np.mgrid[-32:32, -40:40]) < 20
RING = np.hypot(*np.mgrid[-32:32, -40:40]) < 28


def disc(low, high, dtype=np.uint8):
    return np.where(DISC, high, low).astype(dtype)


def three(low, middle, high, dtype=np.uint8):
    return np.where(DISC, high, np.where(RING, middle, low)).astype(dtype)


@pytest.fixture
def write(tmp_path):
    """Write pairs whose masks are arrays, or functions that save one to a path."""

    def make(masks, *, suffix="png"):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for index, mask in enumerate(masks):
            image = np.random.default_rng(index).integers(0, 255, (64, 80, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "images" / f"c{index:02d}.png")
            path = tmp_path / "masks" / f"c{index:02d}.{suffix}"
            mask(path) if callable(mask) else Image.fromarray(mask).save(path)
        return tmp_path

    return make


def colours(*, low, high):
    return np.where(DISC[..., None], high, low).astype(np.uint8)


def alpha(path):
    pixels = np.zeros((64, 80, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(DISC, 255, 0)
    Image.fromarray(pixels).save(path)


def palette(mask, colors):
    def save(path):
        picture = Image.fromarray(mask).convert("P")
        picture.putpalette(colors)
        picture.putdata(mask.ravel().tolist())
        picture.save(path)

    return save


RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)
READ = {
    "0 and 255": (disc(0, 255), 2, {}, "0 = background, 255 = lesion"),
    "0 and 1": (disc(0, 1), 2, {}, "0 = background, 1 = lesion"),
    "one bit": (DISC, 2, {}, "0 = background, 255 = lesion"),
    "sixteen bits, 0 and 1": (disc(0, 1, np.uint16), 2, {}, "1 = lesion"),
    "one colour on black": (colours(low=BLACK, high=RED), 2, {}, "#ff0000 = lesion"),
    "a black and white palette": (palette(disc(0, 1), [*BLACK, 255, 255, 255]), 2, {}, "255 = lesion"),
    "a white and black palette": (palette(disc(1, 0), [255, 255, 255, *BLACK]), 2, {}, "255 = lesion"),
    "a palette of colours": (palette(disc(0, 1), [*BLACK, *RED]), 2, {}, "1 = lesion"),
    "an alpha channel that is not the shape": (np.dstack([disc(0, 255)] * 4), 2, {}, "255 = lesion"),
    "0 and 100, said": (disc(0, 100), 2, {"values": (0, 100)}, "100 = lesion"),
    "0 to 0.99, said": (disc(0, 0.99, np.float32), 2, {"values": (0, float(np.float32(0.99)))}, "0.99 = lesion"),
    "two colours, said": (
        [colours(low=BLACK, high=RED), colours(low=BLACK, high=GREEN)],
        3,
        {"colors": (BLACK, RED, GREEN)},
        "#000000 = background, #ff0000 = class 1, #00ff00 = class 2",
    ),
    "objects of one value each, said": (three(0, 1, 7), 2, {"values": "nonzero"}, "all else = lesion"),
    "classes": (three(0, 1, 2), 3, {}, "0 = background, 1 = class 1, 2 = class 2"),
    "classes and 255": (three(0, 1, 255), 2, {}, "1 = lesion, 255 = ignored"),
    "classes and a value that is said": (three(0, 1, 9), 2, {"ignore": 9}, "1 = lesion, 9 = ignored"),
}


@pytest.mark.parametrize("kind", READ)
def test_masks_are_read_as_they_are_meant(write, kind):
    masks, num_classes, options, said = READ[kind]
    masks = masks if isinstance(masks, list) else [masks]
    root = write(masks * 2, suffix="tif" if "0.99" in kind else "png")
    data = load_cases(root, num_classes=num_classes, options=DataOptions(MaskOptions(**options)))

    assert said in data.notes[0]
    mask = data.cases.mask(0)
    assert (mask[DISC] == mask[32, 40]).all()
    assert mask[0, 0] == 0
    expected = {"classes": 2, "classes and 255": 255, "classes and a value that is said": 255}.get(kind, 1)
    assert mask[32, 40] == expected


REFUSED = {
    "red and green lesions": (
        [colours(low=BLACK, high=RED), colours(low=BLACK, high=GREEN)],
        r"3 colours, most often #000000 #ff0000 #00ff00. Say which .*--mask-colors #000000,#ff0000,#00ff00",
    ),
    "0 and 100": (
        disc(0, 100),
        r"their values are 0, 100. If 0 is background and 100 the lesion, give --mask-values 0,100",
    ),
    "0 and 32": (disc(0, 32), "--mask-values 0,32"),
    "0 and 1000": (disc(0, 1000, np.uint16), "--mask-values 0,1000"),
    "0 and 4095": (disc(0, 4095, np.int32), "--mask-values 0,4095"),
    "0, 50 and 100": (three(0, 50, 100), r"values are 0, 50, 100, and the net has 2 classes.*--mask-values 0,50,100"),
    "float 0 to 0.99": (disc(0, 0.99, np.float32), r"values are 0, 0.99. If 0 is background and 0.99 the lesion"),
    "many floats": (np.linspace(0, 1, 5120, dtype=np.float32).reshape(64, 80), "give --mask-values nonzero"),
    "objects": ((np.arange(5120).reshape(64, 80) // 100).astype(np.uint16), "--mask-values nonzero"),
    "few objects": (
        three(0, 1, 2),
        r"values are 0, 1, 2, and the net has 2 classes.*each object has a value of its own",
    ),
    "the alpha channel": (alpha, "the shape is in the alpha channel alone. Save it as a grey image"),
    "negative": (disc(-1, 1, np.int32), "their values are -1, 1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_masks_that_can_be_read_in_two_ways_are_refused(write, kind):
    masks, message = REFUSED[kind]
    root = write(
        (masks if isinstance(masks, list) else [masks]) * 2,
        suffix="tif" if "float" in kind or "neg" in kind or "4095" in kind else "png",
    )

    with pytest.raises(DataError, match=message):
        load_cases(root, num_classes=2)


def test_one_file_does_not_decide_for_itself(write):
    data = load_cases(write([disc(0, 1), three(0, 1, 255), np.zeros((64, 80), np.uint8)]), num_classes=2)

    assert "1 = lesion, 255 = ignored; 3 files" in data.notes[0]
    assert any("1 masks have ignored pixels" in note for note in data.notes)
    assert data.cases.mask(0)[32, 40] == 1
    assert data.cases.mask(1)[32, 40] == 255


def test_masks_that_are_all_empty_are_refused_for_training(write):
    root = write([np.zeros((64, 80), np.uint8)] * 6)

    with pytest.raises(DataError, match="train: no mask has a pixel of lesion"):
        load_data(root)


def test_jpeg_masks_are_cut_at_127(write):
    data = load_cases(write([disc(0, 255)] * 3, suffix="jpg"), num_classes=2)

    assert "above 127 = lesion" in data.notes[0]
    assert data.cases.mask(0)[32, 40] == 1
    with pytest.raises(DataError, match="JPEG files whose values lie between black and white"):
        load_cases(write([disc(0, 100)] * 3, suffix="jpg"), num_classes=2)


def test_grey_edges_are_cut_and_it_is_said(write):
    edges = np.asarray(Image.fromarray(disc(0, 255)).resize((40, 32)).resize((80, 64), Image.Resampling.BILINEAR))

    assert "above 127 = lesion" in load_cases(write([edges] * 2), num_classes=2).notes[0]


def test_every_problem_of_values_is_listed_with_those_of_files(write):
    root = write([disc(0, 100)] * 3)
    (root / "images" / "c00.png").write_bytes(b"junk")

    with pytest.raises(DataError) as caught:
        load_cases(root, num_classes=2)

    assert len(caught.value.problems) == 2


def test_names_and_colours_of_classes_are_kept(write):
    mask = palette(three(0, 1, 2), [*BLACK, *RED, *GREEN])
    options = DataOptions(class_names=("ground", "vessel", "tumour"))
    meaning = load_cases(write([mask] * 2), num_classes=3, options=options).cases.meaning

    again = DataMeaning.load(meaning.dump(), where="here")

    assert again == meaning
    assert [each.name for each in again.classes] == ["ground", "vessel", "tumour"]
    assert again.classes[2].color == GREEN


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"classes": 3}', json.dumps({"classes": [], "masks": {}})])
def test_a_meaning_that_is_damaged_is_refused(text):
    with pytest.raises(ValueError, match="data.json: the meaning of images and masks cannot be read"):
        DataMeaning.load(text, where="data.json")


def test_a_value_that_was_not_decided_is_refused(write):
    cases = load_cases(write([disc(0, 255)] * 2), num_classes=2).cases
    Image.fromarray(disc(0, 7)).save(cases.cases[0].source.masks[0].path)
    cases.cases[0].mask = None

    with pytest.raises(ValueError, match="it has the values 7, which are no class"):
        cases.mask(0)
    with pytest.raises(ValueError, match="there is no kind 'luck'"):
        MaskValues.load({"kind": "luck", "values": [], "colors": [], "ignore": None})


def test_files_are_to_be_corrected_only_where_files_are_broken(write):
    folder = write([disc(0, 255)] * 6)
    with pytest.raises(DataError, match="255 is no class") as caught:
        load_data(folder, options=DataOptions(MaskOptions(values=(0, 300))))
    assert str(caught.value).endswith("Give every value: --mask-values 0,1,... and --ignore-value.")
    (folder / "images" / "c00.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"Correct or remove these files, then run again\.$"):
        load_data(folder)
