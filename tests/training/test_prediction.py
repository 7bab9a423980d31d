"""How masks are made: threshold, kept classes, mirror images, tiles; and images that are given in Python."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import lmnet
from lmnet.training import DataError, MaskRules, evaluate, load_data, open_model
from lmnet.training.cli_predict import main as predict_main
from lmnet.training.data.classes import make_classes
from lmnet.training.prediction.inference import probabilities
from lmnet.training.prediction.tiles import cut, joined, tile_boxes

NAME = "lmnet_xxs@synthetic"
SAMPLE = Path(__file__).parents[2] / "examples" / "synthetic_lesion.png"
THREE = make_classes(3, ("background", "polyp", "tool"))


@pytest.fixture(scope="module")
def opened():
    return open_model(NAME)


def shares_of(*rows):
    """(K, 1, W) class shares from rows of shares, one a pixel."""
    return torch.tensor(rows).T[:, None]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (MaskRules(), [0, 1, 2]),
        (MaskRules(threshold=0.5), [1, 1, 2]),  # the first pixel: .4 background, most probable, and .6 not background
        (MaskRules(threshold=0.75), [0, 1, 0]),
        (MaskRules(classes=("tool",)), [0, 0, 2]),
        (MaskRules(threshold=0.5, classes=("polyp",)), [1, 1, 0]),
    ],
)
def test_a_mask_follows_its_rules(rules, expected):
    shares = shares_of([0.4, 0.35, 0.25], [0.1, 0.6, 0.3], [0.3, 0.2, 0.5])

    assert rules.mask(shares, THREE)[0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 0}, "threshold must be above 0 and at most 1, got threshold=0"),
        ({"threshold": float("nan")}, "threshold must be above 0 and at most 1, got threshold=nan"),
        ({"tile": 8}, "tile must be 0 or at least 32 pixels, got tile=8"),
        ({"tile": -1}, "tile must be 0 or at least 32 pixels, got tile=-1"),
    ],
)
def test_a_wrong_rule_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        MaskRules(**values)


def test_a_class_that_the_model_lacks_is_refused():
    with pytest.raises(ValueError, match="got tissue. It has polyp, tool"):
        MaskRules(classes=("tissue",)).mask(shares_of([0.4, 0.3, 0.3]), THREE)


class BrightIsLesion(nn.Module):
    """A pixel's logit is its brightness, raised in the left half: not the same under mirroring."""

    def forward(self, image):
        logit = image.mean(dim=1, keepdim=True)
        logit[..., : logit.shape[-1] // 2] += 1
        return torch.cat([-logit, logit], dim=1)


def test_flips_average_the_four_mirror_images():
    image = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    parts = [probabilities(BrightIsLesion(), image.flip(axes)).flip(axes) for axes in ([], [-1], [-2], [-2, -1])]

    torch.testing.assert_close(probabilities(BrightIsLesion(), image, flips=True), torch.stack(parts).mean(dim=0))
    assert not torch.allclose(parts[0], parts[1])


@given(height=st.integers(1, 300), width=st.integers(1, 300), side=st.sampled_from([0, 32, 50, 128]))
def test_tiles_cover_an_image_and_a_map_cut_and_joined_is_itself(height, width, side):
    boxes = tile_boxes(height, width, side)
    image = np.random.default_rng(0).random((height, width, 2), dtype=np.float32)
    tiles = cut(image, boxes)
    covered = np.zeros((height, width), bool)
    for top, left, bottom, right in boxes:
        covered[top:bottom, left:right] = True

    assert covered.all()
    assert len({tile.shape for tile in tiles}) == 1
    assert side == 0 or max(tiles[0].shape[:2]) <= side
    shares = torch.stack([torch.from_numpy(tile.copy()).permute(2, 0, 1) for tile in tiles])
    whole = joined(shares, boxes, height, width)
    np.testing.assert_allclose(whole.permute(1, 2, 0).numpy(), image, rtol=1e-5, atol=1e-6)


def test_tiles_show_a_lesion_too_small_for_the_whole_image(opened):
    """The sample in a corner of an image of 12 times its side: at 128 px it is 11 px wide."""
    sample = np.asarray(Image.open(SAMPLE))
    canvas = np.full((1536, 1536, 3), sample.reshape(-1, 3).mean(axis=0).astype(np.uint8))
    canvas[:128, :128] = sample
    truth = opened.predict(sample).mask > 0

    whole = opened.predict(canvas).mask[:128, :128] > 0
    tiled = opened.predict(canvas, tile=128).mask[:128, :128] > 0

    assert (tiled & truth).sum() / truth.sum() > 0.9
    assert (whole & truth).sum() / truth.sum() < 0.5


def test_array_pil_image_file_and_folder_give_one_mask(opened, tmp_path):
    image = Image.open(SAMPLE)
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "a.png")
    expected = opened.predict(SAMPLE)

    in_folder = opened.predict(tmp_path / "images")
    assert [each.path.name for each in in_folder] == ["a.png"]
    for found in (opened.predict(np.asarray(image)), opened.predict(image), opened.predict(str(SAMPLE)), *in_folder):
        np.testing.assert_array_equal(found.mask, expected.mask)
        np.testing.assert_array_equal(found.overlay, expected.overlay)
    assert expected.areas == {"lesion": int((expected.mask > 0).sum())}
    assert opened.predict(image.convert("L")).mask.shape == expected.mask.shape


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_pil_image_of_more_than_eight_bits_is_refused_not_clipped(opened, dtype):
    with pytest.raises(ValueError, match="of uint8, got "):
        opened.predict(Image.fromarray(np.full((8, 8), 900, dtype)))


