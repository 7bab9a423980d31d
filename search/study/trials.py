"""Tests of a trial in the storage: whether it was infeasible or interrupted."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState

CUT_OFF = ("interrupted", "worker died")


def is_infeasible(trial: FrozenTrial) -> bool:
    """Return whether a trial is a proposal that missed a limit."""
    return any(value > 0 for value in trial.constraints.values())


def is_cut_off(trial: FrozenTrial) -> bool:
    """Return whether Ctrl-C or the death of a process interrupted a trial, so that it says nothing about its net."""
    if trial.state != TrialState.FAIL:
        return False
    return trial.user_attrs.get("result", {}).get("reason", CUT_OFF[1]) in CUT_OFF
