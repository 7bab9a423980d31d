"""What chooses the best epoch, and what a training run says before it begins."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from lmnet.training import CaseScores, CaseSet, Recipe, Schedule, fit, load_data
from lmnet.training.cli_eval import main as evaluate_main
from lmnet.training.cli_train import main as train_main
from lmnet.training.data.case_set import LoadedCase
from lmnet.training.data.classes import make_classes
from lmnet.training.data.meaning import DataMeaning
from lmnet.training.fitting.chooser import make_chooser
from lmnet.training.fitting.state import TrainState
from lmnet.training.runs.remarks import remarks_before
from lmnet.training.runs.report import chosen_cases

QUICK = ["--size", "32", "--epochs", "2", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--threads", "1"]


def disc(row, column, radius, side=64):
    rows, columns = np.mgrid[:side, :side]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def case_set(*masks, num_classes=2):
    cases = [
        LoadedCase(
            f"c{index}", str(index), "", str(index), np.full((*mask.shape, 3), 60 + 50 * (index % 3), "uint8"), mask
        )
        for index, mask in enumerate(masks)
    ]
    return CaseSet(cases, DataMeaning(classes=make_classes(num_classes)))


def mask(*discs, side=64):
    found = np.zeros((side, side), dtype=np.uint8)
    for number, (row, column, radius) in enumerate(discs, 1):
        found[disc(row, column, radius, side)] = number if radius else 0
    return found


HEALTHY, LESION = mask(), mask((30, 30, 12))


@pytest.mark.parametrize(
    ("masks", "classes", "text"),
    [
        ([LESION] * 3, 2, "mean over 3 of 3 images with a lesion"),
        ([LESION, HEALTHY, HEALTHY], 2, "mean over 1 of 3 images with a lesion"),
        ([mask((9, 9, 5), (40, 40, 9)), LESION], 3, "mean over 2 classes that occur, 2 of 2 images with a lesion"),
        (
            [LESION, HEALTHY],
            4,
            "mean over 1 class that occurs, 1 of 2 images with a lesion; no pixels of class 2, class 3 in these images",
        ),
        (
            [LESION, mask((5, 5, 1))],
            2,
            "mean over 1 of 2 images with a lesion; in 1 image no pixel of the lesion is left at this size",
        ),
    ],
    ids=["all", "some", "classes", "absent classes", "vanished"],
)
def test_what_chooses_is_said_in_words(masks, classes, text):
    chooser = make_chooser(case_set(*masks, num_classes=classes).at(8), classes)

    assert chooser.text == f"the best epoch is chosen by val Dice at 8 px: {text}"
    assert chooser.score({"dice_foreground_mean": 0.25}, 3.0) == 0.25


@pytest.mark.parametrize(
    ("masks", "text"),
    [
        ([HEALTHY, np.full((64, 64), 255, np.uint8)], "lowest val loss. To choose by Dice, use another split."),
        (
            [HEALTHY, mask((5, 5, 1))],
            "lowest val loss; in 1 image no pixel of the lesion is left at this size. To",
        ),
    ],
    ids=["none", "vanished"],
)
def test_the_loss_chooses_where_no_lesion_is_left(masks, text):
    chooser = make_chooser(case_set(*masks).at(8), 2)

    assert chooser.text.startswith("no val image has a lesion at 8 px, so there is no Dice: ")
    assert text in chooser.text
    assert chooser.score({"dice_foreground_mean": float("nan")}, 3.0) == -3.0


@pytest.fixture(scope="module")
def healthy_val(tmp_path_factory):
    """A list whose val and test images have no lesion."""
    folder = tmp_path_factory.mktemp("healthy")
    rows = []
    for index in range(14):
        side = "train" if index < 8 else "val" if index < 11 else "test"
        found = mask((20 + index, 30, 12)) if side == "train" else HEALTHY
        image = np.random.default_rng(index).integers(60, 90, (64, 64, 3)).astype("uint8")
        image[found > 0] = [200, 80, 80]
        Image.fromarray(image).save(folder / f"i{index}.png")
        Image.fromarray(found * 255).save(folder / f"m{index}.png")
        rows.append((f"i{index}.png", f"m{index}.png", side))
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "mask", "split"), *rows])
    return folder / "list.csv"


def test_a_run_without_lesions_in_val_says_so_before_it_begins_and_chooses_by_the_loss(
    healthy_val, tiny_spec, tmp_path, capsys
):
    out = tmp_path / "run"
    assert train_main([tiny_spec, "--data", str(healthy_val), "--out", str(out), *QUICK]) == 0

    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    begin = next(index for index, line in enumerate(lines) if line.startswith("epoch 1"))
    assert any("note: no val image has a lesion at 32 px" in line for line in lines[:begin])
    assert any("note: no test image has a lesion" in line for line in lines[:begin])
    assert "val loss" in lines[begin]
    assert "Dice" not in lines[begin]
    losses = [float(row["val_loss"]) for row in csv.DictReader((out / "log.csv").read_text().splitlines())]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["epoch"] == 1 + int(np.argmin(losses))
    assert metrics["test"]["dice_foreground_mean"] is None
    assert metrics["test"]["images_with_lesion"] == 0
    assert "3 of 3 test images have no lesion" in shown.out
    assert "None of the 3 test images has a lesion" in (out / "report.html").read_text()
    assert evaluate_main([str(out)]) == 0
    assert "dice_foreground_mean" not in capsys.readouterr().out


def test_lesions_that_vanish_at_the_training_size_do_not_choose(tiny_net):
    small = mask((31, 31, 1), side=256)
    large = mask((100, 100, 60), side=256)
    data = load_data("synthetic", count=30)
    data.val = case_set(small, large)

    chooser = make_chooser(data.val.at(16), 2)
    result = fit(tiny_net(), data, Recipe(epochs=1, size=16, batch_size=8), device="cpu")

    assert (chooser.with_lesion, chooser.vanished) == (1, 1)
    assert result.chosen_by == chooser.text
    assert 0 <= result.score <= 1


def test_the_best_epoch_of_an_earlier_version_is_not_compared_with_scores_of_another_kind(tiny_net):
    """Where val has images without a lesion, version 0.1.0 counted them 1."""
    data = load_data("synthetic", count=30)
    data.val = case_set(HEALTHY, HEALTHY, LESION)
    recipe = Recipe(epochs=2, size=32, batch_size=8)
    first = fit(tiny_net(), data, recipe, epochs=1, schedule=Schedule(2), device="cpu")
    old = TrainState(**{**vars(first.state), "best_score": 0.99, "chosen_by": ""})

    resumed = fit(tiny_net(), data, recipe, resume=old, device="cpu")

    assert resumed.best_epoch == 2
    assert resumed.score == resumed.history[1]["val_dice_foreground_mean"]


def test_the_report_shows_images_without_lesion_in_groups_of_their_own():
    found, nothing, alarm = [[88, 2], [3, 7]], [[100, 0], [0, 0]], [[90, 10], [0, 0]]

    def groups(*matrices):
        return chosen_cases(CaseScores(tuple(map(str, range(len(matrices)))), np.array(matrices)))

    assert groups(found, nothing, alarm) == {"Best": [0], "Lesion found where none is": [2]}
    assert groups(nothing, nothing) == {"No lesion": [0, 1]}
    assert groups(nothing, alarm) == {"Lesion found where none is": [1], "No lesion": [0]}


def remarks(train, val=(LESION,), test=(LESION,) * 20, classes=2):
    data = load_data("synthetic", count=30)
    data.train, data.val, data.test = (case_set(*each, num_classes=classes) for each in (train, val, test))
    return list(remarks_before(data, size=32, in_channels=3, num_classes=classes))[1:]


@pytest.mark.parametrize(
    ("sides", "text"),
    [
        (
            {"train": [1 - LESION]},
            "note: lesions cover 89% of the pixels of the training masks. If the masks are inv",
        ),
        (
            {"train": [LESION, HEALTHY, mask((5, 5, 1), side=256)]},
            "note: at 32 px the lesion has no pixel left in 1 of 2 training masks with a lesion. A larger --size keeps",
        ),
        ({"test": [LESION] * 19}, "note: 19 test images say little about other images: expect wide intervals"),
        ({"test": [LESION] * 20, "classes": 3}, "note: no pixels of class 2 in the test images: these classes get no"),
        (
            {"test": [HEALTHY] * 20},
            "note: no test image has a lesion: the test scores can only say in how many of them one",
        ),
    ],
    ids=["inverted", "vanished", "few", "absent class", "no lesion"],
)
def test_odd_images_are_remarked_on_before_training(sides, text):
    (remark,) = remarks(**{"train": [LESION], **sides})

    assert remark.startswith(text)


def test_usual_images_need_no_remark():
    assert remarks(train=[LESION]) == []


def test_class_weights_of_another_number_of_classes_are_refused_before_a_folder_is_begun(tmp_path, tiny_spec, capsys):
    out = tmp_path / "run"
    options = ["--recipe", "paper", "--set", "num_classes=3", "--data", "synthetic", "--out", str(out), *QUICK]
    assert train_main([tiny_spec, *options]) == 2

    assert "class_weights has 2 values and the net 3 classes. Set class_weights=[1,4,4]" in capsys.readouterr().err
    assert not out.exists()
