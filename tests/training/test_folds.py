"""Cross-validation: each image is scored once by a net that has not seen its patient; the nets together predict."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lmnet.training import load_data, open_model
from lmnet.training.cli_predict import main as predict
from lmnet.training.cli_train import main as train
from lmnet.training.metrics.store import CaseScores
from lmnet.training.prediction.ensemble import Ensemble
from lmnet.training.runs.folds import fold_splits, joined_scores

TINY = str(Path(__file__).with_name("tiny.yaml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of 20 images of 10 patients."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    rows = ["image,mask,group"]
    for index in range(20):
        rng = np.random.default_rng(index)
        mask = np.zeros((32, 32), np.uint8)
        mask[8 : 18 + index % 5, 6:20] = 255
        image = rng.integers(20, 80, (32, 32, 3), dtype=np.uint8)
        image[mask > 0] = (200, 90, 90)
        Image.fromarray(image).save(folder / f"i{index}.png")
        Image.fromarray(mask).save(folder / f"m{index}.png")
        rows.append(f"i{index}.png,m{index}.png,patient {index // 2}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "cv"
    words = [TINY, "--data", str(data), "--folds", "3", "--out", str(out), "--epochs", "1", "--size", "32"]
    words += ["--workers", "0", "--device", "cpu", "--threads", "1"]
    assert train(words) == 0
    return words, out


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_every_patient_is_in_one_fold_and_never_on_two_sides(count):
    sets = load_data("synthetic", count=40)
    for index, case in enumerate(sets.cases.cases):
        case.group, case.stratum = f"patient {index // 4}", "a" if index < 8 else "b"
    group_of = {case.name: case.group for case in sets.cases.cases}
    splits = fold_splits(sets, count, seed=0)
    assert sorted(name for split in splits for name in split.test) == sorted(sets.cases.names)
    for split in splits:
        sides = [{group_of[name] for name in side} for side in (split.train, split.val, split.test)]
        assert all(sides)
        assert sum(map(len, sides)) == len(set.union(*sides)) == 10


@pytest.mark.parametrize("count", [0, 1, 9, 40])
def test_folds_need_enough_patients(count):
    sets = load_data("synthetic", count=10)
    with pytest.raises(ValueError, match=rf"--folds: between 2 and 8 folds can be made of 10 .*, got {count}\."):
        fold_splits(sets, count, seed=0)


def test_the_scores_are_of_all_images_each_once(trained, data):
    _, out = trained
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["out_of_fold"]["images"] == 20
    assert len(metrics["dice_by_fold"]) == 3
    names = json.loads((out / "scores.json").read_text())["out_of_fold"]["names"]
    assert len(set(names)) == 20
    for fold in (1, 2, 3):
        split = json.loads((out / f"fold-{fold}" / "split.json").read_text())
        assert set(json.loads((out / f"fold-{fold}" / "scores.json").read_text())["test"]["names"]) == set(
            split["test"]
        )


def test_the_same_command_trains_nothing_again(trained, capsys):
    words, out = trained
    before = {path: path.stat().st_mtime_ns for path in out.rglob("best.safetensors")}
    assert train([*words, "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("is finished already") == 3
    assert json.loads(printed.out)["run"] == str(out)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("best.safetensors")}
    assert train([*words, "--seed", "1"]) == 2
    assert "another cross-validation has this folder (seed differ). Use another --out." in capsys.readouterr().err


def test_the_nets_predict_together(trained, data, tmp_path, capsys):
    _, out = trained
    assert predict([str(out), str(data.parent / "i0.png"), "--out", str(tmp_path / "masks"), "--device", "cpu"]) == 0
    opened = open_model(out)
    assert len(opened.model.nets) == 3
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        mean = torch.stack([net(image).softmax(1) for net in opened.model.nets]).mean(0)
        assert torch.allclose(opened.model(image).softmax(1), mean, atol=1e-6)
    assert predict([str(out), str(data.parent / "i0.png"), "--runtime", "onnxruntime"]) == 2
    assert "run in torch together, got onnxruntime" in capsys.readouterr().err


def test_one_net_learns_from_all(trained, data, tmp_path):
    words, out = trained
    start = [word for word in words if word not in ("--folds", "3", str(out), "--out")]
    assert train([*start, "--teacher", str(out), "--out", str(tmp_path / "one")]) == 0


def test_a_folder_of_folds_is_no_single_net(trained, capsys):
    words, out = trained
    assert train([str(out), *words[1:3], "--out", "x"]) == 2
    assert "it holds one net for each fold." in capsys.readouterr().err
    assert train([TINY, *words[1:3], "--weights", str(out)]) == 2
    assert f"give one of them, such as {out / 'fold-1'}" in capsys.readouterr().err


def test_a_fold_that_is_missing_is_named(trained, tmp_path):
    import shutil

    copy = tmp_path / "cv"
    shutil.copytree(trained[1], copy)
    (copy / "fold-2" / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"fold-2 of 3 is not trained to the end\. Run the same command again"):
        open_model(copy)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split-scheme", "authors"], "--folds: it makes its own splits, got --split-scheme. Leave"),
        (["--folds", "1"], "between 2 and 8 folds can be made of 10 images or patients, got 1"),
    ],
)
def test_what_does_not_go_together_is_refused(more, message, data, tmp_path, capsys):
    words = [TINY, "--data", str(data), "--folds", "3", "--out", str(tmp_path / "new"), "--size", "32", *more]
    assert train(words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_several_devices_are_refused(data, capsys):
    with pytest.raises(SystemExit):
        train([TINY, "--data", str(data), "--folds", "3", "--devices", "2"])
    assert "--folds trains in one process" in capsys.readouterr().err


def test_joined_scores_keep_every_image():
    parts = [
        CaseScores(("a",), np.ones((1, 2, 2), np.int64), {"x": np.ones(1)}),
        CaseScores(("b", "c"), np.ones((2, 2, 2), np.int64), {"x": np.zeros(2)}),
    ]
    joined = joined_scores(parts)
    assert joined.names == ("a", "b", "c")
    assert joined.figures["x"].tolist() == [1, 0, 0]


def test_an_ensemble_of_one_channel_nets_has_two_classes():
    found = Ensemble([torch.nn.Conv2d(3, 1, 1), torch.nn.Conv2d(3, 1, 1)])(torch.zeros(1, 3, 8, 8))
    assert found.shape == (1, 2, 8, 8)
