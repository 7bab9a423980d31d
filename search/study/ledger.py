"""The ledger of a study: claims of nets, and outcomes. It is exact with any number of searches at a time.

A candidate is claimed by writing a running trial with its hash. Numbers of trials rise in the order in which they are
committed, so two searches that claim the same architecture, or the last trial of the budget, agree without a lock:
the lower number wins.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from lmnet.builder.process_identity import is_dead, this_process
from lmnet.search.nets.pricing import Candidate
from lmnet.search.nets.space import Space
from lmnet.search.study.outcome import Outcome
from lmnet.search.study.storage import fail_stale, retry
from lmnet.search.study.trials import is_cut_off

ATTEMPTS = 3
"""Most training runs of one candidate, if each is cut off by a process that dies."""


@dataclass(frozen=True)
class Claim:
    """The right to train a candidate.

    Args:
        trial_id: the trial's key in the storage.
        number: the trial's number in the study.
        candidate: the net to train.
    """

    trial_id: int
    number: int
    candidate: Candidate


class Ledger:
    """Reads and writes one study.

    Args:
        storage: storage that holds the study.
        study: the study.
        space: space of the study.
        total: number of trials with a score at which the study is complete; None for no limit.
    """

    def __init__(self, storage: RDBStorage, study: optuna.Study, space: Space, *, total: int | None) -> None:
        self._storage, self.study, self.space, self.total = storage, study, space, total
        self._me = this_process()
        self.batch_begin: int | None = None
        self.trials: list[FrozenTrial] = []
        self.open: dict[int, Claim] = {}
        self._read_at = float("-inf")
        self.refresh()

    def refresh(self, *, older_than_s: float = 0.0) -> list[FrozenTrial]:
        """Read the study again and return its trials.

        Every running trial is read again with its reports, which takes long with hundreds of them.

        Args:
            older_than_s: do nothing if the last reading is younger. What this process wrote since is known anyway.
        """
        if time.monotonic() - self._read_at >= older_than_s:
            self._read_at = time.monotonic()
            self.trials = retry(lambda: self.study.get_trials(deepcopy=False))
        return self.trials

    def fail_dead_trials(self) -> int:
        """Fail the running trials whose process is dead, and return their number."""
        running = [trial for trial in self.trials if trial.state == TrialState.RUNNING]
        dead = [
            trial for trial in running if trial._trial_id not in self.open and is_dead(trial.user_attrs.get("owner"))
        ]
        for trial in dead:
            self._close(trial._trial_id, TrialState.FAIL)
        for trial_id in self.open:  # so that no pause of this process makes its own trials stale
            retry(lambda trial_id=trial_id: self.record_heartbeat(trial_id))  # type: ignore[misc]
        retry(lambda: fail_stale(self.study))
        self.refresh()
        still = {trial._trial_id for trial in self.trials if trial.state == TrialState.RUNNING}
        return sum(trial._trial_id not in still for trial in running)

    @property
    def finished(self) -> int:
        """Number of trials with a score."""
        return sum(trial.state == TrialState.COMPLETE for trial in self.trials)

    @property
    def missing(self) -> int:
        """Number of trials with a score that are missing from the total; practically no limit without a total."""
        return 2**31 if self.total is None else max(0, self.total - self.finished)

    @property
    def is_complete(self) -> bool:
        """Whether the study has its total number of trials with a score."""
        return self.missing == 0

    @property
    def room(self) -> int:
        """Number of further trials that may begin now."""
        if self.total is None:
            return 2**31
        running = sum(trial.state == TrialState.RUNNING for trial in self.trials)
        return self.total - self.finished - running

    def taken(self) -> set[str]:
        """Return the hashes of nets that must not be trained again: scored, in training, or failed for good."""
        deaths = Counter(trial.user_attrs.get("hash", "") for trial in self.trials if is_cut_off(trial))
        taken = {hash_ for hash_, count in deaths.items() if count >= ATTEMPTS}
        for trial in self.trials:
            if trial.state in (TrialState.COMPLETE, TrialState.RUNNING) or (
                trial.state == TrialState.FAIL and not is_cut_off(trial)
            ):
                taken.add(trial.user_attrs.get("hash", ""))
        return taken

    def scores(self) -> list[FrozenTrial]:
        """Return the trials whose scores may guide proposals, the oldest first.

        While a batch is trained, those of the batch are held back.
        """
        held = self.batch_begin
        return [
            trial
            for trial in self.trials
            if trial.state == TrialState.COMPLETE and (held is None or trial.number < held)
        ]

    def pending(self) -> list[FrozenTrial]:
        """Return the trials in training, on all machines, and those of the batch whose scores are held back."""
        held = self.batch_begin
        ended = (TrialState.COMPLETE, TrialState.FAIL)
        return [
            trial
            for trial in self.trials
            if trial.state == TrialState.RUNNING or (held is not None and trial.number >= held and trial.state in ended)
        ]

    def unfinished(self) -> list[FrozenTrial]:
        """Return the interrupted trials to train again, the oldest first, one per architecture."""
        taken = self.taken()
        found: dict[str, FrozenTrial] = {}
        for trial in self.trials:
            if is_cut_off(trial) and trial.user_attrs["hash"] not in taken:
                found.setdefault(trial.user_attrs["hash"], trial)
        return list(found.values())

    def claim(self, candidate: Candidate) -> Claim | None:
        """Return the right to train a candidate, or None if another search has it or the budget is used up."""
        token = uuid.uuid4().hex
        running = self._trial(candidate, TrialState.RUNNING, {"owner": self._me, "token": token})
        trial_id = retry(lambda: self._create_once(running, token))
        mine = self._read_new(trial_id)
        before = [trial for trial in self.trials if trial.number < mine.number]
        rivals = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        rivals += [trial for trial in before if trial.state == TrialState.RUNNING]
        reason = None
        if any(trial.user_attrs.get("hash") == candidate.hash for trial in rivals):
            reason = "trained by another search"
        elif self.total is not None and len(rivals) >= self.total:
            reason = "the budget is used up"
        if reason:
            retry(lambda: self._set_attr(trial_id, "released", reason))
            self._close(trial_id, TrialState.PRUNED)
            self.refresh()
            return None
        self.open[trial_id] = Claim(trial_id, mine.number, candidate)
        return self.open[trial_id]

    def _read_new(self, trial_id: int) -> FrozenTrial:
        """Read a trial that was just created, and all others if some came in between; return it.

        If none did, states of known trials may be out of date. That does no harm: a trial that has ended since then
        counts as running. So a claim takes the same time with any number of nets in training.
        """
        mine: FrozenTrial = retry(lambda: self._storage.get_trial(trial_id))
        if mine.number == len(self.trials):
            self.trials = [*self.trials, mine]
        else:
            self.refresh()
        return mine

    def report(self, claim: Claim, epoch: int, score: float) -> None:
        """Store the score after an epoch."""
        retry(lambda: self._report(claim.trial_id, epoch, score))
        mine = next((trial for trial in self.trials if trial._trial_id == claim.trial_id), None)
        if mine is not None:
            mine.intermediate_values[epoch] = score

    def close(self, claim: Claim, outcome: Outcome) -> bool:
        """Store the outcome of a training run; return False if another search has closed the trial."""
        self.open.pop(claim.trial_id, None)
        result = {
            name: value for name, value in asdict(outcome).items() if value not in (None, False) and name != "score"
        }
        try:
            retry(lambda: self._set_attr(claim.trial_id, "result", result))
        except UpdateFinishedTrialError:
            return False
        state = TrialState.FAIL if outcome.score is None else TrialState.COMPLETE
        is_closed = self._close(claim.trial_id, state, outcome.score)
        closed = retry(lambda: self._storage.get_trial(claim.trial_id))
        self.trials = [closed if trial._trial_id == claim.trial_id else trial for trial in self.trials]
        return is_closed

    def record_heartbeat(self, trial_id: int) -> None:
        """Mark the process of a trial as alive."""
        self._storage.record_heartbeat(trial_id)

    def _trial(self, candidate: Candidate, state: TrialState, attrs: Mapping[str, Any]) -> FrozenTrial:
        facts: dict[str, Any] = {"hash": candidate.hash, **candidate.costs}
        return create_trial(
            state=state,
            params=self.space.params(candidate.point),
            distributions=self.space.distributions_at(candidate.point),
            user_attrs={**facts, **attrs},
            constraints=dict(candidate.violations),
        )

    def _create_once(self, trial: FrozenTrial, token: str) -> int:
        """Create a trial; if an earlier attempt got through though its connection broke, return that one."""
        if getattr(self, "_last_token", None) == token:
            for known in self.refresh():
                if known.user_attrs.get("token") == token:
                    return known._trial_id
        self._last_token = token
        return self._storage.create_new_trial(self.study._study_id, trial)

    def _set_attr(self, trial_id: int, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(trial_id, name, value)

    def _report(self, trial_id: int, epoch: int, score: float) -> None:
        try:
            self._storage.set_trial_intermediate_value(trial_id, epoch, score)
        except UpdateFinishedTrialError:
            return  # another search closed the trial; ``close`` returns False

    def _close(self, trial_id: int, state: TrialState, value: float | None = None) -> bool:
        values = None if value is None else [value]
        try:
            retry(lambda: self._storage.set_trial_state_values(trial_id, state, values))
        except UpdateFinishedTrialError:
            return self._storage.get_trial(trial_id).state == state  # an attempt got through though it seemed not to
        return True
