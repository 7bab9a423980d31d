import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmnet.training.cli_eval import main as evaluate_main
from lmnet.training.cli_predict import main as predict_main
from lmnet.training.cli_train import main as train_main
from lmnet.training.metrics.conventions import CONVENTIONS

QUICK = ["--size", "32", "--epochs", "2", "--batch-size", "4", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for index in range(15):
        image = np.random.default_rng(index).integers(0, 90, (40, 48, 3), dtype=np.uint8)
        mask = np.zeros((40, 48), dtype=np.uint8)
        mask[index : index + 14, 8:24] = 255
        image[mask > 0] += 120
        for name, pixels in (("images", image), ("masks", mask)):
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"case_{index:02d}.png")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory, tiny_spec):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert train_main([tiny_spec, "--data", str(folder), "--out", str(out), *QUICK]) == 0
    return out


def test_a_run_folder_holds_all_that_the_run_was(run):
    names = {path.name for path in run.iterdir()}

    assert names == {
        *("run.json", "spec.yaml", "recipe.yaml", "split.json", "data.json", "log.csv", "tensorboard", "curves.png"),
        *("best.safetensors", "last.ckpt", "metrics.json", "scores.json", "report.html"),
    }
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["recipe"]["epochs"] == 2
    assert manifest["versions"]["torch"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["images"] == 2
    assert set(CONVENTIONS) <= set(metrics["test"])


def test_a_net_that_cannot_be_timed_says_why_in_its_report(tmp_path, folder, tiny_spec, monkeypatch):
    def refuse(model, **options):
        raise RuntimeError("the output differs")

    monkeypatch.setattr("lmnet.training.runs.train_run.optimize_for_inference", refuse)

    assert train_main([tiny_spec, "--data", str(folder), "--out", str(tmp_path / "run"), *QUICK]) == 0

    assert "re-parameterised; not timed: the output differs" in (tmp_path / "run" / "report.html").read_text()


def test_the_report_opens_by_itself(run):
    page = (run / "report.html").read_text()
    sources = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            sources.extend(value for key, value in attrs if key in ("src", "href"))

    Reader().feed(page)

    assert len(sources) >= 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "dice_foreground_mean" in page
    assert re.search(r"cost of an image.*[\d,]+ parameters, [\d.]+ GMACs at 32x32, re-parameterised; [\d.]+ ms", page)
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)


def test_the_same_command_again_prints_the_same_and_the_folder_last(run, folder, tiny_spec, capsys):
    command = [tiny_spec, "--data", str(folder), "--out", str(run), *QUICK]

    assert train_main(command) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(run)
    assert "dice_foreground_mean" in captured.out
    assert "finished already" in captured.err

    assert train_main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {**json.loads((run / "metrics.json").read_text()), "run": str(run)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--epochs", "1"], "another run has this folder: epochs was 2, not 1. Leave --out out"),
        (["--seed", "1"], "seed was 0, not 1"),
        (["--var", "width=16"], "another net, by its variables or its nodes"),
        (["--data", "synthetic"], "other images, masks or another split"),
    ],
    ids=["recipe", "seed", "spec", "data"],
)
def test_a_folder_of_another_run_is_refused(run, folder, tiny_spec, capsys, change, message):
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}

    assert train_main([tiny_spec, "--data", str(folder), "--out", str(run), *QUICK, *change]) == 2

    assert message in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_folder_of_a_run_from_other_weights_is_refused(run, folder, tiny_spec, capsys):
    weights = run / "best.safetensors"

    assert train_main([tiny_spec, "--data", str(folder), "--out", str(run), *QUICK, "--weights", str(weights)]) == 2

    assert "it started from random, not from best.safetensors" in capsys.readouterr().err


