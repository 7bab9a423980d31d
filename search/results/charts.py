"""The charts of a search's report, as SVG text."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lmnet.search.results.counts import Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0969da", "#d4570a", "#8c959f"


def scatter(scored: Sequence[Scored], front: Sequence[Scored], start: Scored | None, limit: float | None) -> str:
    """Return the nets as score against GMACs: the front joined, the starting net marked, the limit as a line."""
    if not scored:
        return ""
    figure = _figure(9, 4.4)
    axes = figure.subplots()
    on_front = {one.number for one in front}
    _dots(axes, [one.gmacs for one in scored], scored, [BLUE if one.number in on_front else GREY for one in scored])
    axes.plot([one.gmacs for one in front], [one.score for one in front], color=BLUE)
    if start is not None:
        axes.plot(start.gmacs, start.score, "o", color=ORANGE, markersize=9)
        axes.annotate("starting net", (start.gmacs, start.score), (-10, -3), textcoords="offset points", ha="right")
    if limit is not None:
        axes.axvline(limit, color=ORANGE, linestyle="--", linewidth=1)
        axes.annotate(f"limit {limit:g}", (limit, 1), (-4, -12), ("data", "axes fraction"), "offset points", ha="right")
    axes.set(xlabel="GMACs at the spec's input size", ylabel="score")
    return _svg(figure)


def history(scored: Sequence[Scored]) -> str:
    """Return the scores in the order of the trials, and the best so far."""
    if not scored:
        return ""
    figure = _figure(5.2, 3)
    axes = figure.subplots()
    places = range(1, len(scored) + 1)
    _dots(axes, places, scored, [GREY] * len(scored))
    axes.plot(places, list(itertools.accumulate((one.score for one in scored), max)), color=BLUE)
    axes.set(xlabel="trial", ylabel="score")
    return _svg(figure)


def bars(shares: Mapping[str, float]) -> str:
    """Return shares as horizontal bars, the first at the top."""
    if not shares:
        return ""
    figure = _figure(5.2, 0.5 + 0.25 * len(shares))
    axes = figure.subplots()
    drawn = axes.barh(list(shares), list(shares.values()), color=BLUE)
    axes.bar_label(drawn, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    axes.margins(x=0.15)
    return _svg(figure)


def _dots(axes: Axes, places: Sequence[float], scored: Sequence[Scored], colours: Sequence[str]) -> None:
    axes.scatter(places, [one.score for one in scored], s=36, c=colours, zorder=2)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # late: it takes half a second

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    """Return a figure as SVG for a page of HTML, its text as text."""
    import matplotlib

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lmnet", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
