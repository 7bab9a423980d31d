"""Options that each work alone work together: every pair trains, or is refused in one line before work begins."""

import os
import subprocess
import sys

import pytest

from lmnet.builder.models import build_model, save_pretrained
from lmnet.builder.spec import load_spec
from lmnet.training.cli_train import main
from lmnet.training.runs import train_run as module
from tests.training import option_pairs
from tests.training.option_pairs import FACTORS, TINY, command, pairs, rows, write_data

ROWS = rows()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Data, a net to start from, and a teacher for each number of classes and channels."""
    place = tmp_path_factory.mktemp("pairs")
    write_data(place)
    for classes in FACTORS["classes"]:
        for channels in FACTORS["channels"]:
            spec = load_spec(TINY).override({"num_classes": classes, "input.channels": channels})
            save_pretrained(build_model(spec), place / f"teacher{classes}{channels}")
    save_pretrained(build_model(load_spec(TINY)), place / "first")
    return place


def test_the_rows_hold_every_pair_of_values():
    values = [(name, value) for name, values in FACTORS.items() for value in values]
    wanted = {(a, b) for i, a in enumerate(values) for b in values[i + 1 :] if a[0] != b[0]}
    assert set().union(*map(pairs, ROWS)) == wanted
    assert len(ROWS) <= 16


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row.values())))
def test_a_row_of_options_trains(root, row, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "write_report", lambda *args, **options: None)  # takes longer than the training
    monkeypatch.setattr(module, "draw_curves", lambda history: b"")
    monkeypatch.setattr(module, "_cost", lambda model, size: "")

    assert main(command(root, row, tmp_path / "run")) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"precision": "16-mixed"}, [], "precision=16-mixed needs a GPU, got the CPU. Set precision=bf16-mixed"),
        ({"channels": 4}, [], "the images have 3 channels and the net takes 4"),
        ({"teacher": True}, ["--set", "input.channels=1"], "it has 3 channels and the net that learns 1. Give --set"),
        ({"classes": 3}, ["--teacher", "TEACHER"], "it has 2 classes and the net that learns 3. Give --set"),
        ({"classes": 3}, ["--set", "class_weights=[1,4]"], "class_weights has 2 values and the net 3 classes"),
        ({}, ["--nodes", "2"], "2 machines need MASTER_ADDR, MASTER_PORT and NODE_RANK"),
        ({}, ["--device", "cuda:0", "--devices", "2"], "device: "),
        ({}, ["--device", "gpu"], "it must be auto, cpu, cuda or cuda:N, got device='gpu'. Use cuda."),
        ({}, ["--recipe", "smallmachine"], "Did you mean small_machine?"),
        ({}, ["--set", "learning_rate=1"], "neither the recipe nor the spec has 'learning_rate'. Did you mean lr?"),
        ({}, ["--set", "in_chans=1"], "Did you mean input.channels?"),
        ({}, ["--set", "classes=3"], "Did you mean num_classes?"),
        ({}, ["--pretrained-encoder"], "it has 0 timm_encoder nodes"),
        ({}, ["--weights", "TEACHER", "--pretrained-encoder"], "it has 0 timm_encoder nodes"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_in_one_line_before_work(root, change, words, message, tmp_path, capsys):
    plain = {name: values[0] for name, values in FACTORS.items()}
    words = [str(root / "teacher23") if word == "TEACHER" else word for word in words]

    assert main([*command(root, {**plain, **change}, tmp_path / "run"), *words]) == 2

    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("note: ", "weights: "))]
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "run").exists()


def test_an_average_follows_where_an_epoch_has_fewer_batches_than_a_step(drawn, tiny_net):
    import torch

    from lmnet.training import Recipe, fit

    recipe = Recipe(size=32, epochs=2, batch_size=8, accumulate=100, ema_decay=0.5)
    net = tiny_net()
    before = {key: value.clone() for key, value in net.state_dict().items()}

    result = fit(net, drawn, recipe, device="cpu")

    average = result.state.average
    assert not any(torch.equal(value, average[f"module.{key}"]) for key, value in before.items() if "weight" in key)


@pytest.mark.slow
def test_rows_of_options_train_with_two_processes(root):
    """One pair of processes trains four rows one after another; starting them takes longer than the training."""
    done = subprocess.run(
        [sys.executable, option_pairs.__file__, str(root)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(ROWS[::4]), done.stderr
    assert [line.split()[1] for line in lines] == ["0"] * len(lines), done.stdout
