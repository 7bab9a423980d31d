"""Start a search, kill it, start it again: what the crash tests on SQLite and PostgreSQL share."""

import time

import optuna

from lmnet.search.study.storage import open_storage
from tests.search.run_search import run_search
from tests.warm import Program

TRIALS = 24


def start(storage, folder, workers=1, cluster=None, search=run_search):
    return Program(search, storage, str(folder / "out"), TRIALS, workers, cluster)


def trials_of(storage):
    """Return the trials of a storage's only study; the connections are closed, which Python 3.13 wants."""
    with open_storage(storage) as opened:
        return optuna.load_study(study_name=None, storage=opened).trials


def scored(storage):
    done = [trial for trial in trials_of(storage) if trial.state == optuna.trial.TrialState.COMPLETE]
    return {trial.number: (trial.user_attrs["hash"], trial.value) for trial in done}


def kill_once(storage, folder, delay_s, workers=1, cluster=None, search=run_search):
    """Start the search, kill it (and its workers) some time after its first training began; return what it had."""
    process = start(storage, folder, workers, cluster, search)
    log = folder / "trained.log"
    size = log.stat().st_size if log.exists() else 0
    while process.is_running() and (log.stat().st_size if log.exists() else 0) <= size:
        time.sleep(0.01)
    time.sleep(delay_s)
    process.kill()
    return scored(storage)


def crash(storage, folder, times, rng, workers=1, cluster=None, search=run_search):
    before = {}
    for _ in range(times):
        after = kill_once(storage, folder, rng.uniform(0, 1.5), workers, cluster, search)
        assert before.items() <= after.items()  # nothing finished is lost
        before = after
        if len(before) == TRIALS:
            break
    process = start(storage, folder, workers, cluster, search)
    assert process.wait() == 0, process.err
    assert before.items() <= scored(storage).items()
    check_complete(storage, folder)


def check_complete(storage, folder, name="crash"):
    """Check that a search is complete, that no net is in it twice, and that nothing finished was trained again."""
    with open_storage(storage) as opened:
        trials = optuna.load_study(study_name=name, storage=opened).trials
    hashes = [trial.user_attrs["hash"] for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(hashes) == len(set(hashes)) == TRIALS
    assert not [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
    # each finished net was begun once more than it was cut off, never after it had finished
    begun = (folder / "trained.log").read_text().splitlines()
    ends = [line.removeprefix("end ") for line in begun if line.startswith("end ")]
    cut = sum(trial.state == optuna.trial.TrialState.FAIL for trial in trials)
    assert len(ends) - len(set(ends)) <= cut  # twice only where the kill came between the training and its record
