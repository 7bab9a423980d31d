"""Which cases belong to one patient or video: by a regular expression, and a note if names look like series."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lmnet.training.data.cases import Case

_SERIES = re.compile(r"^(?P<series>.*\D)\d+$")
_FIRST = re.compile(r"^[^\d]*\d+(?=[ _.-])")


def grouped(cases: Sequence[Case], pattern: str) -> tuple[list[Case], list[str], tuple[str, ...]]:
    """Return cases whose group is what a regular expression finds in their names, problems, and a note.

    Args:
        cases: all cases.
        pattern: its first group is the patient; without groups what it matches.
    """
    search = re.compile(pattern).search
    found = [search(case.name) for case in cases]
    without = [case.name for case, match in zip(cases, found, strict=True) if match is None]
    if without:
        shown = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
        return list(cases), [f"--group-from {pattern}: {len(without)} names do not match ({shown})."], ()
    names = [match[1 if match.re.groups else 0] or "" for match in found if match is not None]
    counts = Counter(names)
    first, most = counts.most_common(1)[0]
    note = f"--group-from: {len(cases)} images of {len(counts)} patients or videos, such as {first} with {most}."
    return [replace(case, group=name) for case, name in zip(cases, names, strict=True)], [], (note,)


def series_note(cases: Sequence[Case]) -> tuple[str, ...]:
    """Return a note if every image counts as a patient and the names look like frames of some series."""
    if len(cases) < 6 or any(case.group != case.name or case.stratum for case in cases):
        return ()
    for pattern, shown in ((_FIRST, "'^[^0-9]*[0-9]+'"), (_SERIES, "'^(.*[^0-9])[0-9]+$'")):
        matches = [pattern.match(case.name.rpartition("/")[2]) for case in cases]
        names = [match["series"] if "series" in match.groupdict() else match[0] for match in matches if match]
        counts = Counter(names)
        if len(names) == len(cases) and 2 <= len(counts) <= len(cases) // 3 and min(counts.values()) > 1:
            first, most = counts.most_common(1)[0]
            return (
                f"{len(cases)} images count as {len(cases)} patients, but their names look like {len(counts)} series "
                f"(such as {first}* with {most}). If a series is one patient or video, give --group-from {shown}.",
            )
    return ()
