"""The report of a study: one HTML page that needs no other file."""

from __future__ import annotations

import base64
import warnings
from pathlib import Path

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from lmnet.search.nets.limits import COSTS
from lmnet.search.nets.pricing import Pricer
from lmnet.search.results.answer import family_rows, search_caption, test_caption, test_rows, verdict_text
from lmnet.search.results.charts import bars, history, scatter
from lmnet.search.results.columns import table_for_people
from lmnet.search.results.counts import Scored
from lmnet.search.results.summary import SearchResult
from lmnet.search.study.fingerprint import ABOUT
from lmnet.training.page import render

TEMPLATE = Path(__file__).with_name("report.html")
ENOUGH = 24
"""Least number of trials with a score for which importances are shown."""


def report_html(result: SearchResult, pricer: Pricer, study: optuna.Study) -> str:
    """Return the page."""
    counts, start = result.tally, result.tally.start(result.space)
    limits = ", ".join(f"{name} = {value:g}" for name, value in pricer.limits.describe().items()) or "none"
    failed = ", ".join(f"{count} {reason}" for reason, count in counts.failed.items()) or "none"
    space = f"{result.space.size:,} combinations of values"
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    trials.sort(key=lambda trial: -(trial.value or 0.0))
    return render(
        TEMPLATE,
        title=result.study,
        summary=verdict_text(result.verdict),
        facts=[
            ("limits", "trained nets", "failed", "infeasible proposals", "space"),
            (limits, counts.trials, failed, counts.infeasible, space),
        ],
        confirmed=test_rows(result.verdict),
        confirmed_caption=test_caption(result.verdict),
        search_caption=search_caption(result),
        headline=_headline(counts.best, start),
        cases=_cases(result),
        training=_training(study, sum(one.seconds for one in counts.scored)),
        scatter=scatter(counts.scored, counts.front, start, pricer.limits.max_gflops),
        history=history(counts.scored),
        importances=bars(importances(study)),
        enough=ENOUGH,
        comparison=_comparison(result, pricer, counts.best, start),
        families=family_rows(result) if len(result.space.families) > 1 else [],
        nets=table_for_people(trials, has_families=len(result.space.families) > 1),
    )


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the importance of each knob for a high score (PED-ANOVA, shares of 1), the largest first."""
    scores = [trial.value for trial in study.get_trials(deepcopy=False) if trial.value is not None]
    if len(scores) < ENOUGH or len(set(scores)) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def _cases(result: SearchResult) -> list[tuple[str, str]]:
    """Return caption and image (as a data URL) of the test images of the confirmation."""
    found = []
    for caption, file in (result.verdict or {}).get("cases", []):
        path = None if result.folder is None else result.folder / "cases" / file
        if path is not None and path.exists():
            found.append((caption, f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"))
    return found


def _training(study: optuna.Study, seconds: float) -> list[tuple[object, ...]]:
    """Return the table of how the nets were trained."""
    about = study.user_attrs.get(ABOUT, {}) | {"hours of training": f"{seconds / 3600:.2f}"}
    return [tuple(about), tuple(about.values())]


def _headline(best: Scored | None, start: Scored | None) -> str:
    if best is None:
        return "No net has a score yet."
    text = f"The best net scores {best.score:.4f} at {best.gmacs:.3f} GMACs and {best.params:,} parameters"
    if start is None:
        return text + "."
    own = f"the starting net scores {start.score:.4f} at {start.gmacs:.3f} GMACs and {start.params:,} parameters"
    return f"{text}; {own}."


def _comparison(
    result: SearchResult, pricer: Pricer, best: Scored | None, start: Scored | None
) -> list[tuple[object, ...]]:
    """Return the rows of score, costs and differing knobs of the starting net and the best net."""
    point = next(iter(result.space.starts), None) if start is None else start.point
    if best is None or point is None:
        return [("",)]
    before, after = result.space.params(point), result.space.params(best.point)
    first = pricer.plan(point).costs
    rows: list[tuple[object, ...]] = [("", "starting net", "best net")]
    rows.append(("score", "-" if start is None else f"{start.score:.4f}", f"{best.score:.4f}"))
    rows += [
        (cost.label, cost.text(first.get(cost.name)), cost.text(best.costs.get(cost.name)))
        for cost in COSTS
        if cost.name in best.costs
    ]
    pairs = [(name, before.get(name, "-"), after.get(name, "-")) for name in dict.fromkeys([*before, *after])]
    return rows + [(name, was, now) for name, was, now in pairs if was != now]
