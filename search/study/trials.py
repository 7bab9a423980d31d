"""What a trial in the storage says: whether it was infeasible or cut off, and its outcome."""

from __future__ import annotations

from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from lmnet.search.train.messages import Outcome

CUT_OFF = ("interrupted", "worker died")


def is_infeasible(trial: FrozenTrial) -> bool:
    """Return whether a trial is a proposal that missed a limit."""
    return any(value > 0 for value in trial.constraints.values())


def is_cut_off(trial: FrozenTrial) -> bool:
    """Return whether Ctrl-C or a dying process cut a trial's training off, so that it says nothing about its net."""
    if trial.state != TrialState.FAIL:
        return False
    return trial.user_attrs.get("result", {}).get("reason", CUT_OFF[1]) in CUT_OFF


def outcome_of(trial: FrozenTrial) -> Outcome:
    """Return the outcome of a finished trial."""
    result = trial.user_attrs.get("result", {})
    known = {name: result[name] for name in Outcome.__dataclass_fields__ if name in result}
    return replace(Outcome(score=trial.value if trial.state == TrialState.COMPLETE else None), **known)