@pytest.mark.parametrize(
    "pixels", [np.zeros((8, 8), np.float32), np.zeros((3, 40, 40), np.uint8), np.zeros(9, np.uint8)]
)
def test_an_array_that_is_no_eight_bit_image_is_refused(opened, pixels):
    with pytest.raises(ValueError, match=r"an image must be \(H, W\) or \(H, W, C\) of uint8, got "):
        opened.predict(pixels)


def test_a_file_that_is_absent_is_refused(opened):
    with pytest.raises(DataError, match="there is no such file"):
        opened.predict("absent.png")


def test_the_command_writes_areas_and_each_class(tmp_path, capsys):
    command = [
        NAME,
        str(SAMPLE),
        "--out",
        str(tmp_path),
        "--probabilities",
        "--threshold",
        "0.3",
        "--flips",
        "--tile",
        "64",
    ]
    assert predict_main(command) == 0

    with (tmp_path / "areas.csv").open() as file:
        rows = list(csv.DictReader(file))
    mask = np.asarray(Image.open(tmp_path / "synthetic_lesion_mask.png"))
    assert [(row["image"], row["class"], int(row["pixels"])) for row in rows] == [
        ("synthetic_lesion", "lesion", int((mask > 0).sum()))
    ]
    probability = np.asarray(Image.open(tmp_path / "synthetic_lesion_probability_lesion.png")) / 255
    np.testing.assert_array_equal(mask > 0, probability >= 0.3)
    assert "synthetic_lesion_overlay.png" in capsys.readouterr().out


@pytest.mark.parametrize("option", [("--threshold", "2"), ("--tile", "5"), ("--classes", "polyp")])
def test_a_wrong_option_writes_nothing(tmp_path, capsys, option):
    assert predict_main([NAME, str(SAMPLE), "--out", str(tmp_path / "out"), *option]) == 2

    assert "lmnet-predict: predict: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_of_another_data_set_have_their_own_name(opened):
    net = lmnet.from_pretrained(NAME)

    assert "lmnet_xxs" in lmnet.list_models()
    assert NAME not in lmnet.list_models(pretrained=True)  # the names stand for Kvasir-SEG
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), opened.model.parameters(), strict=True))
    with pytest.raises(ValueError, match="no weights of it trained on busi. It has weights for: .*lmnet_xxs@synthetic"):
        open_model("lmnet_xxs@busi")


@pytest.mark.slow
def test_the_synthetic_weights_score_what_their_card_says(opened):
    data = load_data("synthetic", seed=0)
    scores = evaluate(opened.model, data.test, device="cpu", **opened.settings())

    assert scores.values()["dice_foreground_mean"] == pytest.approx(0.779, abs=0.005)
