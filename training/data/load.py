"""From a path to three sides of a split, checked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.errors import DataError
from lmnet.training.data.meaning import DataMeaning, DataOptions
from lmnet.training.data.scan import Scanned, class_problems, scan
from lmnet.training.data.splits import SIDES, Split, check_split, make_split, read_split
from lmnet.training.data.synthetic import draw_cases

SYNTHETIC = "synthetic"


@dataclass(repr=False)
class DataSets:
    """A data set, split.

    Args:
        name: the layout: synthetic, kvasir, lgg, busi, folders, nnunet, decathlon or table.
        cases: all cases.
        split: the names on each side.
        notes: what was done with odd files, for people to read.
    """

    name: str
    cases: CaseSet
    split: Split
    notes: tuple[str, ...] = ()
    train: CaseSet = field(init=False)
    val: CaseSet = field(init=False)
    test: CaseSet = field(init=False)

    def __post_init__(self) -> None:
        """Cut the cases into sides."""
        place = {name: index for index, name in enumerate(self.cases.names)}
        for side in SIDES:
            setattr(self, side, self.cases.subset([place[name] for name in getattr(self.split, side)]))

    def __repr__(self) -> str:
        """Two lines: the sides, and what the values mean."""
        sides = ", ".join(f"{side} {len(self.side(side))}" for side in SIDES)
        return f"{self.name}: {self.cases} ({sides})\n{self.cases.meaning.describe(len(self.cases))}"

    def side(self, name: str) -> CaseSet:
        """Return one side, or every case for ``all``.

        Raises:
            ValueError: the name is not all, train, val or test.
        """
        if name not in ("all", *SIDES):
            raise ValueError(f"split: side must be one of all, {', '.join(SIDES)}, got side={name!r}. Use test.")
        return self.cases if name == "all" else getattr(self, name)

    @property
    def fingerprint(self) -> str:
        """A hash of the content of all sides: what two scores must share to be comparable."""
        return "-".join(self.side(side).fingerprint for side in SIDES)


def load_cases(
    path: str | Path,
    *,
    seed: int = 0,
    count: int = 480,
    options: DataOptions | None = None,
    num_classes: int | None = None,
    known: DataMeaning | None = None,
) -> Scanned:
    """Read a data set and check its files, without a split.

    Args:
        path: a folder, a list (.csv, .json), or "synthetic".
        seed: random seed of the synthetic images.
        count: number of synthetic images.
        options: what the user says about the files' values.
        num_classes: number of the model's classes.
        known: what was decided when the model was trained.

    Raises:
        DataError: with every problem of the files.
    """
    if str(path) == SYNTHETIC:
        return Scanned(SYNTHETIC, draw_cases(count, seed=seed), ())
    return scan(Path(path), options=options, num_classes=num_classes, known=known)


def load_data(
    path: str | Path,
    *,
    seed: int = 0,
    scheme: str = "holdout",
    fold: int = 0,
    by_group: bool = True,
    split_file: str | Path | None = None,
    split: Split | None = None,
    num_classes: int = 2,
    count: int = 480,
    options: DataOptions | None = None,
    known: DataMeaning | None = None,
) -> DataSets:
    """Read a data set, check it through and split it. Nothing is resized yet: ``CaseSet.at`` does that.

    Args:
        path: a folder of a known layout (docs/data.md), a list of images and masks (.csv, .json), or "synthetic".
        seed: random seed of the split (and of the synthetic images).
        scheme: "holdout" (80, 10, 10 %) or "authors" (10 % test, 5 folds of the rest).
        fold: 0 to 4, which of the authors' folds is val.
        by_group: False cuts through patients, as the authors did: for comparison only.
        split_file: a JSON file with the sides' names, instead of a scheme.
        split: the sides' names, instead of a scheme.
        num_classes: outputs of the model; the masks must hold these classes and no more.
        count: number of synthetic images.
        options: what the user says about the files' values.
        known: what was decided when the model was trained.

    Raises:
        DataError: with every problem of the files, the split and the classes.
        ValueError: an unknown scheme or a fold out of range.

    Example:
        >>> from lmnet.training import load_data
        >>> load_data("synthetic", count=20)
        synthetic: 20 images of 20 patients (train 16, val 2, test 2)
        masks: 0 = background, 255 = lesion; 20 files. images: 8 bit, as they are.
    """
    scanned = load_cases(path, seed=seed, count=count, options=options, num_classes=num_classes, known=known)
    cases = scanned.cases
    notes = scanned.notes
    groups = [case.group for case in cases.cases]
    if split is None and split_file is None and scanned.sides:
        split, more = _completed(scanned.sides, cases, seed)
        notes += more
    if split_file is not None:
        split, more = read_split(Path(split_file), cases.names, groups)
        notes += more
    elif split is not None:
        content = {side: list(getattr(split, side)) for side in SIDES}
        split, more = check_split(content, cases.names, groups, where=str(path))
        notes += more
    else:
        split = make_split(
            cases.names,
            groups,
            [case.stratum for case in cases.cases],
            scheme=scheme,
            seed=seed,
            fold=fold,
            by_group=by_group,
        )
    data = DataSets(scanned.layout, cases, split, notes)
    problems = class_problems(data.train, num_classes, "train")
    if problems:
        raise DataError(str(path), problems, "Choose another split or seed, or build the net for these classes.")
    data.notes += (*_sides_without_lesion(data), *_on_two_sides(data))
    return data


def _completed(sides: Mapping[str, str], cases: CaseSet, seed: int) -> tuple[Split, tuple[str, ...]]:
    """Return the split that the data set gives; a side that it lacks is taken from train, by patient, with a note."""
    named = {side: [case for case in cases.cases if sides.get(case.name) == side] for side in SIDES}
    notes = []
    for side in ("test", "val"):
        units = sorted({case.group for case in named["train"]})
        if named[side] or len(units) < 2:
            continue
        random.Random(seed).shuffle(units)
        taken = set(units[:: 10 if len(units) > 10 else len(units)])
        named[side] = [case for case in named["train"] if case.group in taken]
        named["train"] = [case for case in named["train"] if case.group not in taken]
        notes.append(f"the data set names no {side} side: {len(named[side])} images of train are taken for it.")
    return Split(*(tuple(case.name for case in named[side]) for side in SIDES)), tuple(notes)


def _sides_without_lesion(data: DataSets) -> tuple[str, ...]:
    """Return a note for val and test if most images, or all, have nothing to find: scores rest on few pixels."""
    notes = []
    for side in ("val", "test"):
        cases = data.side(side).cases
        known = [case.present for case in cases if case.present is not None]
        count = sum(bool(present - {0}) for present in known)
        if known and count == 0:
            notes.append(f"{side}: none of the {len(known)} images has a lesion, so no score of {side} says anything.")
        elif known and 2 * count < len(known):
            notes.append(f"{side}: {count} of the {len(known)} images have a lesion; scores rest on these.")
    return tuple(notes)


def _on_two_sides(data: DataSets) -> tuple[str, ...]:
    """Return a note if the same image is on two sides of the split, whatever its files are called."""
    first: dict[str, tuple[str, str]] = {}
    twice = []
    for side in SIDES:
        for case in data.side(side).cases:
            place = first.setdefault(case.content, (side, case.name)) if case.content else (side, case.name)
            if place[0] != side:
                twice.append(f"{place[1]} ({place[0]}) = {case.name} ({side})")
    if not twice:
        return ()
    shown = ", ".join(twice[:3]) + (", ..." if len(twice) > 3 else "")
    return (f"{len(twice)} images are on two sides of the split, so scores come out too high: {shown}.",)
