"""Reading every file of a data set before the first step: all problems at once, the pixels kept if they fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lmnet.training.data import case_set
from lmnet.training.data.case_set import CaseSet, LoadedCase, channels_of, joined_masks
from lmnet.training.data.cases import Case, Found, find_cases
from lmnet.training.data.classes import IGNORED, make_classes
from lmnet.training.data.errors import DataError, folded
from lmnet.training.data.groups import grouped, series_note
from lmnet.training.data.image_files import read_image, read_raw
from lmnet.training.data.intensities import Intensities
from lmnet.training.data.intensities import decide as decide_intensities
from lmnet.training.data.intensities import sample as intensity_sample
from lmnet.training.data.mask_decision import DecidedMasks
from lmnet.training.data.mask_decision import decide as decide_masks
from lmnet.training.data.mask_values import sample as mask_sample
from lmnet.training.data.meaning import DataMeaning, DataOptions
from lmnet.training.data.reads import Read, content_of, file_name, has_misfit, notes_of, size_problems


@dataclass(frozen=True)
class Scanned:
    """A data set that was read through.

    Args:
        layout: which layout it has: kvasir, folders, lgg, busi, nnunet, ...
        cases: all cases.
        notes: what was decided, and what was done with odd files, for people to read.
        sides: case name → train, val or test, if the data set itself gives it.
    """

    layout: str
    cases: CaseSet
    notes: tuple[str, ...]
    sides: Mapping[str, str] = field(default_factory=dict)


def scan(
    path: Path,
    *,
    options: DataOptions | None = None,
    num_classes: int | None = None,
    known: DataMeaning | None = None,
) -> Scanned:
    """Find the cases of a data set, decode every file of it once and decide what their values mean.

    Args:
        path: a folder or a list.
        options: what the user says about the values.
        num_classes: number of the model's classes.
        known: what was decided before, for the same model: it is used if the values fit.

    Raises:
        DataError: any file is missing, extra, unreadable, truncated, or of another size than its image; the folder is
            empty, absent or of unknown layout; or values can be read in two ways. All problems are listed together.
    """
    options = options or DataOptions()
    found = _with_groups(find_cases(path), options.group_from)
    reads = _read_all(found.cases, path)
    problems = [*found.problems, *(problem for read in reads for problem in read.problems), *size_problems(reads, path)]
    if not found.cases and not problems:
        raise DataError(str(path), ["it holds no image."], "Check the path.")
    meaning, more = _decide(reads, found, options, num_classes, known)
    cases = _kept(reads, meaning, path, problems) if meaning is not None else []
    if problems or meaning is None:
        raise _data_error(path, problems, more)
    notes = (meaning.describe(sum(len(case.masks) for case in found.cases)), *notes_of(reads, meaning), *found.notes)
    return Scanned(found.layout, CaseSet(cases, meaning), notes, found.sides)


def _with_groups(found: Found, pattern: str) -> Found:
    """Return what a layout found with the patients that ``--group-from`` finds, or a note if it could be needed."""
    if not pattern:
        return replace(found, notes=(*found.notes, *series_note(found.cases)))
    cases, problems, notes = grouped(found.cases, pattern)
    return replace(found, cases=tuple(cases), problems=(*found.problems, *problems), notes=(*found.notes, *notes))


def scan_images(cases: Sequence[Case], *, options: DataOptions, known: DataMeaning | None) -> CaseSet:
    """Read images without masks, each once, with the intensities that were decided in training or decided now.

    Raises:
        DataError: with every image that cannot be read.
    """
    reads = _read_all(cases, Path())
    problems = [problem for read in reads for problem in read.problems]
    try:
        meaning = replace(known or DataMeaning(), intensities=_intensities(reads, options, known))
    except ValueError as error:
        raise _data_error("images", problems, [str(error)]) from None
    loaded = _kept(reads, meaning, Path(), problems)
    if problems:
        raise _data_error("images", problems, [])
    return CaseSet(loaded, meaning)


def _data_error(where: object, of_files: Sequence[str], of_values: Sequence[str]) -> DataError:
    """Return the error; if only the meaning of values is open, no file is to be corrected."""
    problems = folded([*of_files, *of_values])
    return DataError(str(where), problems) if of_files else DataError(str(where), problems, "")


def _intensities(reads: Sequence[Read], options: DataOptions, known: DataMeaning | None) -> Intensities:
    """Return what was decided in training if the images are of that kind, else decide now."""
    taken = [read.intensity for read in reads if read.intensity is not None]
    is_8_bit = all(each.kind == "8-bit" for each in taken)
    if options.intensity_range is None and known is not None:
        if known.intensities.ranges and is_8_bit and taken:
            raise ValueError(
                f"images: they have 8 bits, and the net was trained on values of {known.intensities.describe()}. Give "
                "images like those, or --intensity-range LOW,HIGH."
            )
        if known.intensities.ranges or is_8_bit:
            return known.intensities
    return decide_intensities(taken, options.intensity_range)


def _read_all(cases: Sequence[Case], root: Path) -> list[Read]:
    """Read the files by threads, one each at a time; pixels beyond the room for them are dropped at once."""
    left = case_set.MEMORY_MIB * 2**20 * 3 // 4  # decoding leaves holes in the memory between the kept pixels
    reads = []
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for chunk in _chunks(cases, 2 * threads):
            for read in pool.map(lambda case: _read(case, root), chunk):
                left -= read.nbytes
                if left < 0:
                    read.image, read.masks = None, []
                reads.append(read)
    return reads


def _chunks(cases: Sequence[Case], length: int) -> Iterator[Sequence[Case]]:
    for start in range(0, len(cases), length):
        yield cases[start : start + length]


def _read(case: Case, root: Path) -> Read:
    read = Read(case, [])
    try:
        read.image = read_image(case.image)
        read.is_padded = read.image.is_padding is not None and bool(read.image.is_padding.any())
        read.intensity = intensity_sample(read.image.values, read.image.is_padding)
        if read.image.values.dtype.kind == "f" and not len(read.intensity.samples):
            read.problems.append(f"{file_name(case.image, root)}: none of its values is a finite number.")
    except ValueError as error:
        read.problems.append(f"{file_name(case.image, root)}: {error}")
    for file in case.masks:
        try:
            raw = read_raw(file)
            read.masks.append(raw)
            read.samples.append(mask_sample(raw))
        except ValueError as error:
            read.problems.append(f"{file_name(file, root)}: {error}")
    if len(read.masks) == len(case.masks) and read.image is not None:
        read.is_misfit = has_misfit(read)
        read.is_turned = read.image.is_turned
        read.nbytes = read.image.values.nbytes + sum(raw.values.nbytes for raw in read.masks)
        read.digest = _digest(read)
        read.content = content_of(read.image.values)
    return read


def _digest(read: Read) -> str:
    """Return the hash of a case's files; of a slice, whose volume would be hashed once a slice, that of its values."""
    digest = hashlib.sha256()
    assert read.image is not None
    for file, raw in zip((read.case.image, *read.case.masks), (read.image, *read.masks), strict=True):
        if file.index is None:
            for path in file.paths:
                digest.update(path.read_bytes())
        else:
            digest.update(f"{raw.values.dtype} {raw.values.shape}".encode())
            digest.update(raw.values.tobytes())
    return digest.hexdigest()


