"""The main loop of a search: give proposed nets to free slots, and store reports and outcomes in the ledger.

No turn of the loop takes longer than a slice of time, so that training runs get answers to their reports: the next net
is looked for in small steps (``Proposals.steps``), some in each turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lmnet.search.nets.pricing import Candidate, Pricer
from lmnet.search.propose.pool import Steps
from lmnet.search.propose.proposals import Proposals
from lmnet.search.study.ledger import Claim, Ledger
from lmnet.search.study.outcome import Outcome
from lmnet.search.train.messages import Job
from lmnet.search.train.pools import Pool
from lmnet.search.train.under_way import UnderWay

FAILURES_TO_GIVE_UP = 12
"""After this many failures in a row the search ends: the objective or the machine is at fault."""
SLICE_S = 0.05
"""Seconds of looking for the next net between two looks at the training runs."""
POLL_S = 0.5
"""Seconds to wait for messages of training runs if there is nothing else to do."""
DEAD_CHECK_S = 5.0
"""Seconds between two checks for trials of dead processes."""
LOOK_S = 1.0
"""When a training run has ended, the study is read again only if the last reading is older than this (seconds)."""
WATCH_S = 0.25
"""Seconds between two updates of the progress, if no training run ends."""
NEWS_S = 2.0
"""Upper limit in seconds from the end of a training run to the next update: its slot gets another one first."""


@dataclass(frozen=True)
class TrainingRules:
    """Settings of the training runs.

    Args:
        seed: random seed of the initial weights.
        deadline: time on ``time.monotonic`` at which the search ends; None for no limit.
        trial_timeout_s: seconds after which a training run counts as failed.
        sync_batch: number of nets that are proposed and finished together, so that the study is the same with any
            number of workers; 0 for no batches.
        weights: folder for the weights of trained nets; None to keep none.
    """

    seed: int = 0
    deadline: float | None = None
    trial_timeout_s: float | None = None
    sync_batch: int = 0
    weights: Path | None = None


@dataclass
class Busy:
    """A training run under way.

    Args:
        claim: the trial.
        begun: time on ``time.monotonic`` at which it was submitted.
        epoch: the last epoch that it reported.
    """

    claim: Claim
    begun: float
    epoch: int = 0


@dataclass
class Loop:
    """Runs a search to its end.

    Args:
        ledger: the trials of the study.
        proposals: proposes the nets to train.
        pricer: returns the spec of a point.
        pool: trains the nets.
        rules: settings of the training runs.
        watch: called at least every ``WATCH_S`` with the training runs under way, to show progress; and when a training
            run has ended, once its slot has another one.
        on_end: called when training runs have ended, before others begin.
        is_stopped: returns True once the search should stop.
        ends_at: returns the time on ``time.monotonic`` at which all training runs must have ended, by the plan of now;
            None for the deadline in ``rules``.
        may_begin: returns whether there is time for another training run.
    """

    ledger: Ledger
    proposals: Proposals
    pricer: Pricer
    pool: Pool
    rules: TrainingRules
    watch: Callable[[tuple[UnderWay, ...]], None] = lambda under_way: None
    on_end: Callable[[], None] = lambda: None
    is_stopped: Callable[[], bool] = lambda: False
    ends_at: Callable[[], float | None] = lambda: None
    may_begin: Callable[[], bool] = lambda: True
    busy: dict[int, Busy] = field(default_factory=dict)
    waiting: list[Claim] = field(default_factory=list)
    is_used_up: bool = False
    _steps: Steps | None = None
    _to_claim: int = 0  # nets that the batch still lacks
    _checked: float = float("-inf")
    _watched: float = float("-inf")
    _failures: int = 0
    _news_at: float | None = None  # when a training run ended, if ``watch`` was not called since

    def run(self) -> None:
        """Train until the study is complete, the time is up or the space is used up.

        At the end, also after Ctrl-C, training runs under way are closed as interrupted; a later session repeats them.
        """
        try:
            while not self._is_over():
                has_more = self._fill()
                self._show()
                if not self.busy and self.is_used_up and not self._others_run():
                    return
                ended = self.pool.poll(0.0 if has_more else POLL_S, self._on_report)
                for slot, outcome in ended:
                    self._end(slot, outcome)
                if ended:
                    self._news_at = self._news_at or time.monotonic()
                    self.on_end()
            self._show(is_last=True)
        finally:
            self.pool.close()
            for claim in list(self.ledger.open.values()):
                self.ledger.close(claim, Outcome(reason="interrupted"))
            self.ledger.refresh()

    def _is_over(self) -> bool:
        if self.is_stopped() or self._is_late():
            return True
        if time.monotonic() - self._checked > DEAD_CHECK_S:
            self._checked = time.monotonic()
            self.ledger.refresh()
            self.ledger.fail_dead_trials()
            self.is_used_up = False
        return not self.busy and not self.waiting and (self.ledger.is_complete or not self.may_begin())

    def _is_late(self) -> bool:
        now = time.monotonic()
        return any(end is not None and now >= end for end in (self.rules.deadline, self.ends_at()))

    def _others_run(self) -> bool:
        self.ledger.refresh()
        return any(not trial.state.is_finished() for trial in self.ledger.trials)

    def _fill(self) -> bool:
        """Give nets to free slots, for a slice of time; return whether more steps are waiting."""
        end = time.monotonic() + SLICE_S
        free = [slot for slot in range(self.pool.slots) if slot not in self.busy]
        if self.rules.sync_batch and not self.busy and not self.waiting and self._wanted(0) <= 0:
            self.ledger.batch_begin, self._to_claim = None, min(self.rules.sync_batch, self.ledger.room)
        while self._wanted(len(free)) > 0 and (claim := self._propose(end)) is not None:
            self.waiting.append(claim)
        for slot in free[: len(self.waiting)]:
            self._submit(slot, self.waiting.pop(0))
        if len(self.busy) >= self.pool.slots:
            return any(time.monotonic() >= end for _ in self.proposals.prepare())  # the rest is for other turns
        return self._steps is not None and self._wanted(len(free)) > 0

    def _wanted(self, free: int) -> int:
        """Return the number of nets to claim now."""
        if self.is_used_up or not self.may_begin():
            return 0
        wanted = self._to_claim if self.rules.sync_batch else free - len(self.waiting)
        return min(wanted, self.ledger.room)

    def _propose(self, end: float) -> Claim | None:
        """Return the next net to train; None if none is found by the end of the slice, or another search has it."""
        if self._steps is None:
            self._steps = self.proposals.steps()
        try:
            while True:
                next(self._steps)
                if time.monotonic() >= end:
                    return None
        except StopIteration as found:
            candidate: Candidate | None = found.value
        self._steps = None
        self.is_used_up = candidate is None
        claim = None if candidate is None else self.ledger.claim(candidate)
        if claim is not None and self.rules.sync_batch:
            self._to_claim -= 1
            if self.ledger.batch_begin is None:
                self.ledger.batch_begin = claim.number
        return claim

    def _submit(self, slot: int, claim: Claim) -> None:
        self.busy[slot] = Busy(claim, time.monotonic())
        limits = [self.rules.trial_timeout_s]
        if self.rules.deadline is not None:
            limits.append(max(0.1, self.rules.deadline - time.monotonic()))
        given = [limit for limit in limits if limit is not None]
        weights = self.rules.weights / f"{claim.candidate.hash}.safetensors" if self.rules.weights else None
        spec = self.pricer.spec(claim.candidate.point)
        self.pool.submit(slot, Job(spec, self.rules.seed, min(given) if given else None, weights))

    def _on_report(self, slot: int, epoch: int, score: float) -> bool:
        busy = self.busy[slot]
        self.ledger.report(busy.claim, epoch, score)
        busy.epoch = epoch
        self._show()
        return False

    def _show(self, *, is_last: bool = False) -> None:
        now = time.monotonic()
        if self._news_at is None:
            is_due = now - self._watched >= WATCH_S
        else:
            is_due = is_last or self._steps is None or now - self._news_at >= NEWS_S
        if is_due:
            self._watched, self._news_at = now, None
            self.watch(self._under_way())

    def _under_way(self) -> tuple[UnderWay, ...]:
        now = time.monotonic()
        return tuple(
            UnderWay(one.claim.number, one.claim.candidate.hash, self.pool.place(slot), one.epoch, now - one.begun)
            for slot, one in sorted(self.busy.items())
        )

    def _end(self, slot: int, outcome: Outcome) -> None:
        claim = self.busy.pop(slot).claim
        self.is_used_up = False
        if outcome.reason == "time-out" and self._is_late():
            outcome = replace(outcome, reason="interrupted")
        if not self.ledger.close(claim, outcome):
            outcome = Outcome(reason="worker died")
        self.ledger.refresh(older_than_s=LOOK_S)
        self._failures = 0 if outcome.score is not None else self._failures + 1
        if self._failures >= FAILURES_TO_GIVE_UP:
            raise RuntimeError(
                f"search: {FAILURES_TO_GIVE_UP} training runs in a row failed, the last with: {outcome.reason} "
                f"({outcome.error}). Correct the objective or the machine, then run the same command to continue."
            )
