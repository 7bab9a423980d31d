"""The report of a study: one HTML page without anything from elsewhere."""

from __future__ import annotations

import html
import warnings
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from lmnet.search.charts import bars, history, scatter
from lmnet.search.pricing import Pricer
from lmnet.search.results import Scored

if TYPE_CHECKING:
    from lmnet.search.run_search import SearchResult

TEMPLATE = Path(__file__).with_name("report.html")
ENOUGH = 8
"""Trials with a score from which on importances are worth showing."""


def report_html(result: SearchResult, pricer: Pricer, study: optuna.Study) -> str:
    """Return the page."""
    counts, start = result.tally, result.tally.at(result.space.start)
    limits = ", ".join(f"{name} = {value:g}" for name, value in pricer.limits.describe().items()) or "none"
    failed = ", ".join(f"{count} {reason}" for reason, count in counts.failed.items()) or "none"
    best = counts.best
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        study=html.escape(result.study),
        headline=html.escape(_headline(best, start)),
        facts=_table(
            ("limits", "trials", "stopped early", "failed", "infeasible proposals", "space"),
            [(limits, counts.trials, counts.stopped, failed, counts.infeasible, f"{result.space.size:,} points")],
        ),
        front=scatter(counts.scored, counts.front, start, pricer.limits.max_gflops),
        history=history(counts.scored),
        importances=bars(importances(study)) or "<p>Shown from 8 trials on.</p>",
        compare=_compare(result, pricer, best, start),
        nets=_table(
            ("trial", "score", "GMACs", "parameters", "epochs", "", "hash"),
            [
                (
                    one.number,
                    f"{one.score:.4f}",
                    f"{one.gmacs:.3f}",
                    f"{one.params:,}",
                    one.epochs or "",
                    "stopped early" if one.is_stopped else "front" if one in counts.front else "",
                    one.hash,
                )
                for one in sorted(counts.scored, key=lambda one: (one.is_stopped, -one.score))
            ],
        ),  # fmt: skip
    )


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the share of each knob in what makes a net one of the best (PED-ANOVA), the largest first."""
    if sum(trial.value is not None for trial in study.get_trials(deepcopy=False)) < ENOUGH:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def _headline(best: Scored | None, start: Scored | None) -> str:
    if best is None:
        return "No net has a score yet."
    text = f"Best score {best.score:.4f} at {best.gmacs:.3f} GMACs and {best.params:,} parameters"
    if start is None:
        return text + "."
    return text + f"; the start has {start.score:.4f} at {start.gmacs:.3f} GMACs and {start.params:,} parameters."


def _compare(result: SearchResult, pricer: Pricer, best: Scored | None, start: Scored | None) -> str:
    point = result.space.start
    if best is None or point is None:
        return ""
    before, after = result.space.params(point), result.space.params(best.point)
    first = pricer.price(point)
    rows: list[tuple[object, ...]] = [
        ("score", "-" if start is None else f"{start.score:.4f}", f"{best.score:.4f}"),
        ("GMACs", f"{first.gmacs:.4f}", f"{best.gmacs:.4f}"),
        ("parameters", f"{first.params:,}", f"{best.params:,}"),
    ]
    rows += [(name, before[name], after[name]) for name in before if before[name] != after[name]]
    return _table(("", "start", "best"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = ["".join(f"<td>{html.escape(str(value))}</td>" for value in row) for row in rows]
    return f"<table><tr>{cells}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
