"""The table of the zoo: score, time, size and licence of each net, as ``benchmarks/zoo_table.py`` measured them.

``zoo/table.json`` is its only source: README, docs/zoo.md, ``lmnet-build --list-models`` and ``list_models`` read it.
Nothing here imports torch.
"""

from __future__ import annotations

import fnmatch
import importlib.resources
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmnet.builder.strict_yaml import load_yaml
from lmnet.builder.weights_on_demand import pins

if TYPE_CHECKING:
    from rich.table import Table

TABLE = "table.json"
DEFAULT_DATA = "kvasir"
"""Data set of the weights that a name without @ stands for."""
OURS = "lmnet"
"""Family of specs that name none."""
NEAR = 0.01
"""The net to take is the fastest of those whose Dice is at most this much below the highest."""


@dataclass(frozen=True)
class ZooDice:
    """The lesion Dice of trained weights, mean over the test images.

    Args:
        mean: over the training runs.
        low: lower end of its 95 % interval.
        high: upper end.
        runs: number of training runs, with different seeds.
        shipped: score of the run whose weights are shipped.
    """

    mean: float
    low: float
    high: float
    runs: int
    shipped: float

    def __str__(self) -> str:
        """For people: the mean with its interval, and what else is known."""
        if self.runs == 1:
            return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.runs} runs; shipped {self.shipped:.3f})"


@dataclass(frozen=True)
class ZooRow:
    """One net of the zoo, with the weights that are shipped for it, if there are any.

    Args:
        name: ``lmnet_xs``, or ``lmnet_xs@busi`` for weights of another data set.
        size: height and width that the figures are for: those the weights were trained at, else the spec's.
        params: parameters, re-parameterised.
        gmacs: 10^9 multiply-accumulates of one image, re-parameterised.
        dice: score of the shipped weights; None if there are none.
        dice_int8: of the int8 file, on the same test images.
        ms: median milliseconds of one image by runtime: ``onnxruntime``, ``openvino``, ``onnxruntime_int8``.
        mb: megabytes of the exported file: ``float32``, ``int8``.
        family: the net's family, as its spec says.
        peak_mib: most MiB that the feature maps of one image take at once, re-parameterised, float32, without weights;
            None if nobody counted it.
    """

    name: str
    size: tuple[int, int]
    params: int
    gmacs: float
    dice: ZooDice | None = None
    dice_int8: float | None = None
    ms: dict[str, float] = field(default_factory=dict)
    mb: dict[str, float] = field(default_factory=dict)
    family: str = OURS
    peak_mib: float | None = None

    @property
    def net(self) -> str:
        """Name of the spec."""
        return self.name.partition("@")[0]

    @property
    def licence(self) -> str:
        """What the weights may be used for, in a few words; empty if there are none."""
        pin = pins().get(self.name)
        return "" if pin is None else re.split(r"[,:] |\. |\.$", pin.licence)[0].strip()

    @property
    def data(self) -> str:
        """Data set of the weights; empty if there are none."""
        pin = pins().get(self.name)
        return "" if pin is None else pin.data


@dataclass(frozen=True)
class ZooTable:
    """All rows, and the machine that measured them.

    Args:
        machine: processor, threads and versions.
        rows: by name.
    """

    machine: str
    rows: dict[str, ZooRow]


@lru_cache(maxsize=1)
def read_table() -> ZooTable:
    """Return the table; nets that were never measured have the figures of their spec's ``expect``."""
    folder = Path(str(importlib.resources.files("lmnet.zoo")))
    path = folder / TABLE
    content: dict[str, Any] = {"machine": "", "rows": {}}
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
    rows = {name: _row(name, values) for name, values in content["rows"].items()}
    for path in folder.glob("*.yaml"):
        if path.stem not in rows:
            rows[path.stem] = _unmeasured(path)
    families = {path.stem: _family(path) for path in folder.glob("*.yaml")}
    rows = {name: replace(row, family=families.get(row.net, OURS)) for name, row in rows.items()}
    return ZooTable(content["machine"], {name: rows[name] for name in sorted(rows)})


