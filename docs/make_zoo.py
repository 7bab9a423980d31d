"""Writes docs/zoo.md, the gallery of nets, from the specs and cards of the zoo: `make docs`."""

from __future__ import annotations

import io
import itertools
import math
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import lmnet
from lmnet.builder.drawing import to_svg
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.builder.zoo import list_models, weights_names, zoo_folder
from lmnet.builder.zoo_table import (
    COLUMNS,
    FIRST,
    ZooRow,
    cells,
    legend,
    licences,
    notes_of,
    other_rows,
    own_rows,
    read_table,
    select,
)

PAGE = Path(__file__).with_name("zoo.md")
GRAPHS = Path(__file__).with_name("zoo")
PLOT = Path(__file__).with_name("dice_against_gmacs.svg")
BESIDE = Path(__file__).parents[1] / "benchmarks" / "zoo.md"
README = Path(__file__).parents[1] / "README.md"
MARK = "<!-- weights: written by docs/make_zoo.py -->"
HEADER = """\
# Zoo

<!-- Made by docs/make_zoo.py (`make docs`) from zoo/table.json, which benchmarks/zoo_table.py writes. -->

The nets of the zoo, the best first. Dice is that of the 90 test images of Kvasir-SEG (split of seed 0), at the images'
own size.

![Dice against GMACs of our nets and of nets of other packages, with 95 % intervals](dice_against_gmacs.svg)

Full circles are shipped weights. Hollow points are nets that were all trained alike, for 16 epochs at 128 px
([benchmarks/zoo.md](../benchmarks/zoo.md)): compare them with each other.

"""
OTHERS = """\
More weights of the same nets, for `lmnet-predict NAME@DATA`, `lmnet-eval` and `--weights`. Each is scored on the test
images of its own data set; images without a lesion have no Dice. ms, MB, GMACs and parameters are those of the net at
that size.
"""
ON_DEMAND = """\
## Choose by your limits

`lmnet-build --list-models --max-ms 20 --max-mb 5 --pretrained` shows the nets that meet them, sorted by Dice; `--sort
ms` puts the fastest first. In Python: `lmnet.list_models("lmnet*", max_gmacs=0.5, pretrained=True)`. `lmnet-suggest`
finds the net for your data and your machine ([how](howto/suggest.md)).

## Weights that are not in the package

A wheel holds the small weights only. Others are found when you name them: in the clone that pip installed from, or that
holds the working folder; in the cache (`$LMNET_CACHE`, else `$XDG_CACHE_HOME/lmnet`, else `~/.cache/lmnet`, in
`weights/`); or fetched from the place that the environment variable `LMNET_WEIGHTS_URL` names: a folder, `file:///folder`,
`https://host/folder`, or `hf://owner/name` on the Hugging Face hub. Each file is checked by its SHA-256, which is in
`zoo/weights.json`; another file is refused and not kept. Without a network, put the file into the folder that the
message names.

Commands print the licence of the weights that they use. lmnet's code is Apache-2.0; weights have the terms of the data
that they were trained on.
"""


def other_weights() -> list[str]:
    """Return the table of weights that stand beside a net's usual ones: ``NAME@DATA``."""
    names = ("weights", "trained on", "Dice", "test images", "image", "ms", "MB", "GMACs", "params", "weights for")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in other_rows():
        card = zoo_folder() / f"{row.name}.md"
        images = re.search(r"test (\d+)\.", card.read_text(encoding="utf-8"))
        if images is None:
            raise ValueError(f"{card}: it has no number of test images.")
        shown = dict(zip(COLUMNS, cells(row, {}), strict=True))
        values = (f"[{row.name}](../zoo/{card.name})", row.data, shown["Dice"], images[1])
        values += tuple(shown[key] for key in ("image", "ms", "MB", "GMACs", "params", "weights for"))
        lines.append(f"| {' | '.join(values)} |")
    return lines


