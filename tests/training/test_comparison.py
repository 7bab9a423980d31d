"""Comparing models image by image: every metric, several seeds, and the options of ``lmnet-eval --compare``."""

import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from lmnet.training import CaseScores, compare
from lmnet.training.cli_eval import main as evaluate_main
from lmnet.training.cli_train import main as train_main
from lmnet.training.metrics.intervals import intervals

QUICK = ["--size", "32", "--epochs", "2", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--threads", "1"]


def case_scores(confusion, names=None, **figures):
    names = names or [f"case_{index}" for index in range(len(confusion))]
    return CaseScores(tuple(names), np.array(confusion), {key: np.array(each) for key, each in figures.items()})


def random_run(seed, images=30, gain=0, classes=2):
    """Scores of one training run on the same masks; a gain moves missed pixels to the found ones."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).integers(20, 200, (images, classes))
    confusion = np.zeros((images, classes, classes), dtype=int)
    for image in range(images):
        for number in range(classes):
            right = min(truth[image, number], round(truth[image, number] * (rng.uniform(0.5, 0.8) + gain)))
            confusion[image, number, number] = right
            confusion[image, number, (number + 1) % classes] = truth[image, number] - right
    return case_scores(confusion)


def test_every_metric_of_a_score_is_compared_whatever_the_order_of_images():
    first, second = random_run(0, classes=3), random_run(1, classes=3)
    order = list(reversed(second.names))
    comparison = compare(first, second.reordered(order))

    assert [each.metric for each in comparison.differences] == [
        name for name, value in first.values().items() if not math.isnan(value)
    ]
    assert comparison.of("class/class 2/dice_pooled").second == second.value("class/class 2/dice_pooled")
    assert comparison == compare(first, second)


def test_only_the_metrics_asked_for_are_compared():
    comparison = compare(random_run(0), random_run(1), metrics=["recall"])

    assert [each.metric for each in comparison.differences] == ["recall"]
    with pytest.raises(ValueError, match=r"were not compared in 'hd95_mean'\. They were compared in recall\."):
        comparison.of("hd95_mean")


def test_several_seeds_a_side_are_drawn_too():
    first, second = [random_run(seed) for seed in range(3)], [random_run(seed, gain=0.05) for seed in range(10, 14)]
    comparison = compare(first, second)
    found = comparison.of("dice_foreground_mean")

    assert comparison.seeds == (3, 4)
    assert found.first == pytest.approx(np.mean([run.value("dice_foreground_mean") for run in first]))
    assert found.difference == pytest.approx(found.second - found.first)
    assert 0 < found.low < found.difference < found.high


def test_seeds_that_differ_make_an_interval_wider_and_more_seeds_make_it_narrower():
    def spread(*gains):
        low, high = intervals([random_run(0, gain=gain) for gain in gains], metrics=["recall"])["recall"]
        return high - low

    assert spread(0.0) < spread(0.0, 0.15)
    assert spread(0.0, 0.15, 0.0, 0.15, 0.0, 0.15, 0.0, 0.15) < spread(0.0, 0.15)
    assert spread(0.0) == spread(0.0, 0.0)


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    hits = 0
    for trial in range(60):
        first, second = random_run(2 * trial + 1000), random_run(2 * trial + 1001)
        difference = compare(first, second, metrics=["dice_foreground_mean"], drawings=400).differences[0]
        hits += difference.low <= 0 <= difference.high

    assert 50 <= hits <= 60


def test_images_without_lesion_count_in_neither_side_of_a_paired_test():
    healthy = [[[90, 10], [0, 0]]] * 5
    first = case_scores([*random_run(0).confusion, *healthy])
    second = case_scores([*random_run(0).confusion, *[[[100, 0], [0, 0]]] * 5])
    comparison = compare(first, second)

    assert (comparison.images, comparison.with_lesion) == (35, 30)
    assert (comparison.better, comparison.worse, comparison.p_value) == (0, 0, 1)
    assert comparison.of("false_lesion_share").difference == -1


def test_other_masks_of_the_same_images_are_not_compared():
    first = case_scores([[[90, 0], [2, 8]]] * 2)
    second = case_scores([[[90, 0], [2, 8]], [[90, 0], [2, 18]]])

    with pytest.raises(ValueError, match=r"masks of 1 of 2 images differ \(first: case_1, 10 and 20 lesion pixels\)"):
        compare(first, second)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_spec):
    """A run with two lesion classes, one of them named like a metric."""
    root = tmp_path_factory.mktemp("three")
    for index in range(15):
        mask = np.zeros((40, 48), dtype=np.uint8)
        mask[index : index + 14, 8:24] = 1
        mask[5:15, 30 + index % 5 : 42] = 2
        image = np.random.default_rng(index).integers(0, 60, (40, 48, 3), dtype=np.uint8) + 90 * mask[..., None]
        for name, pixels in (("images", image), ("masks", mask)):
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"case_{index:02d}.png")
    out = root / "run"
    options = ["--set", "num_classes=3", "--mask-values", "0,1,2", "--class-names", "background,foreground,tool"]
    assert (
        train_main(
            [tiny_spec, "--data", str(root), "--out", str(out), *QUICK, *options, "--epochs", "6", "--set", "lr=0.02"]
        )
        == 0
    )
    return out


def compared(capsys, *words):
    assert evaluate_main([str(word) for word in ("--compare", *words, "--json")]) == 0
    content = json.loads(capsys.readouterr().out)
    return {each["metric"]: each for each in content["differences"]}


def test_classes_named_like_metrics_are_compared_beside_them(run, capsys):
    found = compared(capsys, run, run)

    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert {"class/foreground/dice_mean", "class/tool/dice_mean", "dice_foreground_mean"} <= found.keys()
    assert found.keys() == {name for name in found if metrics[name] is not None}
    assert found["dice_foreground_mean"]["first"] == pytest.approx(metrics["dice_foreground_mean"])
    assert {each["difference"] for each in found.values()} == {0}


def test_compare_honours_the_size(run, capsys):
    stored, smaller = compared(capsys, run, run), compared(capsys, run, run, "--size", "16")

    assert evaluate_main([str(run), "--size", "16", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    name = "dice_foreground_pooled"
    assert smaller[name]["first"] == smaller[name]["second"] == pytest.approx(alone[name])
    assert smaller[name]["first"] != stored[name]["first"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "w.safetensors"], "--weights is for MODEL: with --compare name run folders or zoo names"),
        (["--size", "0"], "--size must be at least 1, got 0"),
    ],
    ids=["weights", "size"],
)
def test_compare_refuses_what_it_cannot_honour(options, message, capsys):
    with pytest.raises(SystemExit) as caught:
        evaluate_main(["--compare", "a", "b", *options])

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_comparison_fits_80_columns(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert evaluate_main(["--compare", str(run), str(run)]) == 0

    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert any(line.startswith("class/foreground/dice_mean ") for line in lines)
    assert max(len(line.rstrip()) for line in lines if not line.startswith(("A: ", "B: "))) <= 80
