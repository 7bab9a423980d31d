"""Several workers: exact totals, the same study in batches, and workers that die or hang."""

import functools
import io

import optuna
import pytest
from rich.console import Console

import lmnet.search.train.pools
from lmnet.search.nets.pricing import Candidate
from lmnet.search.nets.survey import Survey
from lmnet.search.results.counts import Tally
from lmnet.search.results.progress import LiveProgress
from lmnet.search.results.summary import Overview
from lmnet.search.run_search import run
from lmnet.search.train.under_way import UnderWay
from tests.search.killing import trials_of
from tests.search.objectives import epoch_score, hanging_score, killing_score, width_score


def table(result):
    return [(one.number, one.hash, one.score, one.epochs) for one in result.tally.scored]


@pytest.mark.parametrize("workers", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_budget_is_met_exactly(small, tmp_path, workers):
    result = run(small, objective=width_score, max_gflops=0.004, trials=24, workers=workers, out=tmp_path)
    assert result.tally.trials == 24
    trials = trials_of(f"sqlite:///{tmp_path}/study.db")
    done = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(done) == len({trial.user_attrs["hash"] for trial in done}) == 24
    assert all(value <= 0 for trial in done for value in trial.constraints.values())
    assert not [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]


def test_in_batches_the_study_is_the_same_with_1_and_4_workers(small, tmp_path):
    options = {"objective": epoch_score, "max_gflops": 0.004, "trials": 14, "epochs": 9, "batch": 4}
    one = run(small, workers=1, out=tmp_path / "one", **options)
    four = run(small, workers=4, out=tmp_path / "four", **options)
    assert table(one) == table(four)
    assert one.tally.infeasible == four.tally.infeasible


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_net_given_up_after_three_lives(small, tmp_path):
    result = run(small, objective=killing_score, max_gflops=0.004, trials=6, workers=2, out=tmp_path, sampler="random")
    assert result.tally.trials == 6
    assert result.tally.cut_off == 3  # the start
    trials = trials_of(f"sqlite:///{tmp_path}/study.db")
    dead = [trial for trial in trials if trial.user_attrs.get("result", {}).get("reason") == "worker died"]
    assert "signal 9" in dead[0].user_attrs["result"]["error"]


@pytest.mark.slow
def test_a_worker_that_hangs_in_one_call_is_killed(small, tmp_path, monkeypatch):
    monkeypatch.setattr(lmnet.search.train.pools, "GRACE_S", 1.0)
    options = {"objective": hanging_score, "max_gflops": 0.004, "trials": 3, "workers": 2, "sampler": "random"}
    result = run(small, trial_timeout_s=1.0, out=tmp_path, **options)
    assert result.tally.trials == 3
    assert result.tally.failed["time-out"] >= 1


def test_the_progress_names_each_training_its_place_and_its_epoch(small, tmp_path, monkeypatch):
    monkeypatch.setattr("lmnet.search.train.loop.WATCH_S", 0.0)  # these trainings take less than that
    seen, screen = [], io.StringIO()
    seen_by_people = functools.partial(epoch_score, pause_s=0.05)  # the screen changes twice a second
    options = {"objective": seen_by_people, "max_gflops": 0.004, "trials": 6, "workers": 2, "out": tmp_path}
    with LiveProgress(Console(force_terminal=True, file=screen, width=120)) as progress:

        def note(counts):
            seen.extend(counts.under_way)
            progress.update(counts)

        run(small, on_overview=progress.overview, on_progress=note, **options)

    assert {one.place for one in seen} == {"worker 1", "worker 2"}
    assert {one.epoch for one in seen} >= {0, 1}
    assert all(one.seconds >= 0 and len(one.hash) == 16 for one in seen)
    assert "worker 1" in screen.getvalue()


def test_a_line_tells_of_each_trial_where_stderr_is_no_terminal(small, tmp_path, monkeypatch):
    monkeypatch.setattr("lmnet.search.train.loop.WATCH_S", 0.0)
    log = io.StringIO()
    progress = LiveProgress(Console(force_terminal=False, file=log, width=80))
    options = {"objective": epoch_score, "max_gflops": 0.004, "trials": 3, "workers": 1, "out": tmp_path}
    run(small, on_overview=progress.overview, on_progress=progress.update, **options)
    lines = [line for line in log.getvalue().splitlines() if line.startswith("trials ")]
    assert lines[-1].split()[1] == "3/3"
    assert len(lines) == len({line.split()[1] for line in lines}) >= 3  # one a trial, as none took a minute
    assert "best  " in lines[-1]

    monkeypatch.setattr("lmnet.search.results.progress.QUIET_S", 0.0)
    training = UnderWay(3, "0" * 16, "worker 1", 2, 65.0)
    progress.update(Tally(3, {}, 0, 1, 0, (), under_way=(training,)))
    assert log.getvalue().splitlines()[-1].endswith("training 3 epoch 2 1:05")
    progress.update(Tally(3, {}, 0, 512, 0, (), under_way=(training,) * 512))
    assert log.getvalue().splitlines()[-1].endswith("3 epoch 2 1:05 and 504 more")
    progress.update(Tally(3, {}, 0, 0, 0, (), confirming=(1, 6)))
    assert log.getvalue().splitlines()[-1] == "confirming the result: training runs 1/6"


@pytest.mark.parametrize(
    ("timeout_s", "texts"),
    [
        (600.0, ["at most 10:00 left", "at most 8:00 left", "at most 4:00 left"]),
        (None, ["", "about 6:00 left for trials", "about 2:00 left for trials"]),
    ],
)
def test_the_time_that_is_shown_is_either_until_the_deadline_or_that_of_the_trials(monkeypatch, timeout_s, texts):
    now, log = [0.0], io.StringIO()
    monkeypatch.setattr("lmnet.search.results.progress.time.monotonic", lambda: now[0])
    progress = LiveProgress(Console(force_terminal=False, file=log, width=200))
    net = Candidate((0,), "a", {"gmacs": 1.0, "params": 10}, {})
    progress.overview(Overview(Survey(9, net, net, 1.0, net), 4, None, timeout_s))
    for now[0], trials in ((0.0, 0), (120.0, 1), (360.0, 3)):
        progress.update(Tally(trials, {}, 0, 2, 0, ()))

    heads = [f"trials {trials}/4  running 2  failed 0  infeasible 0" for trials in (0, 1, 3)]
    lines = [line for line in log.getvalue().splitlines() if line.startswith("trials ")]
    assert lines == [f"{head}  {text}".rstrip() for head, text in zip(heads, texts, strict=True)]