def _family(path: Path) -> str:
    """Return the family in a spec, without reading the whole of it as YAML."""
    found = re.search(r"^family: *(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else OURS


def _row(name: str, values: dict[str, Any]) -> ZooRow:
    known = {key: values[key] for key in ZooRow.__dataclass_fields__ if key in values}
    dice = ZooDice(**known["dice"]) if known.get("dice") else None
    return ZooRow(**{**known, "name": name, "size": tuple(known["size"]), "dice": dice})


def _unmeasured(path: Path) -> ZooRow:
    content = load_yaml(path).data
    expect = content.get("expect", {})
    height, width = content["input"]["size"]
    return ZooRow(path.stem, (height, width), expect.get("params", 0), expect.get("gmacs", 0.0))


def families() -> list[str]:
    """Return the names of all families of the zoo, sorted."""
    return sorted({row.family for row in read_table().rows.values()})


SORTS: dict[str, Callable[[ZooRow], tuple[float, str]]] = {
    "dice": lambda row: (-row.dice.mean if row.dice is not None else 1.0, row.name),
    "ms": lambda row: (row.ms.get("onnxruntime", float("inf")), row.name),
    "mb": lambda row: (row.mb.get("float32", float("inf")), row.name),
    "gmacs": lambda row: (row.gmacs, row.name),
    "params": lambda row: (row.params, row.name),
    "name": lambda row: (0.0, row.name),
}
"""What rows can be sorted by: the highest Dice first, else the smallest first."""


def select(
    rows: Iterable[ZooRow],
    pattern: str = "*",
    *,
    max_ms: float | None = None,
    max_mb: float | None = None,
    max_gmacs: float | None = None,
    max_params: float | None = None,
    pretrained: bool = False,
    family: str = "all",
    sort: str = "dice",
) -> list[ZooRow]:
    """Return the rows that meet all limits; a row without a figure does not meet a limit on it.

    Args:
        rows: to choose from.
        pattern: names to take, with ``*`` and ``?``.
        max_ms: upper limit of the milliseconds of one image in onnxruntime, on the machine of the table.
        max_mb: upper limit of the megabytes of the exported float32 file.
        max_gmacs: upper limit in GMACs.
        max_params: upper limit of parameters.
        pretrained: only rows with weights.
        family: only nets of this family; ``all`` for any.
        sort: one of ``SORTS``.

    Raises:
        ValueError: an unknown order or family, or a limit that is not above 0.
    """
    if sort not in SORTS:
        raise ValueError(f"sort: there is no order {sort!r}. Use one of {', '.join(SORTS)}.")
    rows = list(rows)
    if family != "all" and family not in families():
        raise ValueError(f"family: there is no family {family!r}. Use all, or one of {', '.join(families())}.")
    limits = {"max_ms": max_ms, "max_mb": max_mb, "max_gmacs": max_gmacs, "max_params": max_params}
    for name, limit in limits.items():
        if limit is not None and not 0 < limit < float("inf"):
            raise ValueError(f"{name}: a limit must be above 0, got {limit}. Leave it out for no limit.")

    def fits(row: ZooRow) -> bool:
        costs = (row.ms.get("onnxruntime"), row.mb.get("float32"), row.gmacs, row.params)
        return all(
            limit is None or (cost is not None and cost <= limit)
            for cost, limit in zip(costs, limits.values(), strict=True)
        )

    chosen = [row for row in rows if fits(row) and fnmatch.fnmatchcase(row.name, pattern)]
    chosen = [row for row in chosen if family in ("all", row.family)]
    return sorted((row for row in chosen if row.licence or not pretrained), key=SORTS[sort])


def dominated(rows: Sequence[ZooRow]) -> set[str]:
    """Return the names of rows that another row beats: at least as good in Dice, ms and MB, and better in one."""
    measured = [(row.name, (-row.dice.mean, row.ms["onnxruntime"], row.mb["float32"])) for row in rows
                if row.dice is not None and "onnxruntime" in row.ms and "float32" in row.mb]  # fmt: skip
    return {
        name
        for name, costs in measured
        if any(other != costs and all(a <= b for a, b in zip(other, costs, strict=True)) for _, other in measured)
    }


def recommended(rows: Sequence[ZooRow]) -> str | None:
    """Return the name of the net to take first, the fastest whose Dice is near the highest; None without scores."""
    scored = [(row.dice.mean, row) for row in rows if row.dice is not None and "onnxruntime" in row.ms]
    if not scored:
        return None
    best = max(dice for dice, _ in scored)
    return min((row for dice, row in scored if dice >= best - NEAR), key=SORTS["ms"]).name


def own_rows() -> list[ZooRow]:
    """Return the rows of nets under their own name: one a net, scored on the default data set."""
    return [row for row in read_table().rows.values() if "@" not in row.name]


def other_rows() -> list[ZooRow]:
    """Return the rows of further weights: ``NAME@DATA``, each scored on its own data."""
    return [row for row in read_table().rows.values() if "@" in row.name]


FIRST = "take this one"
COLUMNS = (
    "net",
    "Dice",
    "ms",
    "ms OpenVINO",
    "ms int8",
    "MB",
    "MB int8",
    "GMACs",
    "params",
    "MiB",
    "image",
    "weights for",
    "",
)
"""Headings of ``cells``. Plain ms are those of onnxruntime, float32; ms int8 are onnxruntime's too."""
NARROW, WIDE = 100, 140
"""A terminal below the first width shows the columns that choose a net; all columns need the second."""
CHOOSING = ("net", "Dice", "ms", "MB", "GMACs", "image", "")


def cells(row: ZooRow, notes: Mapping[str, str]) -> tuple[str, ...]:
    """Return a row for people.

    Args:
        row: a net's row in the table.
        notes: what the last column says, by name.
    """
    return (
        row.name,
        "-" if row.dice is None else str(row.dice),
        *(_figure(row.ms.get(key)) for key in ("onnxruntime", "openvino", "onnxruntime_int8")),
        *(_figure(row.mb.get(key)) for key in ("float32", "int8")),
        f"{row.gmacs:.3f}",
        f"{row.params / 1e6:.2f} M",
        _figure(row.peak_mib),
        f"{row.size[0]}x{row.size[1]}",
        row.licence or "-",
        notes.get(row.name, ""),
    )


def terminal_table(rows: Sequence[ZooRow], *, width: int, title: str = "zoo") -> Table:
    """Return rows as a table for a terminal.

    Args:
        rows: in order.
        width: characters in a line of the terminal.
        title: above the table.
    """
    from lmnet.builder.table import make_table

    notes = notes_of(rows)
    shown = CHOOSING if width < WIDE else COLUMNS
    lines = []
    for row in rows:
        values = dict(zip(COLUMNS, cells(row, notes), strict=True))
        if row.dice is not None and width < NARROW:
            values["Dice"] = f"{row.dice.mean:.3f}"
        lines.append([values[column] for column in shown])
    table = make_table(title, shown, lines, text_columns=2)
    table.columns[-1].justify = "left"
    return table


def notes_of(rows: Sequence[ZooRow]) -> dict[str, str]:
    """Return what the last column says: which of these nets to take, and which are beaten by a net of the zoo."""
    notes = dict.fromkeys(dominated(own_rows()), "beaten")
    first = recommended([row for row in rows if "@" not in row.name])  # scores on other images do not compare
    return notes if first is None else {**notes, first: FIRST}


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def legend() -> str:
    """Return what the columns mean, in one paragraph."""
    return (
        "Dice: of the lesion, mean over test images and training runs, with its 95 % interval; one run unless it says "
        f"more. ms: one image in onnxruntime, {read_table().machine}. MB: the exported ONNX file. MiB: the most memory "
        "that feature maps take at once, float32, without weights. Costs are those of the re-parameterised net at this "
        f"image size. {FIRST}: the fastest net whose Dice is at most {NEAR} below the "
        "highest. beaten: another net is at least as good in Dice, ms and MB."
    )


def licences() -> str:
    """Return the line about licences that goes with every table of weights."""
    return (
        'lmnet\'s code is Apache-2.0. "weights for" is what the weights may be used for, by the terms of the data that '
        "they were trained on. No net here is a medical device."
    )
