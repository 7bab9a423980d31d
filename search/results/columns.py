"""The columns of a study's trials: one row here is one column in trials.csv, trials.json and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from lmnet.search.nets.families import FAMILY
from lmnet.search.nets.limits import COSTS
from lmnet.search.study.trials import is_infeasible


@dataclass(frozen=True)
class Column:
    """One fact about a trial.

    Args:
        name: key in trials.csv and trials.json.
        of: returns the fact of a trial, or None.
        label: heading in the report; empty to leave it out there.
        text: formats the fact for the report.
    """

    name: str
    of: Callable[[FrozenTrial], Any]
    label: str = ""
    text: Callable[[Any], str] = str


def _state(trial: FrozenTrial) -> str:
    return "infeasible" if is_infeasible(trial) else trial.state.name.lower()


def _attribute(name: str) -> Callable[[FrozenTrial], Any]:
    return lambda trial: trial.user_attrs.get(name)


def _result(name: str) -> Callable[[FrozenTrial], Any]:
    return lambda trial: trial.user_attrs.get("result", {}).get(name)


COLUMNS = (
    Column("number", lambda trial: trial.number, "trial"),
    Column("state", _state),
    Column("score", lambda trial: trial.value, "score", "{:.4f}".format),
    Column("hash", _attribute("hash"), "hash"),
    *(Column(cost.name, _attribute(cost.name), cost.label, cost.text) for cost in COSTS),
    Column("epochs", _result("epochs"), "epochs"),
    Column("seconds", _result("seconds"), "seconds", "{:.0f}".format),
    Column("peak_mib", _result("peak_mib")),
    Column("reason", _result("reason")),
    Column("error", _result("error")),
)
FAMILY_COLUMN = Column(FAMILY, lambda trial: trial.params.get(FAMILY), FAMILY)
"""A column of the report in a search of several families; in trials.csv the family is one of the parameters."""


def trial_row(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial as one flat row: its columns and its parameters."""
    row = {column.name: column.of(trial) for column in COLUMNS}
    return row | {name: json.dumps(value) if isinstance(value, list) else value for name, value in trial.params.items()}


def table_for_people(trials: list[FrozenTrial], *, has_families: bool = False) -> list[list[str]]:
    """Return headings and rows for the report; a column without any value is left out."""
    columns = [*COLUMNS, FAMILY_COLUMN] if has_families else COLUMNS
    shown = [column for column in columns if column.label and any(column.of(trial) is not None for trial in trials)]
    rows = [[column.label for column in shown]]
    for trial in trials:
        values = [column.of(trial) for column in shown]
        rows.append(["" if value is None else column.text(value) for column, value in zip(shown, values, strict=True)])
    return rows