def test_a_training_starts_from_the_weights_of_a_run_folder_or_a_zoo_name(run, tmp_path, folder, tiny_spec, capsys):
    for spec, weights, name in (
        (tiny_spec, str(run), "best.safetensors"),
        ("lmnet_xxs", "lmnet_xxs@synthetic", "lmnet_xxs@synthetic.safetensors"),
    ):
        out = ["--out", str(tmp_path / name), *QUICK, "--epochs", "1"]
        assert train_main([spec, "--data", str(folder), "--weights", weights, *out]) == 0

        assert f", weights: {name} " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--weights", "lmnet_xsx"], "no net of this name. Check the path, or name one of"),
        (["--weights", "unet"], "unet: the zoo has no weights of it trained on kvasir"),
        (["--set", "epoch=3"], "--set epoch: neither the recipe nor the spec has 'epoch'. Did you mean epochs?"),
        (["--set", "lr"], "must look like key=value"),
        (["--recipe", "papr"], "must be one of default, fine_tune, paper"),
        (["--var", "wdth=3"], "wdth"),
        (["--data", "/nowhere"], "/nowhere: there is no such file or folder"),
        (["--split-file", "/nowhere.json"], "/nowhere.json: there is no such file"),
        (["--device", "cuda:9"], "device: this machine has 0 GPUs, got device='cuda:9'"),
        (["--var", "num_classes=3"], "no mask has a pixel of class 2"),
        (["--weights", "/nowhere.safetensors"], "/nowhere.safetensors"),
        (["--split-scheme", "authors", "--fold", "7"], "fold must be 0 to 4"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_ends_with_2_and_one_line_and_writes_nothing(tmp_path, folder, tiny_spec, capsys, change, message):
    out = tmp_path / "run"

    code = train_main([tiny_spec, "--data", str(folder), "--out", str(out), *QUICK, *change])

    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not out.exists()


def test_an_unknown_spec_is_refused(tmp_path, capsys):
    assert train_main(["lmnet_xss", "--out", str(tmp_path / "run")]) == 2
    assert "Did you mean lmnet_x" in capsys.readouterr().err


def test_a_folder_with_other_files_is_not_written_to(tmp_path, folder, tiny_spec, capsys):
    (tmp_path / "thesis.txt").write_text("mine")

    assert train_main([tiny_spec, "--data", str(folder), "--out", str(tmp_path), *QUICK]) == 2

    assert "must have a new folder or its own" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_every_problem_of_the_data_is_on_stderr(tmp_path, tiny_spec, write_folder, capsys):
    root = write_folder(tmp_path / "data")
    (root / "masks" / "case_00.png").unlink()
    (root / "images" / "case_01.png").write_bytes(b"junk")

    assert train_main([tiny_spec, "--data", str(root), "--out", str(tmp_path / "run")]) == 2

    error = capsys.readouterr().err
    assert "images/case_00.png" in error
    assert "images/case_01.png" in error


def test_evaluation_of_a_run_gives_the_runs_own_metrics(run, capsys):
    assert evaluate_main([str(run), "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((run / "metrics.json").read_text())["test"]
    assert {key: printed[key] for key in stored} == stored


def test_evaluation_prints_the_stable_keys(run, folder, capsys):
    assert evaluate_main([str(run), "--data", str(folder), "--split", "all", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["images"] == 15
    for key in (
        *("dice_foreground_mean", "dice_foreground_pooled", "dice_macro_pooled", "iou_foreground_pooled"),
        *("iou_macro_pooled", "precision", "recall", "hd95_mean"),
    ):
        low, high = printed[f"{key}_interval"]
        assert low <= printed[key] <= high


def test_a_spec_is_evaluated_with_its_weights_on_other_data(run, tiny_spec, capsys):
    weights = ["--weights", str(run / "best.safetensors")]

    assert evaluate_main([tiny_spec, *weights, "--data", "synthetic", "--split", "val"]) == 0

    assert "tiny on synthetic, images at 32 px" in capsys.readouterr().out


def test_two_runs_are_compared_image_by_image(run, folder, tmp_path, tiny_spec, capsys):
    other = tmp_path / "other"
    assert train_main([tiny_spec, "--data", str(folder), "--out", str(other), *QUICK, "--set", "lr=0.05"]) == 0
    capsys.readouterr()

    assert evaluate_main(["--compare", str(run), str(other), "--json"]) == 0
    stored = json.loads(capsys.readouterr().out)
    assert evaluate_main(["--compare", str(run), str(other), "--data", str(folder)]) == 0

    assert stored["images"] == 2
    assert stored["differences"][0]["metric"] == "dice_foreground_mean"
    assert "2 images: B is better on" in capsys.readouterr().out


def test_scores_of_other_images_are_not_compared(run, folder, tmp_path, tiny_spec, capsys):
    other = tmp_path / "other"
    assert train_main([tiny_spec, "--data", str(folder), "--out", str(other), *QUICK, "--seed", "1"]) == 0

    assert evaluate_main(["--compare", str(run), str(other)]) == 2
    assert "the two were scored on different images: their test sets are " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["unet"], "unet: the zoo has no weights of it trained on kvasir. It has weights for: "),
        (["RUN", "--weights", "/nowhere.safetensors"], "/nowhere.safetensors"),
        (
            ["SPEC", "--weights", "WEIGHTS"],
            "which data to score it on is not known, as it is no run folder. Give --data PATH.",
        ),
        (["unet", "--weights", "WEIGHTS", "--data", "synthetic"], "the weights do not fit the model"),
        (["."], ".: the folder is no model; it holds "),
        (["--compare", "RUN", "RUN", "--split", "train"], "a run stores scores of val, test, none of train."),
        (
            ["--compare", "RUN", "lmnet_xxs"],
            "lmnet_xxs is no finished run, so it has no stored scores. Give --data PATH",
        ),
    ],
    ids=["no weights", "absent weights", "no data", "another model", "no run", "no stored scores", "no finished run"],
)
def test_what_cannot_be_evaluated_is_refused(run, tiny_spec, capsys, command, message):
    places = {"RUN": str(run), "SPEC": tiny_spec, "WEIGHTS": str(run / "best.safetensors")}

    assert evaluate_main([places.get(word, word) for word in command]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--threads", "0"], ["--devices", "0"], ["--nodes", "0"], ["--workers", "-1"]])
def test_counts_out_of_range_are_usage_errors(tiny_spec, option, capsys):
    with pytest.raises(SystemExit) as caught:
        train_main([tiny_spec, *option])
    assert caught.value.code == 2
    assert f"{option[0]} must be at least" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["run", "--compare", "a", "b"], ["run", "--batch-size", "0"]])
def test_evaluation_without_one_model_is_a_usage_error(command):
    with pytest.raises(SystemExit) as caught:
        evaluate_main(command)
    assert caught.value.code == 2


def test_prediction_writes_masks_maps_and_overlays_at_the_pictures_size(run, folder, tmp_path, capsys):
    sub = tmp_path / "in" / "deep"
    sub.mkdir(parents=True)
    Image.new("L", (61, 37), 90).save(sub / "grey.tif")

    code = predict_main(
        [
            str(run),
            str(folder / "images" / "case_00.png"),
            str(tmp_path / "in"),
            "--out",
            str(tmp_path / "out"),
            "--json",
        ]
    )

    rows = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [row["mask"] for row in rows] == [
        str(tmp_path / "out" / "case_00_mask.png"),
        str(tmp_path / "out" / "deep" / "grey_mask.png"),
    ]
    mask, probability, overlay = (pixels(rows[0][kind]) for kind in ("mask", "probability", "overlay"))
    assert mask.shape == probability.shape == overlay.shape[:2] == (40, 48)
    assert set(np.unique(mask)) <= {0, 255}
    assert ((probability > 128) <= (mask == 255)).all()
    assert pixels(rows[1]["mask"]).shape == (37, 61)


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


def test_prediction_does_not_depend_on_batches_and_workers(run, folder, tmp_path):
    images = [str(folder / "images")]
    for out, options in (("a", []), ("b", ["--batch-size", "3", "--workers", "1"])):
        assert predict_main([str(run), *images, "--out", str(tmp_path / out), *options]) == 0

    for first in (tmp_path / "a").glob("*_mask.png"):
        assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["absent.png"], "there is no such file"),
        (["notes.txt"], "its name does not end like an image's that can be read"),
        (["d.zip"], "it is an archive; unpack it and give the folder"),
        (["empty"], "the folder holds no image"),
        (["good.png", "broken.png"], "broken.png: it is no image that Pillow can read"),
        (["good.png", "two/good.png"], "its results would be named good"),
    ],
)
def test_pictures_that_cannot_be_predicted_are_refused_before_anything_is_written(
    run, tmp_path, capsys, names, message
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "d.zip").write_bytes(b"PK")
    (tmp_path / "broken.png").write_bytes(b"junk")
    for name in ("good.png", "two/good.png"):
        Image.new("RGB", (33, 33)).save(tmp_path / name)

    assert predict_main([str(run), *(str(tmp_path / name) for name in names), "--out", str(tmp_path / "out")]) == 2

    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", ["cli_train", "cli_eval", "cli_predict"])
def test_help_comes_without_torch(module):
    code = (
        f"import sys; from lmnet.training.{module} import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "usage: lmnet-" in done.stdout
    assert time.perf_counter() - began < 3  # 0.1 s on an idle machine


def test_the_package_loads_late_and_says_what_it_has():
    import lmnet.training

    assert sorted(lmnet.training.__all__) == lmnet.training.__all__
    for name in lmnet.training.__all__:
        assert getattr(lmnet.training, name) is not None
    assert Path(lmnet.training.__file__).with_suffix(".pyi").is_file()
