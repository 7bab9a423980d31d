"""Scoring what a command names on the data it names; comparing two of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.load import DataSets, load_cases, load_data
from lmnet.training.evaluation import evaluate
from lmnet.training.metrics.comparison import Comparison, compare
from lmnet.training.metrics.store import CaseScores
from lmnet.training.opened_model import OpenedModel, open_model
from lmnet.training.train_run import DataChoice

Say = Callable[[str], None]


def score_model(
    opened: OpenedModel,
    choice: DataChoice,
    *,
    side: str,
    seed: int = 0,
    batch_size: int = 8,
    device: str = "auto",
    say: Say = lambda text: None,
) -> tuple[CaseScores, dict[str, Any]]:
    """Score a model on one side of a data set.

    A run is scored on its own split where the data holds the cases of it.

    Args:
        opened: the model.
        choice: the data; its path may be empty for a run's own.
        side: all, val, test or train.
        seed: of the split.
        batch_size: pictures at once.
        device: auto, cpu, cuda or cuda:N.
        say: told notes.

    Returns:
        The scores, and what they are of: model, data, split, size, fingerprint.

    Raises:
        ValueError: anything wrong with the data, or no data was named.
    """
    if not choice.path and opened.run is None:
        raise ValueError("data: a model that is no run folder must be told its data, got no --data. Give --data PATH.")
    if opened.run is not None:
        manifest = opened.run.manifest()
        choice = replace(choice, path=choice.path or manifest["data"])
        seed = manifest["seed"]
    name, cases, notes = _cases(opened, choice, side, seed)
    for note in notes:
        say(f"note: {note}")
    scores = evaluate(opened.model, cases, batch_size=batch_size, device=device, **opened.settings())
    facts = {"model": opened.name, "data": name, "split": side, "size": opened.size, "fingerprint": cases.fingerprint}
    return scores, facts


def compare_models(
    first: str,
    second: str,
    choice: DataChoice,
    *,
    side: str,
    seed: int = 0,
    batch_size: int = 8,
    device: str = "auto",
    say: Say = lambda text: None,
) -> Comparison:
    """Compare two models on the same images; two finished runs without data are compared by their stored scores.

    Raises:
        ValueError: the two were not scored on the same images, or a model cannot be opened.
    """
    if not choice.path:
        stores = [_stored(open_model(text), side) for text in (first, second)]
        if stores[0]["fingerprint"] != stores[1]["fingerprint"]:
            raise ValueError(
                f"compare: both runs must be scored on the same images, got {side} sets {stores[0]['fingerprint']} and "
                f"{stores[1]['fingerprint']}. Give --data and --split-file to score both anew."
            )
        return compare(*(CaseScores.load(store) for store in stores))
    scores = []
    for text in (first, second):
        opened = open_model(text)
        scores.append(
            score_model(opened, choice, side=side, seed=seed, batch_size=batch_size, device=device, say=say)[0]
        )
    return compare(*scores)


def _cases(opened: OpenedModel, choice: DataChoice, side: str, seed: int) -> tuple[str, CaseSet, tuple[str, ...]]:
    if side == "all":
        scanned = load_cases(choice.path, seed=seed)
        return scanned.layout, scanned.cases, scanned.notes
    if opened.run is not None and choice.split_file is None:
        scanned = load_cases(choice.path, seed=seed)
        split = opened.run.split()
        if {*split.train, *split.val, *split.test} <= set(scanned.cases.names):
            data = DataSets(scanned.layout, scanned.cases, split, scanned.notes)
            return data.name, data.side(side), data.notes
    data = load_data(
        choice.path,
        seed=seed,
        scheme=choice.scheme,
        fold=choice.fold,
        by_group=choice.by_group,
        split_file=choice.split_file,
        num_classes=opened.num_classes,
    )
    return data.name, data.side(side), data.notes


def _stored(opened: OpenedModel, side: str) -> dict[str, Any]:
    if opened.run is None or not opened.run.is_finished:
        raise ValueError(
            f"compare: without --data both must be finished runs, got {opened.name}. Give --data PATH to score both."
        )
    stores: dict[str, dict[str, Any]] = json.loads(opened.run.file("scores").read_text(encoding="utf-8"))
    if side not in stores:
        raise ValueError(f"compare: a run stores scores of {', '.join(stores)}, got split={side!r}. Use --split test.")
    return stores[side]
