"""What every place of training must do, whatever it is: a further pool joins by one line in ``POOLS``."""

import contextlib
import functools
import os
import random
import time

import psutil
import pytest

from lmnet.builder.weights import read_weights
from lmnet.search.make_pool import threads_of
from lmnet.search.options import SearchOptions
from lmnet.search.train.messages import Job
from lmnet.search.train.pools import InlinePool, ProcessPool
from tests.search.objectives import (
    chained_error,
    crashing_score,
    epoch_score,
    failing_score,
    hanging_score,
    haunted_score,
    knob_score,
    pid_score,
    width_score,
    worker_error,
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
    monkeypatch.setattr("lmnet.search.train.pools.GRACE_S", 1.0)
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


@pytest.mark.parametrize("pool", POOLS)
def test_an_answer_that_comes_late_meets_no_other_training(make, pool, small):
    """The time-out of the first training rings while its first report waits for an answer."""
    widths = (12, 14, 16, 18)
    jobs = [Job(small.override({"width": width}), 0) for width in widths]
    made = make(pool, epoch_score)
    made.submit(0, Job(small, 0, 1.0))
    time.sleep(2.5)
    end = time.monotonic() + 90
    while not (ended := made.poll(0.2, lambda slot, epoch, score: False)) and time.monotonic() < end:
        pass

    assert ended[0][1].reason in ("time-out", None)  # a pool without signals ends it 15 s after its limit
    found = outcomes(made, jobs)
    assert [(one.error, one.is_stopped, one.epochs) for one in found] == [(None, False, 9)] * len(widths)
    assert [one.score for one in found] == pytest.approx([knob_score(job.spec) for job in jobs])


@pytest.mark.parametrize("pool", ELSEWHERE)
def test_a_report_of_a_training_that_has_ended_counts_for_no_other(make, pool, small):
    """The first training leaves a thread behind that goes on reporting."""
    seen = []

    def on_report(slot, epoch, score):
        seen.append(epoch)
        return False

    jobs = [Job(small, 0), Job(small.override({"width": 12}), 0), Job(small.override({"width": 14}), 0)]
    found = outcomes(make(pool, haunted_score), jobs, on_report)

    assert [one.error for one in found] == [None] * 3
    assert [one.score for one in found] == pytest.approx([knob_score(job.spec) for job in jobs])
    assert 99 not in seen


def test_the_cause_of_a_failure_is_shown(make, small):
    (found,) = outcomes(make(POOLS[1].values[0], worker_error), [Job(small, 0)])
    assert found.error == "RuntimeError: unable to allocate shared memory(shm): No space left on device (28)"
    (found,) = outcomes(make(POOLS[0].values[0], chained_error), [Job(small, 0)])
    assert found.error == "ValueError: the image cannot be read. Caused by OSError: codec of JPEG-LS is missing"


def test_a_worker_that_cannot_begin_says_why(make, small, tmp_path, monkeypatch):
    (tmp_path / "breaks_at_import.py").write_text("raise OSError('no licence server')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = make(lambda objective: ProcessPool(objective, slots=1, threads=1, imports=["breaks_at_import"]), epoch_score)
    (found,) = outcomes(pool, [Job(small, 0)])
    assert found.reason == "worker died"
    assert "it cannot be imported (OSError: no licence server)" in found.error


@pytest.mark.slow
def test_300_delays_around_time_outs_give_right_scores(make, small):
    rng, made, late = random.Random(0), make(POOLS[1].values[0], functools.partial(epoch_score, pause_s=0.01)), 0
    for number in range(300):
        width = rng.randrange(4, 33, 2)
        spec = small.override({"width": width})
        made.submit(number % 2, Job(spec, 0, rng.uniform(0.02, 0.6)))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(rng.uniform(0, 0.04))
            ended = made.poll(0.0, lambda slot, epoch, score: False)
            if ended:
                break
        ((slot, one),) = ended
        assert slot == number % 2
        assert one.reason == "time-out" or (one.error, one.epochs) == (None, 9)
        assert one.reason == "time-out" or one.score == pytest.approx(knob_score(spec))
        late += one.reason == "time-out"
    assert 30 < late < 270
