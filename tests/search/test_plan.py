"""How a search divides its time: the verdict first, as many trials as remain, and again when the machine slows."""

import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lmnet.search.budget import Pace, changed_text, plan_lines, unplanned_line
from lmnet.search.options import SearchOptions
from lmnet.search.results.counts import Scored, Tally
from lmnet.search.run_search import run
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.pools import InlinePool
from lmnet.search.train.under_way import UnderWay
from lmnet.search.verdict.finalists import _milliseconds
from lmnet.search.verdict.plan import Setting, Speed, Work, make_plan, scaled, settings, slowness, spare_of
from lmnet.training import Recipe

WORK = Work(
    trials=40, least=12, first=2, compared=3, finalists=3, fixed_finalists=False, seeds=3, workers=2, epochs=6,
    confirm_epochs=6, gmacs=5.0,
)  # fmt: skip
QUIET = Speed(epoch_s=1.0, gmacs=5.0, train=32, val=32, test=320)
"""A training run takes 6 s, and one for the verdict 2.5 s more, as the test images are scored."""


def busy(times):
    return QUIET.times(times)


@pytest.mark.parametrize(
    ("slow", "left_s", "trials", "finalists", "seeds", "fits"),
    [
        (1, 560, 40, 3, 3, True),
        (3, 560, 32, 3, 3, True),
        (4, 560, 18, 3, 3, True),
        (5, 560, 16, 2, 3, True),
        (6, 560, 12, 1, 3, True),
        (8, 560, 6, 1, 3, False),
        (10, 560, 2, 1, 3, False),
        (14, 560, 2, 1, 2, False),
        (40, 560, 0, 1, 1, False),
    ],
)
def test_the_verdict_comes_first(slow, left_s, trials, finalists, seeds, fits):
    plan = make_plan(WORK, busy(slow), left_s)

    assert (plan.trials, plan.finalists, plan.seeds, plan.fits) == (trials, finalists, seeds, fits)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("slow", [0.1, 1, 2, 3, 5, 8, 13, 21])