def describe(name: str) -> str:
    """Return the comment at the top of a spec, without its first line, the command."""
    lines = (zoo_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ").strip() for line in lines if line.startswith("#")]
    return " ".join(comment[1:])


def render() -> str:
    """Return the page."""
    entries = []
    for name in list_models():
        card = f" Weights: [card](../zoo/{name}.md)." if name in weights_names() else ""
        entries.append(f"## {name}\n\n{describe(name)}{card}\n\n![The graph of {name}](zoo/{name}.svg)\n")
    rows = select(own_rows())
    main = markdown(rows, {row.name: f"#{row.name}" for row in rows})
    parts = [
        HEADER + main,
        textwrap.fill(f"{legend()} {licences()}", 120),
        "\n".join([OTHERS, *other_weights()]),
        ON_DEMAND.rstrip(),
        *entries,
    ]
    return "\n\n".join(parts[:-1]) + "\n\n" + parts[-1]


def markdown(rows: Sequence[ZooRow], links: Mapping[str, str]) -> str:
    """Return rows as a table; the net to take is bold."""
    notes = notes_of(rows)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        values = list(cells(row, notes))
        values[0] = f"[{row.name}]({links[row.name]})"
        if notes.get(row.name) == FIRST:
            values = [f"**{value}**" for value in values]
        lines.append(f"| {' | '.join(values)} |")
    return "\n".join(lines)


README_COLUMNS = ("net", "Dice", "ms", "MB", "MB int8", "GMACs", "params", "image", "weights for")


def readme_table() -> str:
    """Return the README's table: the net to take, the one with the highest Dice, the smallest; and what it means."""
    rows = select(own_rows(), pretrained=True)
    notes = notes_of(rows)
    to_take = [row for row in rows if notes.get(row.name) == FIRST]
    chosen = [*to_take, rows[0], min(rows, key=lambda row: row.gmacs)]
    lines = [f"| {' | '.join(README_COLUMNS)} |", "|---" * len(README_COLUMNS) + "|"]
    for row in {row.name: row for row in chosen}.values():
        shown = dict(zip(COLUMNS, cells(row, notes), strict=True))
        shown["net"] = f"[{row.name}](zoo/{row.name}.md)"
        lines.append(f"| {' | '.join(shown[column] for column in README_COLUMNS)} |")
    text = (
        "Polyps in colonoscopy images (Kvasir-SEG): Dice of the lesion (overlap with the true one, from 0 to 1), mean "
        f"over 90 test images and all training runs, with its 95 % interval. ms: one image in onnxruntime, "
        f"{read_table().machine}. MB: the ONNX file. The first row is the one to take: the fastest of the best. "
        "[All nets](docs/zoo.md), also for breast ultrasound and brain MRI; [beside other packages' "
        "nets](benchmarks/zoo.md)."
    )
    return "\n".join(lines) + "\n\n" + textwrap.fill(text, 130)


def with_table(readme: str) -> str:
    """Return the README with its table of nets written anew."""
    before, mark, rest = readme.partition(MARK)
    return f"{before}{mark}\n{readme_table()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


class Point(NamedTuple):
    """A net in the plot: its cost, Dice with interval, and how it was trained."""

    name: str
    gmacs: float
    dice: tuple[float, float, float]
    kind: str


KINDS = {
    "shipped weights": {"fmt": "o", "color": "#0969da"},
    "our nets, 16 epochs at 128 px": {"fmt": "o", "color": "#0969da", "markerfacecolor": "white"},
    "other packages' nets, 16 epochs at 128 px": {"fmt": "s", "color": "#cf222e", "markerfacecolor": "white"},
}
"""How a point was trained → how it is drawn; those of 16 epochs were all trained alike (benchmarks/zoo.md)."""


def points() -> list[Point]:
    """Return the nets of the plot: those with shipped weights, and those of benchmarks/zoo.md."""
    shipped, ours, others = KINDS
    found = [
        Point(f"{row.name} {row.size[0]}px", row.gmacs, (row.dice.mean, row.dice.low, row.dice.high), shipped)
        for row in select(own_rows(), pretrained=True, sort="gmacs")
        if row.dice is not None
    ]
    for line in BESIDE.read_text(encoding="utf-8").splitlines():
        match = re.match(r"\| ([^|]+) \| [^|]+ \| ([0-9.]+) [^|]*\|.*\| ([0-9.]+) \[([0-9.]+), ([0-9.]+)\] \|", line)
        if match is not None:
            name, gmacs, *dice = match.groups()
            kind = ours if name in list_models() or "ours" in name else others
            found.append(Point(name, float(gmacs), tuple(map(float, dice)), kind))  # type: ignore[arg-type]
    return found


def plot() -> bytes:
    """Return the plot of Dice against GMACs as SVG; no label covers another, a point or an interval."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = points()
    for kind, style in KINDS.items():
        each = [point for point in shown if point.kind == kind]
        middle = [point.dice[0] for point in each]
        away = [[point.dice[0] - point.dice[1] for point in each], [point.dice[2] - point.dice[0] for point in each]]
        axes.errorbar([point.gmacs for point in each], middle, away, label=kind, elinewidth=0.7, **style)
    axes.set(xscale="log", xlabel="GMACs", ylabel="test lesion Dice, Kvasir-SEG", xlim=(0.008, 8))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", fontsize=8, frameon=False)
    figure.draw_without_rendering()
    place_labels(axes, shown)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "lmnet", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def place_labels(axes: Axes, shown: Sequence[Point]) -> None:
    """Write each name at the nearest place beside its point where it covers nothing."""
    taken = [box for point in shown for box in _drawn(axes, point)]
    taken.append(axes.get_legend().get_window_extent())
    renderer = axes.figure.canvas.get_renderer()
    for point in sorted(shown, key=lambda each: each.gmacs):
        for distance, angle in itertools.product(range(7, 90, 4), range(0, 360, 15)):
            offset = (distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle)))
            label = axes.annotate(
                point.name, (point.gmacs, point.dice[0]), offset, textcoords="offset points", fontsize=7,
                ha="left" if offset[0] >= 0 else "right", va="center",
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "#888888"} if distance > 15 else None,
            )  # fmt: skip
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer).expanded(1.02, 1.05)  # without its line
            if axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and not box.count_overlaps(taken):
                taken.append(box)
                break
            label.remove()


def _drawn(axes: Axes, point: Point) -> list[Bbox]:
    """Return where a point and its interval are drawn."""
    x, middle = axes.transData.transform((point.gmacs, point.dice[0]))
    _, low = axes.transData.transform((point.gmacs, point.dice[1]))
    _, high = axes.transData.transform((point.gmacs, point.dice[2]))
    return [Bbox([[x - 6, middle - 6], [x + 6, middle + 6]]), Bbox([[x - 2, low], [x + 2, high]])]


def main() -> int:
    """Write the page, the graphs, the plot and the README's table."""
    PLOT.write_bytes(plot())
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    GRAPHS.mkdir(exist_ok=True)
    for name in list_models():
        (GRAPHS / f"{name}.svg").write_text(to_svg(plan_spec(load_spec(name))), encoding="utf-8")
    PAGE.write_text(render(), encoding="utf-8")
    print(f"docs/zoo.md: {len(list_models())} nets, lmnet {lmnet.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
