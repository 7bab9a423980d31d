"""What lmnet-train says at the end."""

import csv
import json

import numpy as np
import pytest

from lmnet.training import CaseScores, summarize
from lmnet.training.runs.closing import closing_lines, rising_since
from lmnet.training.runs.run_folder import FORMAT, RunFolder

TRAINED = ["lmnet_xs@busi", "lmnet_xs", "lmnet_s"]
FLAT = [1.0, 0.8, 0.7, 0.65, 0.62, 0.61, 0.6, 0.6, 0.59, 0.58]
RISING = [1.0, 0.6, 0.5, 0.55, 0.6, 0.7, 0.7, 0.8, 0.9, 0.9]


def finished(path, matrices, *, losses=FLAT, dice=None, start="random", model="lmnet_xs", size=64):
    """A folder with the files that the closing lines are made of."""
    path.mkdir()
    store = CaseScores(tuple(f"im{index}" for index in range(len(matrices))), np.array(matrices))
    manifest = {"format": FORMAT, "model": model, "start": start, "recipe": {"size": size}}
    (path / "run.json").write_text(json.dumps(manifest))
    (path / "metrics.json").write_text(json.dumps({"test": summarize(store)}))
    (path / "scores.json").write_text(json.dumps({"test": store.dump()}))
    dice = dice or [0.5] * len(losses)
    with (path / "log.csv").open("w", newline="") as file:
        rows = [(n + 1, loss, score) for n, (loss, score) in enumerate(zip(losses, dice, strict=True))]
        csv.writer(file).writerows([("epoch", "val_loss", "val_dice_foreground_mean"), *rows])
    return RunFolder(path)


GOOD, POOR, MISSED, HEALTHY = [[80, 1], [1, 18]], [[80, 6], [6, 8]], [[80, 0], [20, 0]], [[100, 0], [0, 0]]


def test_a_good_run_ends_with_its_number_its_report_and_two_commands(tmp_path):
    run = finished(tmp_path / "run", [GOOD] * 20 + [HEALTHY])

    assert closing_lines(run) == [
        "test Dice 0.947 [0.947, 0.947], mean over 20 images with a lesion",
        f"report: {run.path}/report.html",
        f"next: lmnet-predict {run.path} FOLDER_OR_IMAGE",
        f"      lmnet-eval --compare {run.path} OTHER_RUN",
    ]
    assert closing_lines(run, bold=True)[0].startswith("\x1b[1mtest Dice")


def test_a_run_without_lesions_in_test_says_so(tmp_path):
    lines = closing_lines(finished(tmp_path / "run", [HEALTHY] * 3))

    assert lines[0] == "no Dice: none of the 3 test images has a lesion"
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"losses": RISING}, "the val loss rises since epoch 3 of 10: the net learns the training images by heart."),
        ({"dice": [*[0.4] * 9, 0.5]}, "the last epochs were the best: more of them (--epochs 20)."),
        ({}, "the weights began at random: begin with trained ones (--weights lmnet_xs or lmnet_xs@busi"),
        ({"size": 8}, "the median lesion has 9 pixels at 8 px: larger images (--size 16)."),
        ({}, "look at the 2 test images on which nearly nothing is found: im20, im21 (the worst are in the report)."),
    ],
    ids=["rising", "last epochs", "random", "small", "failed"],
)
def test_a_low_score_ends_with_what_to_try(tmp_path, options, advice):
    lines = closing_lines(finished(tmp_path / "run", [POOR] * 20 + [MISSED] * 2, **options), TRAINED)

    assert any(line.startswith(f"to try: {advice}") for line in lines), lines


def test_advice_that_does_not_apply_is_not_given(tmp_path):
    run = finished(tmp_path / "run", [POOR] * 20, start="w.safetensors 123", dice=[0.5, *[0.4] * 9])
    lines = closing_lines(run, TRAINED)

    assert not [line for line in lines if line.startswith("to try")]


def test_a_loss_that_falls_or_is_not_finite_does_not_rise():
    assert rising_since([{"val_loss": loss} for loss in FLAT]) is None
    assert rising_since([{"val_loss": loss} for loss in [*FLAT, float("nan")]]) is None
    assert rising_since([]) is None
