"""What was decided in training is used again, and a run is scored on its own split."""

import json

import numpy as np
import pytest
from PIL import Image

from lmnet.training.cli_eval import main as eval_main
from lmnet.training.cli_predict import main as predict_main
from lmnet.training.cli_train import main as train_main

QUICK = ["--epochs", "1", "--size", "32", "--threads", "1", "--workers", "0"]
BOX = np.zeros((64, 80), bool)
BOX[10:40, 20:60] = True


def write(root, index, *, values, mask, suffix="png"):
    for folder, pixels in (("images", values), ("masks", mask)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / folder / f"c{index:02d}.{suffix if folder == 'images' else 'png'}")


def twelve_bit(seed):
    rng = np.random.default_rng(seed)
    return (rng.integers(300, 600, (64, 80)) + 350 * BOX).astype(np.uint16)


@pytest.fixture(scope="module")
def twelve_bit_run(tmp_path_factory, tiny_spec):
    root = tmp_path_factory.mktemp("data")
    for index in range(12):
        write(root, index, values=twelve_bit(index), mask=(BOX * 255).astype(np.uint8))
    run = root / "run"
    assert train_main([tiny_spec, "--data", str(root), "--out", str(run), *QUICK]) == 0
    return root, run


def test_the_range_of_the_data_set_is_used_for_a_single_image(twelve_bit_run, tmp_path, capsys):
    root, run = twelve_bit_run
    bright = tmp_path / "bright.png"
    Image.fromarray(twelve_bit(0) + np.uint16(3000)).save(bright)

    assert predict_main([str(run), str(root / "images" / "c00.png"), str(bright), "--out", str(tmp_path / "out")]) == 0

    kept = json.loads((run / "data.json").read_text())["intensities"]
    assert kept[0] == pytest.approx([300, 945], abs=8)
    overlays = [np.asarray(Image.open(tmp_path / "out" / f"{name}_overlay.png")) for name in ("c00", "bright")]
    assert (overlays[1][5, 5] > 250).all()  # above the range that was decided: white, not scaled by itself
    assert overlays[0][5, 5].max() < 200