@pytest.mark.parametrize("left_s", [60, 300, 560, 3600])
def test_no_plan_takes_more_than_its_time(workers, slow, left_s):
    work = replace(WORK, workers=workers, first=workers)
    plan = make_plan(work, busy(slow), left_s)

    if plan.fits or plan.trials:
        rounds = -(-plan.trials // workers)
        assert rounds * plan.trial_s + plan.verdict_s <= 0.9 * left_s + 1e-9
    assert plan.fits == (plan.trials >= 12 and plan.seeds == 3)


def test_what_the_user_asked_for_is_trained_again_whatever_the_time():
    work = replace(WORK, finalists=4, fixed_finalists=True)

    assert [make_plan(work, busy(slow), 560).finalists for slow in (1, 5, 10)] == [4, 4, 4]


def test_settings_take_less_and_less_time_and_leave_what_was_given():
    every = settings(64, 6, may_change_size=True, may_change_epochs=True)

    times = [scaled((each.size / 64) ** 2) * each.epochs for each in every]
    assert every[0] == Setting(64, 6)
    assert times == sorted(times, reverse=True)
    assert every[1:] == [Setting(48, 6), Setting(32, 6), Setting(32, 5), Setting(32, 4)]
    assert {each.size for each in settings(128, 6, may_change_size=False, may_change_epochs=True)} == {128}
    assert {each.epochs for each in settings(64, 20, may_change_size=True, may_change_epochs=False)} == {20}
    assert settings(64, 2, may_change_size=False, may_change_epochs=True) == [Setting(64, 2)]


def test_a_trial_counts_by_its_cost():
    usual = [QUIET.run_s(6, gmacs) for gmacs in (5.0, 2.5)]

    assert usual[0] == 6.0
    assert 0.5 * 6.0 < usual[1] < 6.0
    assert slowness([]) == 1.0
    assert slowness([(12.0, usual[0])]) == 2.0
    assert slowness([(6.0, 6.0)] * 9 + [(18.0, 6.0)] * 3) == 3.0  # the newest count
    assert slowness([(6.0, 6.0)], [(3.0, 6.0)]) == 1.0  # it has only begun
    assert slowness([(6.0, 6.0)], [(30.0, 6.0)]) == 5.0


class Clock:
    """A machine that trains nets on two workers, and becomes slower at a time."""

    def __init__(self, slows_at, factor):
        self.now, self.slows_at, self.factor = 0.0, slows_at, factor
        self.scored, self.lines = [], []

    def rate(self):
        return self.factor if self.now >= self.slows_at else 1.0

    def tally(self, under_way=()):
        return Tally(len(self.scored), {}, 0, 0, 0, tuple(self.scored), under_way=tuple(under_way))

    def train(self, pace):
        """Train two nets at a time as long as there is time; return when the trials ended."""
        while pace.may_begin() and len(self.scored) < pace.work.trials:
            begun, left, number = self.now, 6.0, len(self.scored)
            while left > 0:
                self.now += 0.5
                left -= 0.5 / self.rate()
                pace.see(
                    self.tally(UnderWay(number + i, "h", "here", int(6 - left), self.now - begun) for i in range(2))
                )
                if self.now >= pace.ends_at():
                    return
            costs = {"gmacs": 5.0, "params": 10}
            self.scored += [
                Scored(number + i, (number + i,), str(number + i), 0.5, costs, 6, self.now - begun) for i in range(2)
            ]
            pace.see(self.tally())


@pytest.mark.parametrize(("slows_at", "factor"), [(1e9, 1), (0, 2), (30, 3), (60, 2), (100, 2), (60, 1.5), (10, 5)])
def test_the_share_of_the_verdict_is_never_eaten(slows_at, factor):
    clock = Clock(slows_at, factor)
    pace = Pace(WORK, QUIET, 0.0, 300.0, note=clock.lines.append, now=lambda: clock.now)

    clock.train(pace)

    needed_s = 5 * QUIET.times(clock.rate()).again_s(6, 5.0)  # nine training runs, two at a time
    assert clock.now + needed_s <= 300.0
    assert clock.scored
    assert bool(clock.lines) == (factor > 1)


@pytest.mark.parametrize("slows_at", [30, 100, 160])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_machine_that_becomes_slower_still_during_the_verdict_ends_in_time(slows_at, factor):
    """The more the machine has slowed, the more time is kept free; what follows the training runs has time too."""
    speed, clock = replace(QUIET, ending_s=4.0), Clock(slows_at, factor)
    pace = Pace(WORK, speed, 0.0, 560.0, now=lambda: clock.now)

    clock.train(pace)

    slower = speed.times(1.2 * clock.rate())
    assert pace.ending_s == speed.times(clock.rate()).ending_s or len(clock.scored) == 40
    assert clock.now + 5 * slower.again_s(6, 5.0) + slower.ending_s <= 560.0


def test_a_plan_keeps_time_for_what_follows_the_training_runs():
    plans = [make_plan(WORK, replace(QUIET, ending_s=ending_s).times(2), 560) for ending_s in (0.0, 10.0)]
    assert plans[1].verdict_s - plans[0].verdict_s == pytest.approx(20.0)
    assert [round(spare_of(slow), 3) for slow in (0.5, 1, 2, 4)] == [0, 0, 0.125, 0.188]


def test_the_timing_of_nets_is_short_on_a_slow_machine_and_has_one_thread(small, monkeypatch):
    calls = []

    def timed(passes, *, repeats):
        calls.append((repeats, torch.get_num_threads()))
        return [(pass_s,) * repeats for _ in passes]

    monkeypatch.setattr("lmnet.search.verdict.finalists.measure_interleaved", timed)
    objective = TrainingObjective("synthetic", Recipe(size=32, epochs=1))
    for pass_s, passes in ((0.01, 15), (0.5, 6), (4.0, 3)):
        calls.clear()
        assert _milliseconds({"a": small, "b": small}, objective) == {"a": 1000 * pass_s, "b": 1000 * pass_s}
        assert calls == [(1, 1), (passes, 1)]


def test_a_slower_machine_has_fewer_trials_and_says_so():
    counts = []
    for factor in (1, 2, 4):
        clock = Clock(20.0, factor)
        pace = Pace(WORK, QUIET, 0.0, 300.0, note=clock.lines.append, now=lambda clock=clock: clock.now)
        clock.train(pace)
        counts.append(len(clock.scored))

    assert counts[0] == 40 > counts[1] > counts[2] >= 2
    assert clock.lines[0].startswith("plan: training runs take ")
    assert "The verdict keeps" in clock.lines[0]


def test_the_trials_of_another_machine_do_not_tell_how_fast_this_one_is():
    lines = []
    pace = Pace(WORK, QUIET, 0.0, 300.0, note=lines.append, now=lambda: 10.0)
    slow = tuple(Scored(i, (i,), str(i), 0.5, {"gmacs": 5.0, "params": 10}, 6, 60.0) for i in range(4))

    pace.see(Tally(4, {}, 0, 0, 0, slow))

    assert lines == []
    assert pace.plan.trial_s == 6.0
    pace.see(Tally(4, {}, 0, 0, 0, slow, under_way=(UnderWay(3, "h", "here", 1, 1.0),)))
    assert len(lines) == 1


def test_a_training_run_that_is_two_epochs_late_shows_that_the_machine_is_slow():
    pace = Pace(WORK, QUIET, 0.0, 300.0, now=lambda: 10.0)
    scored = tuple(Scored(i, (i,), str(i), 0.5, {"gmacs": 5.0, "params": 10}, 6, 6.0) for i in range(4))

    def trial_s(epoch, seconds):
        pace.see(Tally(4, {}, 0, 0, 0, scored, under_way=(UnderWay(4, "h", "here", epoch, seconds),)))
        return pace.plan.trial_s

    assert [trial_s(0, 1.9), trial_s(2, 3.9), trial_s(5, 5.9)] == [6.0] * 3
    assert [trial_s(0, 4.0), trial_s(1, 9.0)] == [12.0, 18.0]


def test_without_any_time_the_first_trials_are_trained_all_the_same():
    clock = Clock(0, 1)
    pace = Pace(WORK, busy(100), 0.0, 300.0, now=lambda: clock.now)

    assert pace.may_begin()
    assert pace.ends_at() == 300.0  # without any result there is nothing to compare


def test_a_change_of_speed_is_told_in_words():
    plan = make_plan(replace(WORK, trials=4), busy(5), 560)

    assert changed_text(1.84, plan) == (
        "plan: training runs take 1.8 times as long as measured before trial 0. There is time for about 4 further "
        "trials. The verdict keeps 5:40: each net trained again with 3 new seeds."
    )
    plan = make_plan(WORK, busy(40), 560)
    assert changed_text(40.0, plan) == (
        "plan: training runs take 40.0 times as long as measured before trial 0. There is no time left for a verdict."
    )


def session(**options):
    """A search with what the lines about its plan need."""
    start = SimpleNamespace(gmacs=4.0, is_feasible=True)
    overview = SimpleNamespace(timeout_s=560.0, survey=SimpleNamespace(cheapest=start, families={}))
    return SimpleNamespace(
        options=SearchOptions(**options),
        overview=overview,
        workers=2,
        began=time.monotonic(),
        space=SimpleNamespace(starts=[start]),
        pricer=SimpleNamespace(price=lambda point: point),
    )


def test_what_is_chosen_for_want_of_time_is_said():
    given, chosen = Setting(64, 6), Setting(48, 4)

    lines = plan_lines(session(), given, make_plan(WORK, busy(8), 560), chosen, make_plan(WORK, busy(5), 560), 2)

    assert lines == [
        "time: with --size 64 and --epochs 6 one training run takes about 0:48 here now, 2 at a time. That leaves time "
        "for 6 trials beside the verdict, so this search uses --size 48 and --epochs 4.",
        "plan: one training run takes about 0:30, 2 at a time. There is time for about 16 trials. The verdict then has "
        "4:15: the 2 best nets, the starting net and the largest net within the limits, each trained again with 3 new "
        "seeds.",
    ]


def test_what_the_user_gave_is_kept_and_the_line_says_what_makes_room():
    plan = make_plan(WORK, busy(8), 560)

    lines = plan_lines(session(size=64, epochs=6), Setting(64, 6), plan, Setting(64, 6), plan, 2)

    assert len(lines) == 2
    assert "There is time for about 6 trials." in lines[0]
    assert re.fullmatch(
        r"plan: this is less than 12 trials and a verdict with 3 seeds. --timeout \d+ makes room, or a smaller --size, "
        r"or fewer --epochs, or a --spec of about [\d.]+ GMACs.",
        lines[1],
    )
    needed_s = int(re.search(r"--timeout (\d+)", lines[1])[1])
    assert make_plan(WORK, busy(8), needed_s).fits
    assert not make_plan(WORK, busy(8), needed_s - 120).fits


@pytest.mark.parametrize(
    ("slow", "text"),
    [
        (14, "The verdict then has .*: the best net, the starting net and .*, each trained again with 2 new seeds\\.$"),
        (20, "each trained again with 1 new seed\\.$"),
        (40, "There will be no verdict: there is no time to train nets again .* --timeout \\d+ makes room"),
    ],
)
def test_the_line_before_trial_0_says_with_how_many_seeds_the_verdict_is_or_that_there_is_none(slow, text):
    plan = make_plan(WORK, busy(slow), 560)

    line = next(one for one in plan_lines(session(), *[Setting(64, 6), plan] * 2, 2) if "one training run" in one)

    assert re.search(text, line)
    assert plan.has_verdict == ("no verdict" not in line)


@pytest.mark.parametrize(
    ("options", "is_own", "text"),
    [
        ({"trials": 9}, False, "plan: 7 trials, then the verdict: the 3 best nets, the starting net and the largest "
         "net within the limits, each trained again with 3 new seeds."),
        ({"confirm_seeds": 1, "confirm_nets": 1}, False, "plan: 7 trials, then the verdict: the best net, the starting "
         "net and the largest net within the limits, each trained again with 1 new seed."),
        ({"confirm_epochs": 0}, False, "plan: there will be no verdict, as confirm_epochs is 0: no net is compared on "
         "test images."),
        ({}, True, "plan: there will be no verdict: with an objective of your own, no net is trained again."),
    ],
)  # fmt: skip
def test_without_a_time_plan_the_line_says_what_the_verdict_will_be_too(options, is_own, text):
    search = session(**options)
    search.is_own, search.confirming = is_own, 0 if is_own or options.get("confirm_epochs") == 0 else 6

    assert unplanned_line(search, 7) == text


QUICK = {"max_gflops": 0.004, "workers": 1, "executor": InlinePool, "confirm_seeds": 1}


def test_a_search_with_a_time_limit_ends_in_a_verdict(small, tmp_path, monkeypatch):
    monkeypatch.setattr("lmnet.search.verdict.again.TEST_IMAGES", 12)
    lines = []

    result = run(small, trials=2, timeout_s=900, epochs=1, size=32, on_note=lines.append, out=tmp_path, **QUICK)

    assert lines[0] == "time: measuring how fast nets train here now"
    assert lines[1].startswith("plan: one training run takes about 0:")
    assert lines[-2:] == [
        "verdict: timing the nets and comparing their test scores",
        f"results: writing the tables and the report to {tmp_path}",
    ]
    assert result.overview.seconds > 0
    assert result.verdict["seeds"] == 1
    assert {one["images"] for one in result.verdict["nets"]} == {12}


def test_a_study_continues_with_its_own_size_and_epochs(small, tmp_path):
    """The first session chose them by its machine's speed, perhaps."""
    run(small, trials=1, epochs=1, size=32, confirm_epochs=0, out=tmp_path, **QUICK)

    result = run(small, trials=2, confirm_epochs=0, out=tmp_path, **QUICK)

    assert [one.epochs for one in result.tally.scored] == [1, 1]
    with pytest.raises(ValueError, match="from those it began with: objective.recipe.size=48 .was 32.*"):
        run(small, trials=2, confirm_epochs=0, size=48, out=tmp_path, **QUICK)
