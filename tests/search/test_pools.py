"""What every place of training must do, whatever it is: a further pool joins by one line in ``POOLS``."""

import contextlib
import functools
import os
import time

import psutil
import pytest

from lmnet.builder.weights import read_weights
from lmnet.search.options import SearchOptions
from lmnet.search.train.executors import InlinePool, ProcessPool
from lmnet.search.train.pools import threads_of
from lmnet.search.train.training import Job
from tests.search.objectives import (
    crashing_score,
    epoch_score,
    failing_score,
    hanging_score,
    knob_score,
    pid_score,
    width_score,
)

pytestmark = [pytest.mark.filterwarnings("ignore")]


def on_ray(objective):
    from lmnet.search.train.ray_pool import RayPool

    return RayPool(objective)


POOLS = [
    pytest.param(InlinePool, id="inline"),
    pytest.param(lambda objective: ProcessPool(objective, slots=2, threads=1), id="processes"),
    pytest.param(on_ray, id="ray", marks=pytest.mark.ray),
]
ELSEWHERE = POOLS[1:]
"""Pools whose trainings run in other processes."""


@pytest.fixture
def make(request):
    """Make a pool and close it at the end."""
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("cluster")
    with contextlib.ExitStack() as stack:

        def made(pool, objective):
            one = pool(objective)
            stack.callback(one.close)
            return one

        yield made


def outcomes(pool, jobs, on_report=lambda slot, epoch, score: False, within_s=90.0):
    """Train jobs, as many at a time as there are slots; return their outcomes in the order of the jobs."""
    waiting, busy, found = list(enumerate(jobs)), {}, {}
    end = time.monotonic() + within_s
    while (waiting or busy) and time.monotonic() < end:
        for slot in range(pool.slots):
            if waiting and slot not in busy:
                busy[slot], job = waiting.pop(0)
                pool.submit(slot, job)
        for slot, outcome in pool.poll(0.2, on_report):
            found[busy.pop(slot)] = outcome
    assert len(found) == len(jobs), f"{len(found)} of {len(jobs)} trainings ended within {within_s} s"
    return [found[number] for number in range(len(jobs))]


@pytest.mark.parametrize("pool", POOLS)
def test_scores_weights_and_failures_come_back(make, pool, small, tmp_path):
    specs = {width: small.override({"width": width}) for width in (6, 8, 10, 12)}
    jobs = [Job(spec, 0, None, tmp_path / "weights" / f"{width}.safetensors") for width, spec in specs.items()]

    memory, number, error, good = outcomes(make(pool, failing_score), jobs)

    assert (memory.reason, number.reason, error.reason, good.reason) == ("out of memory", "not a number", "error", None)
    assert error.error == "KeyError: 'lost'"
    assert good.score == pytest.approx(knob_score(specs[12]))
    assert good.seconds > 0
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["12.safetensors"]
    assert len(read_weights(tmp_path / "weights" / "12.safetensors").state) > 10


@pytest.mark.parametrize("pool", POOLS)
def test_reports_are_asked_epoch_by_epoch_and_their_answer_ends_a_training(make, pool, small):
    told = []

    def on_report(slot, epoch, score):
        told.append((epoch, score))
        return epoch == 4

    made = make(pool, epoch_score)
    (outcome,) = outcomes(made, [Job(small, 0)], on_report)
    assert made.place(0)  # told to people

    full = knob_score(small)
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4]
    assert [score for _, score in told] == pytest.approx([full * epoch / 9 for epoch in range(1, 5)])
    assert (outcome.is_stopped, outcome.epochs, outcome.score) == (True, 4, pytest.approx(full * 4 / 9))


@pytest.mark.parametrize("pool", POOLS)
def test_a_training_past_its_limit_is_a_time_out_and_the_next_one_trains(make, pool, small, monkeypatch):
    monkeypatch.setattr("lmnet.search.train.executors.GRACE_S", 1.0)
    with contextlib.suppress(ImportError):
        monkeypatch.setattr("lmnet.search.train.ray_pool.GRACE_S", 1.0)
    other = small.override({"width": 12})

    late, good = outcomes(make(pool, hanging_score), [Job(small, 0, 1.0), Job(other, 0, 60.0)])

    assert late.reason == "time-out"
    assert "the training run did not end within 1 s" in late.error
    assert good.score == pytest.approx(knob_score(other))


@pytest.mark.parametrize("pool", ELSEWHERE)
def test_a_process_that_dies_costs_its_training_only(make, pool, small):
    other = small.override({"width": 12})

    *dead, good = outcomes(make(pool, crashing_score), [Job(small, 0), Job(small, 1), Job(other, 0)])

    assert {outcome.reason for outcome in dead} == {"worker died"}
    assert good.score == pytest.approx(knob_score(other))


@pytest.mark.parametrize("pool", ELSEWHERE)
def test_closing_ends_what_is_under_way(make, pool, small, tmp_path):
    place = tmp_path / "pid"
    made = make(pool, functools.partial(pid_score, place=str(place)))
    made.submit(0, Job(small, 0))
    end = time.monotonic() + 60
    while not place.exists() and time.monotonic() < end:
        made.poll(0.2, lambda slot, epoch, score: False)
    number = int(place.read_text())
    assert number != os.getpid()

    made.close()

    while psutil.pid_exists(number) and psutil.Process(number).status() != "zombie" and time.monotonic() < end:
        time.sleep(0.1)
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == "zombie"


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_without_work_waits_and_says_nothing(make, pool):
    made = make(pool, width_score)
    begin = time.monotonic()

    assert made.poll(0.3, lambda slot, epoch, score: False) == []
    assert time.monotonic() - begin >= 0.29
    assert made.slots >= 1
    with made.paused():
        pass


@pytest.mark.parametrize(("given", "batch", "threads"), [(1, 0, 1), (64, 0, 4), (3, 0, 3), (64, 4, 1)])
def test_workers_share_the_cores_and_keep_to_the_callers_threads(monkeypatch, given, batch, threads):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("torch.get_num_threads", lambda: given)
    assert threads_of(SearchOptions(batch=batch), workers=2) == threads
