"""Scoring what a command names on the data it names; comparing two of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.load import load_cases
from lmnet.training.data.scan import Scanned
from lmnet.training.data.splits import SIDES, Split
from lmnet.training.fitting.evaluation import evaluate
from lmnet.training.metrics.comparison import Comparison, compare
from lmnet.training.metrics.store import CaseScores
from lmnet.training.runs.opened_model import OpenedModel, open_model, with_class_names
from lmnet.training.runs.run_folder import RunFolder
from lmnet.training.runs.train_run import DataChoice

Say = Callable[[str], None]

_USUAL = DataChoice().split_options()


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

    A run is scored on its own split; images that the data lacks or has besides are named in notes.

    Args:
        opened: the model.
        choice: the data; its path may be empty for a run's own.
        side: all, val, test or train.
        seed: random seed of the split.
        batch_size: images at once.
        device: auto, cpu, cuda or cuda:N.
        say: called with notes.

    Returns:
        The scores, and what they are of: model, data, split, size, fingerprint.

    Raises:
        ValueError: anything wrong with the data, or no data was named.
    """
    name, cases, notes = cases_of(opened, choice, side=side, seed=seed)
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
    size: int | None = None,
    seed: int = 0,
    batch_size: int = 8,
    device: str = "auto",
    say: Say = lambda text: None,
) -> Comparison:
    """Compare two models on the same images.

    Two finished runs are compared by their stored scores, unless something is asked for that these do not hold: other
    data, another split, another meaning of values, another size.

    Args:
        first: run folder or zoo name.
        second: run folder or zoo name.
        choice: the data; its path may be empty for two runs on the same data.
        side: all, val, test or train.
        size: side in pixels to feed both; None for the size that each was trained at.
        seed: random seed of the split.
        batch_size: images at once.
        device: auto, cpu, cuda or cuda:N.
        say: called with notes.

    Raises:
        ValueError: the two were not scored on the same images, or a model cannot be opened.
    """
    if choice == DataChoice(path="") and size is None:
        stores = [_stored(open_model(text), side) for text in (first, second)]
        if stores[0]["fingerprint"] != stores[1]["fingerprint"]:
            raise ValueError(
                f"compare: the two were scored on different images: their {side} sets are {stores[0]['fingerprint']} "
                f"and {stores[1]['fingerprint']}. Give --data and --split-file to score both anew."
            )
        return compare(*(CaseScores.load(store) for store in stores))
    found = [
        score_model(
            open_model(text, size=size), choice, side=side, seed=seed, batch_size=batch_size, device=device, say=say
        )
        for text in (first, second)
    ]
    return compare(*(scores for scores, _ in found))


def cases_of(
    opened: OpenedModel, choice: DataChoice, *, side: str, seed: int = 0
) -> tuple[str, CaseSet, tuple[str, ...]]:
    """Return the name of the data, one side's cases, and notes: above all which of them the model was trained on.

    The arguments and errors are ``score_model``'s.
    """
    if not choice.path and opened.run is None:
        raise ValueError(
            f"{opened.name}: which data to score it on is not known, as it is no run folder. Give --data PATH."
        )
    with_class_names(opened, choice.options.class_names)  # other names than the model's are refused
    if opened.run is not None:
        manifest = opened.run.manifest()
        _check_run(opened, opened.run, choice, seed)
        choice = replace(choice, path=choice.path or manifest["data"])
        seed = manifest["seed"]
    if opened.run is not None and choice.split_file is None:
        return _cases_of_run(opened, opened.run.split(), choice, side, seed)
    if side == "all":
        scanned = _scanned(opened, choice, seed)
        return scanned.layout, scanned.cases, (*scanned.notes, _UNKNOWN)
    data = choice.load(seed=seed, num_classes=opened.num_classes, known=opened.meaning)
    more = (_UNKNOWN,) if opened.run is None else _trained_on(opened.run.split(), data.side(side))
    return data.name, data.side(side), (*data.notes, *more)


