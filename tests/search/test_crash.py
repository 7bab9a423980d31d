"""A search that is killed at any moment loses nothing that was finished and trains nothing finished again."""

import os
import random
import shutil
import signal

import optuna
import pytest

from tests.search.killing import crash, start, trials_of

KILLS = int(os.environ.get("LMNET_KILLS", "20"))
"""Kills for each number of workers in the slow test."""


def test_a_killed_search_goes_on(tmp_path):
    crash(f"sqlite:///{tmp_path}/study.db", tmp_path, 1, random.Random(1))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_killed_at_random_moments_goes_on(tmp_path, workers):
    rng, kills, place = random.Random(workers), 0, 0
    while kills < KILLS:
        folder = tmp_path / str(place)
        folder.mkdir()
        crash(f"sqlite:///{folder}/study.db", folder, 4, rng, workers)
        shutil.rmtree(folder)
        kills, place = kills + 4, place + 1


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    process = start(storage, tmp_path, 2)
    process.wait_for((tmp_path / "trained.log").exists)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 0, process.err
    assert "Traceback" not in process.err
    assert (tmp_path / "out" / "report.html").exists()
    assert not [trial for trial in trials_of(storage) if trial.state == optuna.trial.TrialState.RUNNING]
    crash(storage, tmp_path, 0, random.Random(0), 2)
