"""The loop of a search: candidates into free slots, reports into decisions, outcomes into the ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lmnet.search.pricing import Pricer, ProposingStopped
from lmnet.search.propose.mirror import MirrorStudy
from lmnet.search.propose.proposals import Proposals
from lmnet.search.study.ledger import Claim, Ledger
from lmnet.search.train.executors import Pool
from lmnet.search.train.halving import is_promising
from lmnet.search.train.outcome import Outcome, UnderWay
from lmnet.search.train.training import Job

FAILURES_TO_GIVE_UP = 12
"""So many failures in a row, and the fault is the objective's or the machine's."""
POLL_S = 0.5
DEAD_CHECK_S = 5.0
LOOK_S = 1.0
"""How old what is known of other searches may be where a training run is stopped early or has ended."""
WATCH_S = 0.25
"""Progress is told no more often than this between the ends of training runs."""


@dataclass(frozen=True)
class TrainingRules:
    """How a search goes about its training runs.

    Args:
        seed: random seed of the initial weights.
        rungs: after which epochs a training run may be stopped early.
        deadline: on ``time.monotonic``, when the search ends; None for no end.
        trial_timeout_s: after which one training run is a failure.
        sync_batch: number of nets that are proposed and finished together, so that the study is the same with any
            number of workers; 0: each slot continues by itself.
        weights: folder for the weights of trained nets; None for nowhere.
    """

    seed: int = 0
    rungs: tuple[int, ...] = ()
    deadline: float | None = None
    trial_timeout_s: float | None = None
    sync_batch: int = 0
    weights: Path | None = None


@dataclass
class Loop:
    """Runs a search to its end.

    Args:
        ledger: of the study.
        proposals: gives what to train.
        mirror: learns what became of it.
        pricer: makes specs of points.
        pool: trains.
        rules: how.
        watch: called now and then, to show progress.
        is_stopped: asked between steps: whether somebody wants the search to end.
    """

    ledger: Ledger
    proposals: Proposals
    mirror: MirrorStudy
    pricer: Pricer
    pool: Pool
    rules: TrainingRules
    watch: Callable[[tuple[UnderWay, ...]], None] = lambda under_way: None
    is_stopped: Callable[[], bool] = lambda: False
    busy: dict[int, Claim] = field(default_factory=dict)
    _begun: dict[int, tuple[float, int]] = field(default_factory=dict)
    is_used_up: bool = False
    _batch: list[Claim] = field(default_factory=list)
    _waiting: list[Claim] = field(default_factory=list)
    _held: dict[int, Outcome] = field(default_factory=dict)
    _checked: float = float("-inf")
    _told: float = float("-inf")
    _failures: int = 0

    def run(self) -> None:
        """Train until the study is complete, the time is up or the space is used up.

        Whatever ends it, Ctrl-C too, training runs under way are closed as interrupted, to be done again later.
        """
        self.pricer.must_stop = self._is_time_up
        try:
            while not self._is_over():
                with contextlib.suppress(ProposingStopped):  # seen again by ``_is_over``
                    self._fill()
                if not self.busy and self.is_used_up and not self._others_run():
                    return
                wait = POLL_S if self.busy or not self._waiting else 0.0
                ended = self.pool.poll(wait, self._on_report)
                for slot, outcome in ended:
                    self._end(slot, outcome)
                self._tell(at_once=bool(ended))
        finally:
            self.pricer.must_stop = lambda: False
            self.pool.close()
            for claim in list(self.ledger.open.values()):
                self.ledger.close(claim, Outcome(reason="interrupted"))
            self.ledger.refresh()

    def _is_over(self) -> bool:
        if self._is_time_up():
            return True
        if time.monotonic() - self._checked > DEAD_CHECK_S:
            self._checked = time.monotonic()
            self.ledger.refresh()
            self.ledger.fail_dead_trials()
        return not self.busy and not self._waiting and self.ledger.is_complete

    def _is_time_up(self) -> bool:
        return self.is_stopped() or (self.rules.deadline is not None and time.monotonic() >= self.rules.deadline)

    def _others_run(self) -> bool:
        self.ledger.refresh()
        return any(not trial.state.is_finished() for trial in self.ledger.trials)

    def _fill(self) -> None:
        """Put work into the free slots."""
        self.is_used_up = False
        if self.rules.sync_batch and not self._batch:
            self._make_batch()
        for slot in range(self.pool.slots):
            if self.is_stopped():
                return
            if slot in self.busy:
                continue
            if not self._waiting and not self.rules.sync_batch:
                claim = self._claim()
                if claim is not None:
                    self._waiting.append(claim)
            if not self._waiting:
                return
            self._submit(slot, self._waiting.pop(0))

    def _make_batch(self) -> None:
        while len(self._batch) < min(self.rules.sync_batch, len(self._batch) + self.ledger.room):
            claim = self._claim()
            if claim is None:
                return
            self._batch.append(claim)
            self._waiting.append(claim)

    def _claim(self) -> Claim | None:
        """Return the next candidate to train; what another study knows already is written down on the way."""
        while self.ledger.room > 0:
            self.proposals.learn()
            found = self.proposals.next()
            if found is None:
                self.is_used_up = True
                return None
            candidate, trial = found
            claim = self.ledger.claim(candidate)
            if claim is None:
                if trial is not None:
                    self.mirror.forget(trial)
                continue
            self.proposals.note_own(claim.number)
            self.mirror.begin(str(claim.number), candidate.point, candidate.violations, trial)
            known = self.ledger.score_elsewhere(candidate)
            if known is None:
                return claim
            if self.ledger.close(claim, known):
                self.mirror.finish(str(claim.number), known.score)
            self.ledger.refresh()
        return None

    def _submit(self, slot: int, claim: Claim) -> None:
        self.busy[slot] = claim
        self._begun[slot] = time.monotonic(), 0
        limits = [self.rules.trial_timeout_s]
        if self.rules.deadline is not None:
            limits.append(max(0.1, self.rules.deadline - time.monotonic()))
        given = [limit for limit in limits if limit is not None]
        weights = self.rules.weights / f"{claim.candidate.hash}.safetensors" if self.rules.weights else None
        spec = self.pricer.spec(claim.candidate.point)
        self.pool.submit(slot, Job(spec, self.rules.seed, min(given) if given else None, weights))

    def _on_report(self, slot: int, epoch: int, score: float) -> bool:
        claim = self.busy[slot]
        self.ledger.report(claim, epoch, score)
        self._begun[slot] = self._begun[slot][0], epoch
        self._tell()
        if epoch not in self.rules.rungs or claim.candidate.point == self.ledger.space.start:
            return False
        self.ledger.refresh(older_than_s=LOOK_S)
        upto = self._batch[0].number if self._batch else None
        mine = max(self._own_scores(claim, epoch, score))
        return not is_promising(mine, self.ledger.scores_at(epoch, but=claim, upto=upto))

    def _tell(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._told >= WATCH_S:
            self._told = time.monotonic()
            self.watch(self._under_way())

    def _under_way(self) -> tuple[UnderWay, ...]:
        now, rows = time.monotonic(), []
        for slot, claim in sorted(self.busy.items()):
            begun, epoch = self._begun[slot]
            rows.append(UnderWay(claim.number, claim.candidate.hash, self.pool.place(slot), epoch, now - begun))
        return tuple(rows)

    def _own_scores(self, claim: Claim, epoch: int, score: float) -> list[float]:
        own = next(trial for trial in self.ledger.trials if trial.number == claim.number)
        return [score, *(value for step, value in own.intermediate_values.items() if step <= epoch)]

    def _end(self, slot: int, outcome: Outcome) -> None:
        claim = self.busy.pop(slot)
        late = self.rules.deadline is not None and time.monotonic() >= self.rules.deadline
        if outcome.reason == "time-out" and late:
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
        if not self.rules.sync_batch:
            self.mirror.finish(str(claim.number), outcome.score)
            return
        self._held[claim.number] = outcome
        if len(self._held) == len(self._batch):
            for done in self._batch:
                self.mirror.finish(str(done.number), self._held[done.number].score)
            self._batch, self._held = [], {}