def _decide(
    reads: Sequence[Read],
    found: Found,
    options: DataOptions,
    num_classes: int | None,
    known: DataMeaning | None,
) -> tuple[DataMeaning | None, list[str]]:
    """Decide from the files that could be read; return the meaning, or None and what is wrong."""
    problems = []
    scaled, values = None, None
    try:
        scaled = _intensities(reads, options, known)
    except ValueError as error:
        problems.append(str(error))
    samples = [each for read in reads for each in read.samples]
    by_file = max((number for read in reads for number in read.case.mask_classes), default=0)
    try:
        before = None
        if known is not None:
            before = DecidedMasks(known.masks, tuple(each.name for each in known.classes))
        values = decide_masks(samples, options.masks, 2 if by_file else num_classes, found.labels, before)
    except ValueError as error:
        problems.append(str(error))
    if scaled is None or values is None:
        return None, problems
    named = [name for name, _ in sorted(found.labels.items(), key=lambda item: item[1]) if name.lower() != "ignore"]
    count = max(len(values.values), len(values.colors), num_classes or 0, by_file + 1, 2)
    names = options.class_names or (tuple(named) if len(named) == count else ())
    try:
        given = known.classes if known is not None and len(known.classes) == count and not options.class_names else None
        classes = given or make_classes(count, names, values.colors)
    except ValueError as error:
        return None, [*problems, str(error)]
    return DataMeaning(scaled, values, classes), problems


def _kept(reads: Sequence[Read], meaning: DataMeaning, root: Path, problems: list[str]) -> list[LoadedCase]:
    """Turn what was read into cases; the values' problems are added to the list."""
    cases = []
    for read in reads:
        case = read.case
        loaded = LoadedCase(case.name, case.group, case.stratum, read.digest, source=case, content=read.content)
        cases.append(loaded)
        if not read.problems and not read.is_misfit:
            try:
                image = read.image or read_image(case.image)
                pixels = channels_of(meaning.intensities.apply(image.values))
                if case.masks:
                    masks = read.masks or [read_raw(file) for file in case.masks]
                    classes = joined_masks(masks, meaning.masks, case.mask_classes)
                    loaded.present = frozenset(np.unique(classes).tolist()) - {IGNORED}
            except ValueError as error:
                problems.append(f"{file_name(case.image, root)}: {error}")
                continue
            if read.image is not None:
                loaded.image, loaded.mask = pixels, classes if case.masks else None
        read.image, read.masks = None, []
    return cases


def class_problems(cases: CaseSet, num_classes: int, side: str) -> list[str]:
    """Return what is wrong between the classes in the masks of one side of a split and the model's outputs.

    Args:
        cases: one side, for example the training cases.
        num_classes: outputs of the model.
        side: name of the side, for the messages.
    """
    seen: set[int] = set()
    for index, case in enumerate(cases.cases):
        seen |= case.present if case.present is not None else set(np.unique(cases.mask(index)).tolist()) - {IGNORED}
    problems = []
    if seen and max(seen) >= num_classes:
        first = next(case.name for case in cases.cases if case.present and max(case.present) >= num_classes)
        problems.append(
            f"{side}: the masks have {max(seen) + 1} classes (first: {first}), and the net {num_classes}. Build the "
            f"net with num_classes={max(seen) + 1}."
        )
    absent = [
        cases.meaning.classes[n].name for n in range(num_classes) if n not in seen and n < len(cases.meaning.classes)
    ]
    if absent:
        problems.append(f"{side}: no mask has a pixel of {', '.join(absent)}.")
    return problems
