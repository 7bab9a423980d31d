"""The specs that a search is given: one, several families, or ``zoo`` for all of the zoo that can be searched."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lmnet.builder.spec import Spec, load_spec
from lmnet.builder.zoo_table import read_table, select

ZOO = "zoo"
"""Stands for all specs of the zoo that have a search section."""
NAMED = 3
"""Most families that the name of a study lists."""

GivenSpec = str | Path | Spec
Given = GivenSpec | Sequence[GivenSpec]


def expand(given: Given) -> list[GivenSpec]:
    """Return the given specs, with those of the zoo in place of ``zoo``; none is there twice.

    Raises:
        ValueError: a spec is given twice.
    """
    each = [given] if isinstance(given, (str, Path, Spec)) else list(given)
    names = [str(one) for one in each if not isinstance(one, Spec)]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f"search: {twice} is given twice. Give each family once.")
    found: list[GivenSpec] = []
    for one in each:
        found += [name for name in zoo_families() if name not in names] if one == ZOO else [one]
    return found


def zoo_families() -> list[str]:
    """Return the names of the zoo's specs that have a search section, those with the best shipped weights first.

    A search trains one net of each family first, in this order, and has no time for all of them where nets are slow.
    """
    return [row.name for row in select(read_table().rows.values()) if row.name == row.net and _has_knobs(row.name)]


def _has_knobs(name: str) -> bool:
    return bool(load_spec(name).layout.search)


def read_specs(given: Given) -> list[Spec]:
    """Return the specs that are given.

    Raises:
        SpecError: a spec cannot be read.
        ValueError: a spec is given twice.
    """
    return [one if isinstance(one, Spec) else load_spec(one) for one in expand(given)]


def title(specs: Sequence[Spec]) -> str:
    """Return the first part of a study's name: the names of a few specs, ``zoo``, or their number and a hash."""
    names = [spec.name for spec in specs]
    if len(names) <= NAMED:
        return "+".join(names)
    if set(names) == set(zoo_families()):
        return ZOO
    return f"{len(names)}_families_{hashlib.sha256('+'.join(sorted(names)).encode()).hexdigest()[:6]}"
