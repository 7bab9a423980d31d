"""The time plan of a search: measure how fast the machine trains, and update the plan while trials run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lmnet.search.nets.pricing import Candidate
from lmnet.search.nets.survey import largest_within, repaired
from lmnet.search.options import FINALISTS
from lmnet.search.results.counts import Tally
from lmnet.search.results.progress import clock
from lmnet.search.session import Session
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.training import seeded_model
from lmnet.search.verdict.again import ConfirmingObjective
from lmnet.search.verdict.finalists import FAMILIES_FIRST
from lmnet.search.verdict.plan import (
    FIXED_SHARE,
    LEAST_TRIALS,
    SPARE_SHARE,
    Plan,
    Setting,
    Speed,
    Work,
    make_plan,
    settings,
    slowness,
    spare_of,
)
from lmnet.search.verdict.speed import measure_epoch_s

MEASURING_SHARE = 0.2
"""Upper limit on the time for measuring the training speed, as a share of the whole time."""
ENDING_CPU_S = 6.0
"""CPU seconds from the last training run to the end of the search, with lmnet_paper: 5 s, most of it the report."""
NOTED_CHANGE = 1.25
"""If the speed of the machine changes by this factor, a line is printed."""

Note = Callable[[str], None]


@dataclass
class Pace:
    """The time plan of a running search. It follows the speed of the machine, so that the verdict keeps its time.

    Args:
        work: what remains to be done when the plan is made.
        speed: speed of the machine, measured then.
        begin: time of that measurement, on the clock ``now``.
        end: time at which the search must end, the verdict included.
        known: numbers of the trials that had a score before this session.
        note: called with a line of text for the user.
        now: returns the time in seconds.
    """

    work: Work
    speed: Speed
    begin: float
    end: float
    known: frozenset[int] = frozenset()
    note: Note = lambda line: None
    now: Callable[[], float] = time.monotonic
    plan: Plan = field(init=False)
    _shown: float = 1.0

    def __post_init__(self) -> None:
        """Make the first plan."""
        self.plan = make_plan(self.work, self.speed, self.end - self.now())
        self.ending_s = self.speed.ending_s
        self._done = 0
        self._own: set[int] = set()  # trials of this machine; other machines may be slower or faster

    def see(self, counts: Tally) -> None:
        """Update the plan from the finished trials and those in training; these count once they are two epochs late."""
        done = [one for one in counts.scored if one.number not in self.known]
        self._own |= {one.trial for one in counts.under_way}
        epochs, work = self.work.epochs, self.work
        usual_s = self.speed.run_s(epochs, work.gmacs)
        slow = slowness(
            [(one.seconds, self.speed.run_s(epochs, one.gmacs)) for one in done if one.number in self._own],
            [(one.seconds, usual_s * min(1.0, (one.epoch + 2) / epochs)) for one in counts.under_way],
        )
        left = {name: max(0, getattr(work, name) - len(done)) for name in ("trials", "least", "first")}
        speed = self.speed.times(slow)
        self.plan = make_plan(replace(work, **left), speed, self.end - self.now(), slow_spare=spare_of(slow))
        self.ending_s = speed.ending_s
        self._done = len(done)
        if done and max(slow / self._shown, self._shown / slow) >= NOTED_CHANGE:
            self._shown = slow
            self.note(changed_text(slow, self.plan))

    def ends_at(self) -> float:
        """Return the time at which all trials must have ended, so that enough is left for the verdict."""
        if self.work.first and not self._done:
            return self.end  # without a trained net there is nothing to compare
        end = self.end - self.plan.verdict_s / (1 - SPARE_SHARE)
        return end if self._done >= self.work.first else max(end, (self.begin + self.end) / 2)

    def may_begin(self) -> bool:
        """Return whether another trial would end in time. Until the first nets have scores, one always may begin."""
        return self._done < self.work.first or self.now() + self.plan.trial_s <= self.ends_at()


def is_planned(search: Session) -> bool:
    """Return whether a search needs a time plan: its time is limited, and a verdict needs a part of it."""
    return search.overview.timeout_s is not None and search.confirming > 0


def plan_search(search: Session, counts: Tally, *, is_new: bool, note: Note) -> tuple[Session, Pace]:
    """Measure how fast the machine trains and plan the time. A new search takes image size and epochs that fit.

    Args:
        search: the search.
        counts: the study so far.
        is_new: whether image size and epochs may still be chosen.
        note: called with lines of text for the user.
    """
    objective, end = search.objective, search.deadline()
    assert isinstance(objective, TrainingObjective)
    assert end is not None
    note("time: measuring how fast nets train here now")
    net = _measured_net(search)
    epoch_s = measure_epoch_s(
        search.pricer.spec(net.point), objective, search.pool, most_s=MEASURING_SHARE * (end - time.monotonic())
    )
    if epoch_s is None:  # time one step instead; if training fails, the trials report why
        epoch_s = objective.estimate_s(seeded_model(search.pricer.spec(net.point), 0)) / objective.recipe.epochs
    sets, tested = objective.sets(), ConfirmingObjective(objective, 1).test_count
    ending_s = ENDING_CPU_S * search.load()
    speed = Speed(epoch_s, net.gmacs, len(sets.train), len(sets.val), tested, ending_s)
    work, now = _work(search, counts, net), time.monotonic()
    recipe = objective.recipe
    given = Setting(recipe.size, recipe.epochs)
    may = {f"may_change_{key}": is_new and not search.options.is_given(key) for key in ("size", "epochs")}
    may["may_change_size"] &= not search.space.moves_size
    choices = settings(given.size, given.epochs, **may)
    plans = [make_plan(*_at(work, speed, given, each, search), end - now) for each in choices]
    place = next((place for place, plan in enumerate(plans) if plan.fits), len(plans) - 1)
    chosen = choices[place]
    for line in plan_lines(search, given, plans[0], chosen, plans[place], work.workers):
        note(line)
    if chosen != given:
        work, speed = _at(work, speed, given, chosen, search)
        search = search.with_recipe(size=chosen.size, epochs=chosen.epochs)
    known = frozenset(one.number for one in counts.scored)
    pace = Pace(work, speed, now, end, known, note)
    seconds = pace.plan.trials * pace.plan.trial_s / work.workers + pace.plan.verdict_s
    return replace(search, overview=replace(search.overview, seconds=seconds)), pace


def _at(work: Work, speed: Speed, given: Setting, setting: Setting, search: Session) -> tuple[Work, Speed]:
    """Return the work and the speed at another setting."""
    confirm = setting.epochs if search.options.confirm_epochs is None else work.confirm_epochs
    ratio = (setting.size / given.size) ** 2
    return replace(work, epochs=setting.epochs, confirm_epochs=confirm), speed.at_size(ratio)


def _work(search: Session, counts: Tally, net: Candidate) -> Work:
    options, pricer = search.options, search.pricer
    gmacs = search.overview.survey.dearest.gmacs
    if pricer.limits.max_gflops is not None:
        gmacs = min(gmacs, pricer.limits.max_gflops)
    elif not pricer.limits.measured:
        gmacs = largest_within(pricer, net.point).gmacs
    total = search.overview.trials
    assert total is not None
    trials, families = max(0, total - counts.trials), len(search.overview.survey.families)
    return Work(
        trials=trials,
        least=max(0, min(LEAST_TRIALS, total) - counts.trials),
        first=0 if counts.scored else min(trials, search.workers),
        compared=2 + bool(_starts(search)) + min(FAMILIES_FIRST, max(0, families - 1)),
        finalists=options.confirm_nets or FINALISTS,
        fixed_finalists=options.confirm_nets is not None,
        seeds=options.confirm_seeds,
        workers=search.workers,
        epochs=search.objective.recipe.epochs if isinstance(search.objective, TrainingObjective) else 1,
        confirm_epochs=search.confirming,
        gmacs=gmacs,
    )


def _starts(search: Session) -> list[Candidate]:
    """Return the starting nets within the limits, one a family."""
    priced = map(search.pricer.price, search.space.starts)
    return [one for one in priced if one.is_feasible]


def _measured_net(search: Session) -> Candidate:
    """Return the net whose training is timed: the dearest starting net, or the largest net if none is in the limits."""
    found, pricer = search.overview.survey, search.pricer
    if starts := _starts(search):
        return max(starts, key=lambda one: one.gmacs)
    feasible = repaired(pricer, found.cheapest.point, random.Random(search.options.seed))
    if feasible is None or pricer.limits.measured:
        return feasible or found.cheapest
    return largest_within(pricer, feasible.point)


def plan_lines(search: Session, given: Setting, wanted: Plan, chosen: Setting, plan: Plan, workers: int) -> list[str]:
    """Return the lines that explain the plan, and image size and epochs if they were changed for it."""
    lines = []
    if chosen != given:
        changes = [f"--{key} {getattr(chosen, key)}" for key in ("size", "epochs") if _differs(key, given, chosen)]
        lines.append(
            f"time: with --size {given.size} and --epochs {given.epochs} one training run takes about "
            f"{clock(wanted.trial_s)} here now, {workers} at a time. That leaves time for {_count(wanted)}, so this "
            f"search uses {' and '.join(changes)}."
        )
    each = f"plan: one training run takes about {clock(plan.trial_s)}, {workers} at a time."
    if not plan.has_verdict:
        lines.append(
            f"{each} There will be no verdict: there is no time to train nets again and to compare them on test "
            f"images. {_advice(search, plan)}"
        )
        return lines
    lines.append(
        f"{each} There is time for about {plan.trials} trials. The verdict then has {clock(plan.verdict_s)}: "
        f"{_compared(search, plan.finalists)}, {_seeds(plan.seeds)}."
    )
    if not plan.fits:
        lines.append(
            f"plan: this is less than {LEAST_TRIALS} trials and a verdict with {search.options.confirm_seeds} seeds. "
            f"{_advice(search, plan)}"
        )
    return lines


def unplanned_line(search: Session, trials: int) -> str:
    """Return the line about the verdict of a search without a time plan.

    Args:
        search: the search.
        trials: number of trials until the total is reached.
    """
    if search.is_own:
        return "plan: there will be no verdict: with an objective of your own, no net is trained again."
    if not search.confirming:
        return "plan: there will be no verdict, as confirm_epochs is 0: no net is compared on test images."
    options = search.options
    nets = _compared(search, options.confirm_nets or FINALISTS)
    return f"plan: {trials} trials, then the verdict: {nets}, {_seeds(options.confirm_seeds)}."


def _differs(key: str, given: Setting, chosen: Setting) -> bool:
    return bool(getattr(given, key) != getattr(chosen, key))


def _count(plan: Plan) -> str:
    return "no trial beside the verdict" if not plan.trials else f"{plan.trials} trials beside the verdict"


def _compared(search: Session, finalists: int) -> str:
    best = "the best net" if finalists == 1 else f"the {finalists} best nets"
    if search.overview.survey.families:
        each = "the best net of each family"
        if is_planned(search) and len(search.overview.survey.families) > 1 + FAMILIES_FIRST:
            each = (
                f"the best nets of the {FAMILIES_FIRST} best other families, and of further families if there is time"
            )
        return f"{best}, the best starting net, the largest net of its family and {each}"
    largest = "the largest net within the limits"
    return f"{best}, the starting net and {largest}" if _starts(search) else f"{best} and {largest}"


def _seeds(seeds: int) -> str:
    return f"each trained again with {seeds} new seed{'s' if seeds > 1 else ''}"


def _advice(search: Session, plan: Plan) -> str:
    """Return what the user can change to get enough time."""
    assert search.overview.timeout_s is not None
    needed = plan.verdict_s + LEAST_TRIALS / search.workers * plan.trial_s
    if plan.seeds < search.options.confirm_seeds:
        needed += plan.verdict_s * (search.options.confirm_seeds - plan.seeds) / plan.seeds
    passed = time.monotonic() - search.began
    timeout = passed + needed / (1 - SPARE_SHARE)
    share = (search.overview.timeout_s - passed) / (timeout - passed)
    share = max(0.05, share - FIXED_SHARE) / (1 - FIXED_SHARE)
    gmacs = max((one.gmacs for one in _starts(search)), default=search.overview.survey.cheapest.gmacs)
    others = [f"a smaller --{key}" if key == "size" else f"fewer --{key}" for key in ("size", "epochs")
              if search.options.is_given(key)]  # fmt: skip
    others.append(f"a --spec of about {share * gmacs:.2g} GMACs")
    return f"--timeout {60 * round(timeout / 60 + 0.5):.0f} makes room, or {', or '.join(others)}."


def changed_text(slow: float, plan: Plan) -> str:
    """Return the line about a plan that has changed with the speed of the machine."""
    how = f"{slow:.1f} times as long as" if slow > 1 else f"{slow:.2f} times as long as"
    text = f"plan: training runs take {how} measured before trial 0."
    if not plan.has_verdict:
        return f"{text} There is no time left for a verdict."
    return (
        f"{text} There is time for about {plan.trials} further trials. The verdict keeps {clock(plan.verdict_s)}: each "
        f"net {_seeds(plan.seeds).removeprefix('each ')}."
    )