def test_an_image_of_another_kind_is_refused(twelve_bit_run, tmp_path, capsys):
    _, run = twelve_bit_run
    Image.fromarray(np.zeros((64, 80), np.uint8)).save(tmp_path / "a.png")

    assert predict_main([str(run), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 2

    assert "they have 8 bits, and the net was trained on values of 30" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_is_scored_on_its_own_split_whatever_is_there(twelve_bit_run, tmp_path, capsys):
    root, run = twelve_bit_run
    split = json.loads((run / "split.json").read_text())
    other = tmp_path / "other"
    kept = [name for name in split["test"] + split["val"] + split["train"]][:-1]
    for name in kept:
        index = int(name[1:])
        write(other, index, values=twelve_bit(index), mask=(BOX * 255).astype(np.uint8))
    write(other, 50, values=twelve_bit(50), mask=(BOX * 255).astype(np.uint8))

    assert eval_main([str(run), "--data", str(other), "--json"]) == 0

    told = capsys.readouterr()
    assert json.loads(told.out)["images"] == len(split["test"])
    assert "1 images are in no part of the run's split and are not scored: c50" in told.err


def test_missing_images_of_a_runs_split_are_named(twelve_bit_run, tmp_path, capsys):
    _, run = twelve_bit_run
    split = json.loads((run / "split.json").read_text())
    for name in split["train"]:
        write(tmp_path, int(name[1:]), values=twelve_bit(int(name[1:])), mask=(BOX * 255).astype(np.uint8))

    assert eval_main([str(run), "--data", str(tmp_path)]) == 2
    assert f"none of the run's {len(split['test'])} test images is there" in capsys.readouterr().err
    assert eval_main([str(run), "--data", str(tmp_path), "--split", "all", "--json"]) == 0
    assert f"{len(split['train'])} of the {len(split['train'])} images were trained on" in capsys.readouterr().err


@pytest.fixture(scope="module")
def four_class_run(tmp_path_factory, tiny_spec):
    root = tmp_path_factory.mktemp("classes")
    for index in range(12):
        rng = np.random.default_rng(index)
        mask = np.zeros((64, 80), np.uint8)
        mask[5:25, 5:35], mask[5:25, 45:75], mask[35:60, 5:35] = 1, 2, 3
        values = (rng.integers(0, 60, (64, 80, 3)) + 45 * mask[..., None]).astype(np.uint8)
        write(root, index, values=values, mask=mask)
    run = root / "run"
    names = ["--class-names", "ground,polyp,tool,fold stripe"]
    command = [tiny_spec, "--data", str(root), "--out", str(run), "--var", "num_classes=4", *names, *QUICK]
    assert train_main(command) == 0
    return root, run


def test_four_classes_have_names_in_every_table(four_class_run, capsys):
    _, run = four_class_run
    metrics = json.loads((run / "metrics.json").read_text())

    assert metrics["test"]["classes"] == ["ground", "polyp", "tool", "fold stripe"]
    for key in ("class/polyp/dice_mean", "class/tool/dice_pooled", "class/fold stripe/iou_pooled"):
        assert 0 <= metrics["test"][key] <= 1
        assert f"{key}_interval" in metrics["test"]
    assert "class/polyp/dice_mean" in (run / "report.html").read_text()
    capsys.readouterr()
    assert eval_main([str(run)]) == 0
    assert "class/fold stripe/dice_mean" in capsys.readouterr().out


def test_masks_of_four_classes_are_written_in_one_way(four_class_run, tmp_path, capsys):
    root, run = four_class_run
    Image.fromarray(np.zeros((64, 80, 3), np.uint8)).save(tmp_path / "empty.png")

    images = [str(root / "images" / "c00.png"), str(tmp_path / "empty.png")]
    assert predict_main([str(run), *images, "--out", str(tmp_path / "out")]) == 0

    for name in ("c00", "empty"):
        mask = Image.open(tmp_path / "out" / f"{name}_mask.png")
        assert mask.mode == "P"
        assert np.asarray(mask).max() <= 3
        colors = np.unique(np.asarray(mask.convert("RGB")).reshape(-1, 3), axis=0)
        assert len(colors) == len(np.unique(np.asarray(mask)))
    lines = capsys.readouterr().out.splitlines()
    assert all("% polyp" in line and "% tool" in line and "% fold stripe" in line for line in lines)


def test_predicting_into_the_folder_of_images_twice_predicts_the_images_only(four_class_run, tmp_path, capsys):
    _, run = four_class_run
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.zeros((64, 80, 3), np.uint8)).save(photos / "a.jpg")

    for _ in range(2):
        capsys.readouterr()
        assert predict_main([str(run), str(photos), "--out", str(photos), "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == 1
    assert len(list(photos.iterdir())) == 5  # the image, its three results and areas.csv
    assert predict_main([str(run), str(photos), "--out", str(photos / "sub"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


@pytest.mark.parametrize("count", [3, 4, 11])
def test_a_few_images_train(tmp_path, tiny_spec, count):
    for index in range(count):
        write(tmp_path, index, values=twelve_bit(index).astype(np.uint16), mask=(BOX * 255).astype(np.uint8))
    run = tmp_path / "run"

    assert train_main([tiny_spec, "--data", str(tmp_path), "--out", str(run), *QUICK, "--epochs", "2"]) == 0

    assert json.loads((run / "metrics.json").read_text())["test"]["images"] >= 1


def test_ignored_pixels_count_in_neither_loss_nor_scores():
    import torch

    from lmnet.training.fitting.losses import CrossEntropyDice
    from lmnet.training.metrics.confusion import confusion

    mask = torch.zeros(1, 8, 8, dtype=torch.long)
    mask[:, :4], mask[:, 6:] = 1, 255
    logits = torch.randn(1, 2, 8, 8)
    other = logits.clone()
    other[:, :, 6:] = torch.randn(1, 2, 2, 8) * 9

    loss = CrossEntropyDice(use_background=True)

    assert loss(logits, mask) == loss(other, mask)
    assert torch.isfinite(loss(logits, torch.full_like(mask, 255).clone().index_fill_(1, torch.tensor([0]), 1)))
    assert confusion(logits.argmax(1), mask, 2).sum() == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split-scheme", "authors"], "a run is scored on its own split, got --split-scheme authors. Leave it out"),
        (["--fold", "2"], "got --fold 2"),
        (["--split-by", "image", "--seed", "3"], "got --split-by image, --seed 3. Leave it out, or give --split-file."),
        (["--mask-values", "255,0"], "its masks were read as --mask-values 0,255 in training, got 255,0"),
        (["--class-names", "lesion,background"], "the classes of tiny are background, lesion, got lesion, background"),
    ],
)
def test_what_contradicts_a_run_is_refused_by_name(twelve_bit_run, options, message, capsys):
    _, run = twelve_bit_run

    assert eval_main([str(run), *options]) == 2

    assert message in capsys.readouterr().err


def test_what_a_run_was_trained_with_may_be_said_again(twelve_bit_run, tmp_path, tiny_spec, capsys):
    root, run = twelve_bit_run
    same = ["--mask-values", "0,255", "--class-names", "background,lesion", "--seed", "0", "--split-by", "patient"]
    assert eval_main([str(run), *same, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] >= 1

    folds = ["--split-scheme", "authors", "--fold", "2"]
    other = tmp_path / "run"
    assert train_main([tiny_spec, "--data", str(root), "--out", str(other), *QUICK, *folds]) == 0
    assert eval_main([str(other), *folds]) == 0


def test_images_of_a_split_file_that_were_trained_on_are_counted(twelve_bit_run, tmp_path, capsys):
    _, run = twelve_bit_run
    split = json.loads((run / "split.json").read_text())
    swapped = {"train": [*split["test"], *split["train"][4:]], "val": split["val"], "test": split["train"][:4]}
    (tmp_path / "split.json").write_text(json.dumps(swapped))

    assert eval_main([str(run), "--split-file", str(tmp_path / "split.json")]) == 0

    assert "4 of these 4 images were trained on" in capsys.readouterr().err


def test_classes_without_names_are_named_in_a_prediction(tmp_path, capsys):
    import torch

    import lmnet

    torch.save(lmnet.create_model("lmnet_xxs").state_dict(), tmp_path / "w.pth")
    Image.fromarray(np.zeros((64, 80, 3), np.uint8)).save(tmp_path / "a.png")
    command = ["lmnet_xxs", "--weights", str(tmp_path / "w.pth"), str(tmp_path / "a.png"), "--out", str(tmp_path / "o")]

    assert predict_main([*command, "--class-names", "nothing,polyp"]) == 0
    assert "polyp" in (tmp_path / "o" / "areas.csv").read_text()
    assert predict_main([*command, "--class-names", "nothing,polyp,tool"]) == 2
    assert "lmnet_xxs has 2 classes with the background, got 3" in capsys.readouterr().err
