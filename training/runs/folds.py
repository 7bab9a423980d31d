"""Cross-validation by patient: every image is scored once, by a net that was not trained on its patient."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmnet.builder.files import write_durably
from lmnet.builder.find_model import FOLDS_FILE, find_model
from lmnet.builder.models import build_model
from lmnet.builder.spec import spec_of
from lmnet.training.data.load import DataSets
from lmnet.training.data.splits import Split, shuffled, split_by_unit
from lmnet.training.fitting.recipe import Recipe
from lmnet.training.metrics.intervals import summarize
from lmnet.training.metrics.store import CaseScores
from lmnet.training.runs.opened_model import model_facts
from lmnet.training.runs.run_folder import RunFolder, fold_folder
from lmnet.training.runs.train_run import DataChoice, train_run

FORMAT = "lmnet-folds/1"
VAL_EVERY = 9
"""One in this many of the groups that are not in the fold chooses the epoch."""
METRIC = "dice_foreground_mean"


@dataclass(frozen=True)
class FoldsResult:
    """The result of a cross-validation.

    Args:
        folder: holds a run folder of each fold.
        metrics: what metrics.json holds: ``out_of_fold``, the summary over all images, and the Dice of each fold.
    """

    folder: Path
    metrics: dict[str, Any]


def fold_splits(data: DataSets, count: int, *, seed: int, by_group: bool = True) -> list[Split]:
    """Return a split for each fold: its patients are test, one in nine of the others is val, the rest train.

    Args:
        data: all cases; its own split is not used.
        count: number of folds.
        seed: random seed.
        by_group: False cuts through patients: for comparison only.

    Raises:
        ValueError: fewer than two folds, or too few patients for them.
    """
    cases = data.cases.cases
    unit_of = {case.name: case.group if by_group else case.name for case in cases}
    kind = {unit_of[case.name]: case.stratum for case in cases}
    if not 2 <= count <= len(kind) - 2:
        raise ValueError(
            f"--folds: between 2 and {max(2, len(kind) - 2)} folds can be made of {len(kind)} images or patients, "
            f"got {count}. Use --folds 5."
        )
    units, splits = shuffled(kind, seed=seed), []
    for fold in range(count):
        test = set(units[fold::count])
        rest = [unit for unit in units if unit not in test]
        val = rest[fold % VAL_EVERY :: VAL_EVERY] or rest[:1]
        side_of = dict.fromkeys(rest, "train") | dict.fromkeys(val, "val") | dict.fromkeys(test, "test")
        splits.append(split_by_unit(unit_of, side_of))
    return splits


def train_folds(
    spec: str,
    choice: DataChoice,
    count: int,
    *,
    recipe: Recipe,
    variables: Mapping[str, Any] | None = None,
    weights: str | None = None,
    seed: int = 0,
    out: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> FoldsResult:
    """Train a net for each fold and score every image by the net that has not seen it. The same call continues.

    Args:
        spec: MODEL as for ``train_run``.
        choice: the data, without a split.
        count: number of folds.
        recipe: how each is trained.
        variables: values of the spec's variables to change.
        weights: to start from.
        seed: random seed of the folds and of all runs.
        out: folder; None for runs/MODEL-DATA-RECIPE-COUNTfolds-sSEED.
        say: called with what happens, for people.
        options: what else ``train_run`` takes.

    Raises:
        ValueError: what ``train_run`` raises; a split was given; the folder holds something else.
    """
    if choice.split_file is not None or choice.scheme != "holdout":
        given = "--split-file" if choice.split_file is not None else "--split-scheme"
        raise ValueError(f"--folds: it makes its own splits, got {given}. Leave {given} out.")
    model = build_model(spec_of(find_model(spec)).override(dict(variables or {})))
    name, _, num_classes = model_facts(model)
    data = choice.load(seed=seed, num_classes=num_classes)
    splits = fold_splits(data, count, seed=seed, by_group=choice.by_group)
    folder = Path(out or Path("runs") / f"{name}-{data.name}-{recipe.name}-{count}folds-s{seed}")
    _begin(folder, {"format": FORMAT, "folds": count, "seed": seed, "images": data.cases.fingerprint})
    for fold, split in enumerate(splits, start=1):
        file = folder / f"fold-{fold}.split.json"
        write_durably(file, split.dump().encode())
        say(f"fold {fold} of {count}: {len(split.test)} images are scored, {len(split.train)} train")
        train_run(
            spec, replace(choice, split_file=str(file)), recipe=recipe, variables=variables, weights=weights, seed=seed,
            out=str(fold_folder(folder, fold)), say=say, **options,
        )  # fmt: skip
    metrics = _joined(folder, count)
    write_durably(folder / "metrics.json", (json.dumps(metrics, indent=1) + "\n").encode())
    return FoldsResult(folder, metrics)


def _begin(folder: Path, facts: dict[str, Any]) -> None:
    """Write down what is cross-validated, or check that it is what was before."""
    path = folder / FOLDS_FILE
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != facts:
            changed = ", ".join(key for key in facts if before.get(key) != facts[key])
            raise ValueError(
                f"{folder}: another cross-validation has this folder ({changed} differ). Use another --out."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: a cross-validation must have a new folder or its own. Use another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(path, (json.dumps(facts, indent=1) + "\n").encode())


def _joined(folder: Path, count: int) -> dict[str, Any]:
    """Return the scores of all images, each from the fold that did not train on it."""
    runs = [RunFolder(fold_folder(folder, fold)) for fold in range(1, count + 1)]
    stores = [json.loads(run.file("scores").read_text(encoding="utf-8"))["test"] for run in runs]
    scores = joined_scores([CaseScores.load(store) for store in stores])
    write_durably(folder / "scores.json", json.dumps({"out_of_fold": scores.dump()}).encode())
    first = json.loads(runs[0].file("metrics").read_text(encoding="utf-8"))
    by_fold = [json.loads(run.file("metrics").read_text(encoding="utf-8"))["test"][METRIC] for run in runs]
    return {
        "model": first["model"],
        "data": first["data"],
        "size": first["size"],
        "folds": count,
        "dice_by_fold": by_fold,
        "out_of_fold": summarize(scores),
    }


def joined_scores(parts: Sequence[CaseScores]) -> CaseScores:
    """Return the scores of several sets of images as one set."""
    return CaseScores(
        names=tuple(name for part in parts for name in part.names),
        confusion=np.concatenate([part.confusion for part in parts]),
        figures={
            key: np.concatenate([part.figures[key] for part in parts])
            for key in parts[0].figures
            if all(key in part.figures for part in parts)
        },
        classes=parts[0].classes,
    )


def print_folds(result: FoldsResult, say: Callable[[str], None], *, as_json: bool) -> None:
    """Print the out-of-fold scores on stdout, the folder last, and for people on stderr what they mean."""
    metrics, folder = result.metrics, result.folder
    if as_json:
        print(json.dumps({**metrics, "run": str(folder)}))
        return
    from lmnet.training.metrics.shown import value_with_interval
    from lmnet.training.runs.score_table import print_scores

    print_scores({"out of fold": metrics["out_of_fold"]})
    folds = ", ".join("-" if value is None else f"{value:.3f}" for value in metrics["dice_by_fold"])
    say(f"out-of-fold Dice {value_with_interval(metrics['out_of_fold'], METRIC)}; by fold {folds}")
    say("Every image was scored by the net that was not trained on it. The interval is over images, for one seed.")
    say(f"next: lmnet-predict {folder} FOLDER_OR_IMAGE      (the mean of the {metrics['folds']} nets)")
    say(f"      lmnet-train {metrics['model']} --teacher {folder} ...      (one net that learns from all of them)")
    print(folder)