def _trained_on(split: Split, cases: CaseSet) -> tuple[str, ...]:
    """Return a note if a run was trained on some of the images."""
    trained = set(split.train) & set(cases.names)
    text = f"{len(trained)} of these {len(cases)} images were trained on; scores on them come out too high."
    return (text,) if trained else ()


def _check_run(opened: OpenedModel, run: RunFolder, choice: DataChoice, seed: int) -> None:
    """Check that the options about the data do not contradict the run, whose own choice is the default."""
    manifest = run.manifest()
    if choice.split_file is None:
        own = manifest.get("split", DataChoice().split_options())
        wrong = {key: value for key, value in choice.split_options().items() if value not in (own[key], _USUAL[key])}
        if seed not in (0, manifest["seed"]):
            wrong["seed"] = seed
        if wrong:
            given = ", ".join(f"--{key.replace('_', '-')} {value}" for key, value in wrong.items())
            raise ValueError(
                f"{run.path}: a run is scored on its own split, got {given}. Leave it out, or give --split-file."
            )
    is_own_data = choice.path in ("", manifest["data"])
    if opened.meaning is None or not is_own_data:
        return
    values, masks = choice.options.masks.values, opened.meaning.masks
    if values and values != "nonzero" and tuple(values) != tuple(masks.values) and not masks.colors:
        before = ",".join(f"{value:g}" for value in masks.values)
        raise ValueError(
            f"{run.path}: its masks were read as --mask-values {before} in training, got "
            f"{','.join(f'{value:g}' for value in values)}. Leave --mask-values out."
        )


_UNKNOWN = "it is not known which of these images the weights were trained on; scores on those come out too high."


def _cases_of_run(
    opened: OpenedModel, split: Split, choice: DataChoice, side: str, seed: int
) -> tuple[str, CaseSet, tuple[str, ...]]:
    """Return the cases of a run's own split; what the data lacks or has besides is named, and no new split is made."""
    scanned = _scanned(opened, choice, seed)
    there = {name: index for index, name in enumerate(scanned.cases.names)}
    sides = {each: getattr(split, each) for each in SIDES}
    notes = list(scanned.notes)
    known = {name for names in sides.values() for name in names}
    new = [name for name in there if name not in known]
    if side == "all":
        trained = [name for name in sides["train"] if name in there]
        if trained:
            notes.append(
                f"{len(trained)} of the {len(there)} images were trained on; scores on them come out too high."
            )
        return scanned.layout, scanned.cases, tuple(notes)
    wanted = [name for name in sides[side] if name in there]
    if not wanted:
        raise ValueError(
            f"{choice.path}: none of the run's {len(sides[side])} {side} images is there ({_some(sides[side])}). "
            "Give its own data, or score these images with --split all."
        )
    missing = [name for name in sides[side] if name not in there]
    if missing:
        notes.append(f"{len(missing)} of the run's {len(sides[side])} {side} images are missing: {_some(missing)}.")
    if new:
        notes.append(f"{len(new)} images are in no part of the run's split and are not scored: {_some(new)}.")
    if side == "train":
        notes.append("these images were trained on; scores on them come out too high.")
    return scanned.layout, scanned.cases.subset([there[name] for name in wanted]), tuple(notes)


def _scanned(opened: OpenedModel, choice: DataChoice, seed: int) -> Scanned:
    return load_cases(
        choice.path, seed=seed, options=choice.options, num_classes=opened.num_classes, known=opened.meaning
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _stored(opened: OpenedModel, side: str) -> dict[str, Any]:
    if opened.run is None or not opened.run.is_finished:
        raise ValueError(
            f"compare: {opened.name} is no finished run, so it has no stored scores. Give --data PATH to score both."
        )
    try:
        stores: dict[str, dict[str, Any]] = json.loads(opened.run.file("scores").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{opened.run.file('scores')}: the scores cannot be read ({error}). Give --data.") from error
    if side not in stores:
        raise ValueError(f"compare: a run stores scores of {', '.join(stores)}, none of {side}. Use --split test.")
    return stores[side]
