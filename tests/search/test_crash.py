"""A search that is killed at any moment loses nothing that was finished and trains nothing finished again."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from lmnet.search.storage import open_storage

SCRIPT = Path(__file__).with_name("run_search.py")
TRIALS = 40


def start(storage, folder, workers=1):
    environment = os.environ | {"TRAINED": str(folder / "trained.log"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), storage, str(folder / "out"), str(TRIALS), str(workers)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def load(storage):
    return optuna.load_study(study_name="crash", storage=open_storage(storage))


def scored(storage):
    study = load(storage)
    done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return {trial.number: (trial.user_attrs["hash"], trial.value) for trial in done}


def kill_once(storage, folder, delay_s, workers=1):
    """Start the search, kill it (and its workers) some time after its first training began; return what it had."""
    process = start(storage, folder, workers)
    log = folder / "trained.log"
    size = log.stat().st_size if log.exists() else 0
    while process.poll() is None and (log.stat().st_size if log.exists() else 0) <= size:
        time.sleep(0.01)
    time.sleep(delay_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return scored(storage)


def crash(storage, folder, times, rng, workers=1):
    before = {}
    for _ in range(times):
        after = kill_once(storage, folder, rng.uniform(0, 1.5), workers)
        assert before.items() <= after.items()  # nothing finished is lost
        before = after
        if len(before) == TRIALS:
            break
    process = start(storage, folder, workers)
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, output
    after = scored(storage)
    assert before.items() <= after.items()
    hashes = [hash_ for hash_, _ in after.values()]
    assert len(hashes) == len(set(hashes)) == TRIALS  # complete, and nothing twice
    study = load(storage)
    assert not [trial for trial in study.trials if trial.state == optuna.trial.TrialState.RUNNING]
    # each finished net was begun once more than it was cut off, never after it had finished
    begun = (folder / "trained.log").read_text().splitlines()
    ends = [line.removeprefix("end ") for line in begun if line.startswith("end ")]
    cut = sum(trial.state == optuna.trial.TrialState.FAIL for trial in study.trials)
    assert len(ends) - len(set(ends)) <= cut  # twice only where the kill came between the training and its record


def test_a_killed_search_goes_on(tmp_path):
    crash(f"sqlite:///{tmp_path}/study.db", tmp_path, 2, random.Random(1))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_killed_at_20_random_moments_goes_on(tmp_path, workers):
    rng, kills, place = random.Random(workers), 0, 0
    while kills < 20:
        folder = tmp_path / str(place)
        folder.mkdir()
        crash(f"sqlite:///{folder}/study.db", folder, 4, rng, workers)
        shutil.rmtree(folder)
        kills, place = kills + 4, place + 1


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    process = start(storage, tmp_path, 2)
    while not (tmp_path / "trained.log").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert (tmp_path / "out" / "report.html").exists()
    study = load(storage)
    assert not [trial for trial in study.trials if trial.state == optuna.trial.TrialState.RUNNING]
    crash(storage, tmp_path, 0, random.Random(0), 2)
