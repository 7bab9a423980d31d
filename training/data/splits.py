"""Splits: which cases train, which choose the epoch, which are tested; fixed by seed, patients never cut in two."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lmnet.training.data.errors import DataError

SIDES = ("train", "val", "test")
SCHEMES = ("holdout", "authors")
NUM_FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Names of the cases on each side.

    Args:
        train: cases that train.
        val: cases that choose the best epoch.
        test: cases that are scored once, at the end.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def dump(self) -> str:
        """Return the split as JSON, the form that ``--split-file`` reads."""
        return json.dumps({side: list(names) for side, names in asdict(self).items()}, indent=1) + "\n"


def make_split(
    names: Sequence[str],
    groups: Sequence[str],
    strata: Sequence[str] = (),
    *,
    scheme: str = "holdout",
    seed: int = 0,
    fold: int = 0,
    by_group: bool = True,
) -> Split:
    """Split cases by seed.

    Args:
        names: names of the cases.
        groups: the patient of each case; a patient is on one side only.
        strata: kinds to mix evenly over the sides; empty for none.
        scheme: "holdout": 80 % train, 10 % val, 10 % test. "authors": 10 % test, then 5 folds of the rest, of which
            ``fold`` is val.
        seed: random seed of the shuffle.
        fold: 0 to 4, for the scheme "authors".
        by_group: False cuts through patients, as the authors did with LGG: only to compare with their figures.

    Raises:
        ValueError: unknown scheme, or fold out of range.
        DataError: too few patients for three sides.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"split: scheme must be one of {', '.join(SCHEMES)}, got scheme={scheme!r}. Use holdout.")
    if not 0 <= fold < NUM_FOLDS:
        raise ValueError(f"split: fold must be 0 to {NUM_FOLDS - 1}, got fold={fold}. The authors make 5 folds.")
    keys = list(groups) if by_group else list(names)
    kind = dict(zip(keys, strata or [""] * len(keys), strict=True))
    if len(kind) < 3:
        raise DataError(
            "split",
            [f"a data set must have at least 3 images or patients to be split, got {len(kind)}."],
            "Add images, or name the sides in a --split-file.",
        )
    test, rest = _every(shuffled(kind, seed=seed), 10, 0)
    val, train = _every(rest, 9, 0) if scheme == "holdout" else _every(rest, NUM_FOLDS, fold)
    side_of = dict.fromkeys(train, "train") | dict.fromkeys(val, "val") | dict.fromkeys(test, "test")
    return split_by_unit(dict(zip(names, keys, strict=True)), side_of)


def shuffled(kind: Mapping[str, str], *, seed: int) -> list[str]:
    """Return units (patients or images) in a random order, kind by kind: every n-th one is of all kinds alike.

    Args:
        kind: unit → its kind.
        seed: random seed.
    """
    units = sorted(kind)
    random.Random(seed).shuffle(units)
    return sorted(units, key=lambda unit: kind[unit])


def split_by_unit(unit_of: Mapping[str, str], side_of: Mapping[str, str]) -> Split:
    """Return the split that puts each case on the side of its unit.

    Args:
        unit_of: name of a case → its patient, or itself.
        side_of: unit → train, val or test.
    """
    return Split(*(tuple(name for name, unit in unit_of.items() if side_of[unit] == side) for side in SIDES))


def _every(units: Sequence[str], step: int, offset: int) -> tuple[list[str], list[str]]:
    """Return every step-th unit (at least one) and the others."""
    taken = list(units[min(offset, len(units) - 1) :: step])
    return taken, [unit for unit in units if unit not in set(taken)]


def read_split(path: Path, names: Sequence[str], groups: Sequence[str]) -> tuple[Split, tuple[str, ...]]:
    """Read a split file and check it against the cases; return the split and notes.

    Raises:
        DataError: the file is no split, names a case twice or one that the data set lacks, or has an empty side.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(str(path), [f"it is no readable JSON ({error})."], _FORMAT) from error
    return check_split(content, names, groups, where=str(path))


_FORMAT = 'The form is {"train": ["name", ...], "val": [...], "test": [...]}.'


def check_split(
    content: object, names: Sequence[str], groups: Sequence[str], *, where: str
) -> tuple[Split, tuple[str, ...]]:
    """Check what a split file holds; return the split and notes.

    Raises:
        DataError: see ``read_split``.
    """
    if not isinstance(content, Mapping) or set(content) != set(SIDES):
        got = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise DataError(where, [f"a split must have the keys train, val and test, got {got}."], _FORMAT)
    known = dict(zip(names, groups, strict=True))
    problems: list[str] = []
    side_of: dict[str, str] = {}
    for side in SIDES:
        entries = content[side]
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise DataError(where, [f"{side} must be a list of names."], _FORMAT)
        if not entries:
            problems.append(f"{side}: it has no case.")
        for entry in entries:
            if entry not in known:
                problems.append(f"{side}: the data set has no case {entry!r}.")
            elif entry in side_of:
                problems.append(f"{side}: {entry!r} is in {side_of[entry]} too.")
            side_of.setdefault(entry, side)
    if problems:
        raise DataError(where, problems, "Correct the split file.")
    notes = []
    if len(side_of) < len(known):
        notes.append(f"{len(known) - len(side_of)} cases are on no side of the split and are not used.")
    cut = {group for group in set(groups) if len({side_of.get(n) for n, g in known.items() if g == group} - {None}) > 1}
    if cut:
        notes.append(f"{len(cut)} patients are on two sides of the split: scores come out too high.")
    return Split(*(tuple(content[side]) for side in SIDES)), tuple(notes)
