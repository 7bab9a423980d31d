"""What must stay from version to version: hashes of specs, run folders and study folders of earlier versions."""

import json
import random
import shutil
from pathlib import Path

import optuna
import pytest

import lmnet
from lmnet.builder.planner import Planner, plan_spec
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.search.nets.space import Space
from lmnet.training import load_data
from lmnet.training.cli_train import main as train
from tests.search.conftest import SMALL
from tests.search.killing import trials_of
from tests.search.objectives import width_score

DATA = Path(__file__).parent / "data"
TINY = Path(__file__).parent / "training" / "tiny.yaml"
HASHES = json.loads((DATA / "hashes.json").read_text())
AT_ONCE = 4
"""Nets of each space in the default tests; all of them in the slow ones."""


@pytest.mark.parametrize("name", HASHES["zoo"])
def test_a_zoo_net_keeps_its_hash(name):
    assert plan_spec(load_spec(name)).hash == HASHES["zoo"][name]


def hashes_of(name, count):
    spec = load_spec(name)
    if name in HASHES["spaces"]:  # the spec's space is another one now, and its old variables still mean the same
        spec = parse_spec(spec.dump().split("\nsearch:")[0] + "\n" + HASHES["spaces"][name])
    space, planner, rng = Space(spec), Planner(spec), random.Random(name)
    return [planner.plan(space.values(space.sample(rng))).hash for _ in range(count)]


@pytest.mark.parametrize("name", HASHES["random"])
def test_random_nets_keep_their_hash(name):
    assert hashes_of(name, AT_ONCE) == HASHES["random"][name].split()[:AT_ONCE]


@pytest.mark.slow
def test_a_thousand_random_nets_keep_their_hash():
    kept = {name: hashes.split() for name, hashes in HASHES["random"].items()}
    assert sum(map(len, kept.values())) >= 1000
    assert {name: hashes_of(name, len(hashes)) for name, hashes in kept.items()} == kept


def test_a_study_of_an_earlier_version_is_resumed(tmp_path):
    shutil.copytree(DATA / "old_study", tmp_path / "study")

    result = lmnet.search.run(
        parse_spec(SMALL), objective=width_score, max_gflops=0.004, trials=6, out=tmp_path / "study"
    )

    storage = f"sqlite:///{tmp_path}/study/study.db"
    with_score = [trial for trial in trials_of(storage) if trial.state == optuna.trial.TrialState.COMPLETE]
    assert result.tally.trials == len(with_score) == 6
    assert len({trial.user_attrs["hash"] for trial in with_score}) == 6
    assert sum("memory_mib" not in trial.user_attrs for trial in with_score) == 4  # the earlier version's


def test_a_run_of_an_earlier_version_is_resumed(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(DATA / "old_run", run)
    before = (run / "log.csv").read_text()
    manifest = json.loads((run / "run.json").read_text())
    manifest["fingerprint"] = load_data("synthetic").fingerprint  # NumPy's version decides the pixels that are drawn
    (run / "run.json").write_text(json.dumps(manifest))

    options = ["--data", "synthetic", "--out", str(run), "--size", "32", "--epochs", "3", "--batch-size", "16"]
    assert train([str(TINY), *options, "--device", "cpu", "--workers", "0", "--threads", "1"]) == 0

    after = (run / "log.csv").read_text()
    assert before.count("\n") == 3  # the heading and 2 epochs
    assert after.startswith(before)
    assert after.count("\n") == 4
    assert (run / "report.html").exists()
