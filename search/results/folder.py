"""The folder of results: specs that the builder builds, tables, the best weights and a report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lmnet.builder.files import clear_leftovers, write_durably
from lmnet.builder.spec import Spec, parse_spec
from lmnet.search.nets.limits import COSTS
from lmnet.search.nets.pricing import Pricer
from lmnet.search.results.columns import trial_row
from lmnet.search.results.counts import Scored, Tally
from lmnet.search.results.report import report_html
from lmnet.search.results.summary import SearchResult, as_dict


def write_folder(result: SearchResult, pricer: Pricer, study: optuna.Study, *, is_final: bool = True) -> None:
    """Write all results of a study over those of an earlier call.

    Args:
        result: result of the search so far.
        pricer: computes costs in its space.
        study: the study with its trials.
        is_final: whether the training runs are over; only then are unneeded weights deleted.
    """
    folder = result.folder
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder, folder / "front", folder / "weights"):
        clear_leftovers(each)
    trials = study.get_trials(deepcopy=False)
    _write(folder / "trials.csv", trials_csv(trials))
    _write(folder / "trials.json", json.dumps([trial_row(trial) for trial in trials], indent=1))
    tally = result.tally
    if tally.best is not None:
        _write(folder / "best.yaml", found_spec(pricer, tally.best, result.study).dump())
        start = tally.start(result.space)
        starts = result.space.starts if start is None else [start.point]
        if starts:
            _write(folder / "diff.txt", diff(pricer, tally, starts[0]))
    _write_front(folder / "front", {one.hash: found_spec(pricer, one, result.study).dump() for one in tally.front})
    _write_best_weights(folder, tally)
    if is_final and not any(trial.state == TrialState.RUNNING for trial in trials):  # of another search, too
        _drop_weights(folder, tally, finalists=(result.verdict or {}).get("finalists", ()))
    _write(folder / "report.html", report_html(result, pricer, study))
    _write(folder / "search.json", json.dumps(as_dict(result), indent=1))


def found_spec(pricer: Pricer, one: Scored, study: str) -> Spec:
    """Return the spec of a found net in the form of the zoo: with its costs in ``expect``."""
    spec = pricer.spec(one.point)
    data: dict[str, Any] = {}
    layout = spec.layout
    for key, value in spec.document.data.items():
        if key == "name":
            value = f"{value}_{one.hash[:6]}"
        if key == "source":
            continue
        data[key] = value
        if key == "name":
            data["source"] = f"lmnet-search, study {study}, trial {one.number}, score {one.score:.4f}"
            data["expect"] = {
                "params": one.params,
                "gmacs": one.gmacs,
                "input": [layout.input.channels, *layout.input.size],
                "form": "deploy",
            }
    found = Spec.of(type(spec.document)("<found>", data))
    return parse_spec(found.dump())


def diff(pricer: Pricer, tally: Any, start: Any) -> str:
    """Return the knobs in which the best net differs from the starting net, one per line, and the costs of both."""
    space, best = pricer.space, tally.best
    first, own = pricer.plan(start), tally.at(start)
    lines = [f"{'':24}{'starting net':>22}{'best net':>22}"]
    before, after = space.params(start), space.params(best.point)
    names = dict.fromkeys([*before, *after])
    pairs = [(name, before.get(name, "-"), after.get(name, "-")) for name in names]
    lines += [f"{name:24}{was!s:>22}{now!s:>22}" for name, was, now in pairs if was != now]
    for cost in COSTS:
        if cost.name in best.costs:
            was, now = cost.text(first.costs.get(cost.name)), cost.text(best.costs[cost.name])
            lines.append(f"{cost.label:24}{was:>22}{now:>22}")
    lines.append(f"{'score':24}{f'{own.score:.4f}' if own else '-':>22}{best.score:>22.4f}")
    return "\n".join(lines) + "\n"


def trials_csv(trials: list[FrozenTrial]) -> str:
    """Return all trials as CSV."""
    rows = [trial_row(trial) for trial in trials]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_front(front: Path, specs: dict[str, str]) -> None:
    """Write the specs of the front and delete older ones; the folder stays, as another search may write to it."""
    names = {f"{place:02d}_{hash_}.yaml": spec for place, (hash_, spec) in enumerate(specs.items())}
    if names:
        front.mkdir(exist_ok=True)
    for name, spec in names.items():
        _write(front / name, spec)
    for file in front.glob("*.yaml"):
        if file.name not in names:
            file.unlink(missing_ok=True)


def _write_best_weights(folder: Path, tally: Tally) -> None:
    """Put the best net's weights beside its spec; if there are none, those of another net are deleted."""
    place = folder / "best.safetensors"
    try:
        content = None if tally.best is None else (folder / "weights" / f"{tally.best.hash}.safetensors").read_bytes()
    except FileNotFoundError:  # a user's objective keeps no weights
        content = None
    if content is None:
        place.unlink(missing_ok=True)
    else:
        write_durably(place, content)


def _drop_weights(folder: Path, tally: Tally, *, finalists: Collection[str]) -> None:
    """Delete the weights of nets that are not on the front, not the best, and not among the finalists."""
    kept = {one.hash for one in tally.front} | set(finalists) | {tally.best.hash if tally.best else ""}
    for file in (folder / "weights").glob("*.safetensors"):
        if file.stem not in kept:
            file.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    write_durably(path, text.encode())
