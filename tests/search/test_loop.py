"""The loop of a search: it looks at the training runs again and again, whatever else there is to do."""

import contextlib
import itertools
import time

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from lmnet.search.nets.pricing import Pricer
from lmnet.search.run_search import run
from lmnet.search.study.ledger import Ledger
from lmnet.search.study.outcome import Outcome
from lmnet.search.study.storage import open_storage
from tests.search.killing import trials_of
from tests.search.objectives import knob_score, width_score

LIMIT = 0.004


class WatchedPool:
    """Notes how many nets were priced before each poll; each training run reports at every poll.

    They end when all slots are busy.
    """

    slots = 2
    is_training_here = False

    def __init__(self, priced=()):
        self.priced, self.polls, self.submits, self.answers, self.busy = priced, [], [], [], {}

    def submit(self, slot, job):
        self.submits.append(len(self.priced))
        self.busy[slot] = job

    def poll(self, timeout_s, on_report):
        self.polls.append(len(self.priced))
        self.answers += [on_report(slot, len(self.polls), 0.5) for slot in self.busy]
        if len(self.busy) < self.slots:
            return []
        ended = [(slot, Outcome(knob_score(job.spec))) for slot, job in self.busy.items()]
        self.busy = {}
        return ended

    def place(self, slot):
        return "nowhere"

    def paused(self):
        return contextlib.nullcontext()

    def close(self):
        pass


PRICE_S = 0.02


@pytest.mark.parametrize("limit", [LIMIT, 0.001], ids=["the start is feasible", "the start is not"])
def test_the_first_choice_lets_no_training_run_wait(small, tmp_path, monkeypatch, limit):
    """As on a machine that knows no node: each net takes long to price, and the first pool has hundreds.

    What is counted are nets, so that the test does not depend on how busy the machine is.
    """
    priced, shown, plan, begun = [], [], Pricer._plan, []
    pool = WatchedPool(priced)

    def slow(pricer, point):
        if begun:
            time.sleep(PRICE_S)
        priced.append(point)
        return plan(pricer, point)

    monkeypatch.setattr(Pricer, "_plan", slow)
    options = {"objective": width_score, "max_gflops": limit, "trials": 2, "executor": lambda objective: pool}

    options |= {"on_overview": begun.append, "on_progress": lambda counts: shown.append(len(pool.polls))}

    result = run(small, out=tmp_path, **options)

    assert result.tally.trials == 2
    assert len(pool.polls) > 5
    assert max(after - before for before, after in itertools.pairwise(pool.polls)) <= 0.2 / PRICE_S
    assert pool.submits[0] - pool.polls[0] < 5 / PRICE_S
    assert max(after - before for before, after in itertools.pairwise(shown)) <= 10  # not one after the whole choice
    assert len(pool.answers) > 4
    assert not any(pool.answers)


def test_a_net_that_another_study_trains_is_trained_here_too(small, tmp_path):
    """The net was cut off here, so it comes first. The search neither waits for the other study nor claims in vain."""
    url = f"sqlite:///{tmp_path}/both.db"
    options = {"max_gflops": LIMIT, "storage": url, "timeout_s": 20}

    def interrupted(model, spec):
        raise KeyboardInterrupt

    interrupted.__qualname__, interrupted.__module__ = width_score.__qualname__, width_score.__module__
    run(small, objective=interrupted, study_name="a", trials=1, out=tmp_path / "a", **options)
    run(small, objective=width_score, study_name="b", trials=1, out=tmp_path / "b", max_gflops=0.0012, storage=url)
    with open_storage(url) as storage:
        (cut,) = optuna.load_study(study_name="a", storage=storage).trials
        other = optuna.load_study(study_name="b", storage=storage)
        attrs = {"hash": cut.user_attrs["hash"]}
        running = create_trial(state=TrialState.RUNNING, user_attrs=attrs)
        storage.record_heartbeat(storage.create_new_trial(other._study_id, running))

    result = run(small, objective=width_score, study_name="a", trials=3, out=tmp_path / "a", **options)

    assert result.tally.trials == 3
    assert result.tally.scored[0].hash == cut.user_attrs["hash"]
    with open_storage(url) as storage:
        assert len(optuna.load_study(study_name="a", storage=storage).trials) == 4


def test_a_claim_that_others_win_again_and_again_is_not_repeated_in_a_tight_loop(small, tmp_path, monkeypatch):
    pool, polls = WatchedPool(), []

    def lost(ledger, candidate):
        polls.append(len(pool.polls))
        if len(polls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "claim", lost)
    options = {"objective": width_score, "max_gflops": LIMIT, "trials": 2, "executor": lambda objective: pool}
    assert run(small, out=tmp_path, **options).is_interrupted
    assert polls == [0, 1, 2, 3]


SCALE = 1.0


def scaled_score(model, spec):
    return SCALE * knob_score(spec)


def test_a_changed_objective_of_the_same_name_scores_anew_in_another_study(small, tmp_path, monkeypatch):
    options = {"objective": scaled_score, "max_gflops": LIMIT, "trials": 3, "storage": f"sqlite:///{tmp_path}/both.db"}
    first = run(small, study_name="a", out=tmp_path / "a", **options)
    monkeypatch.setattr("tests.search.test_loop.SCALE", 100.0)

    second = run(small, study_name="b", out=tmp_path / "b", **options)

    assert second.tally.scored[0].score == pytest.approx(100 * first.tally.scored[0].score)


def test_running_trials_of_a_finished_search_are_closed(small, tmp_path):
    run(small, objective=width_score, max_gflops=LIMIT, trials=3, out=tmp_path)
    assert {trial.state for trial in trials_of(f"sqlite:///{tmp_path}/study.db")} == {TrialState.COMPLETE}


class OneByOne(WatchedPool):
    """Ends the training run that began first when both slots are busy, or the search has nothing else to do."""

    def poll(self, timeout_s, on_report):
        if not self.busy or (len(self.busy) < self.slots and timeout_s == 0):
            return []
        slot = next(iter(self.busy))
        return [(slot, Outcome(knob_score(self.busy.pop(slot).spec)))]


@pytest.mark.parametrize("watch_s", [0.0, 1e9])
def test_the_progress_is_shown_when_the_free_slot_has_its_next_net(small, tmp_path, monkeypatch, watch_s):
    """Shown at the end of a training run, it would always count one worker too few."""
    monkeypatch.setattr("lmnet.search.train.loop.WATCH_S", watch_s)
    monkeypatch.setattr("lmnet.search.train.loop.NEWS_S", 60.0)
    seen = {}
    options = {"objective": width_score, "executor": lambda objective: OneByOne(), "max_gflops": LIMIT, "trials": 7}

    def note(counts):
        seen.setdefault(counts.trials, len(counts.under_way))

    run(small, on_progress=note, out=tmp_path, **options)

    assert [seen[trials] for trials in range(1, 8)] == [2, 2, 2, 2, 2, 1, 0]
