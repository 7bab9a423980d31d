"""The result of a search in words: the verdict, the scores on the test images, then the search's own scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmnet.search.nets.families import family_name
from lmnet.search.results.counts import Scored, role_name
from lmnet.search.results.summary import SearchResult

NO_VERDICT = "No verdict: no net was trained again, so none was compared on test images."
HEADINGS = ("net", "hash", "GMACs", "ms", "test Dice", "95 % interval", "by seed")

Rows = list[tuple[str, ...]]


def answer_text(result: SearchResult) -> str:
    """Return the text that ``lmnet-search`` prints at its end."""
    counts, folder = result.tally, result.folder
    best, start = counts.best, counts.start(result.space)
    if best is None:
        return f"{result.study}: no net has a score yet"
    lines = [verdict_text(result.verdict)]
    if rows := test_rows(result.verdict):
        lines += ["", f"{test_caption(result.verdict)}:", *_aligned(rows)]
    lines += ["", f"{search_caption(result)}:"]
    if len(result.space.families) == 1:
        if start is not None:
            lines.append(f"starting net  {_figures(start)}")
        lines.append(f"best net      {_figures(best)}")
    else:
        lines += _aligned(family_rows(result))
    failed = sum(counts.failed.values())
    lines.append(f"{result.study}: {counts.trials} trials, {failed} failed, {counts.infeasible} infeasible proposals")
    if folder is not None:
        lines += ["", f"spec of the best net: {folder / 'best.yaml'}", f"report: {folder / 'report.html'}"]
    return "\n".join(lines)


def verdict_text(verdict: Mapping[str, Any] | None) -> str:
    """Return the sentences of a verdict, or that there is none."""
    return str(verdict["text"]) if verdict is not None else NO_VERDICT


def test_rows(verdict: Mapping[str, Any] | None) -> Rows:
    """Return headings and rows of the nets that were trained again and scored on the test images; empty if none was."""
    rows: Rows = [HEADINGS]
    for one in (verdict or {}).get("nets", []):
        if one["dice"] is None:
            continue
        time_ms = "-" if one["ms"] is None else f"{one['ms']:.1f}"
        low, high = one.get("interval") or (None, None)  # verdicts of earlier versions have none
        interval = "-" if low is None else f"{low:.3f} to {high:.3f}"
        seeds = " ".join(f"{dice:.3f}" for dice in one["dice_by_seed"])
        name, gmacs, dice = role_name(one["role"], one.get("family", "")), f"{one['gmacs']:.3f}", f"{one['dice']:.3f}"
        rows.append((name, one["hash"], gmacs, time_ms, dice, interval, seeds))
    return rows if len(rows) > 1 else []


def test_caption(verdict: Mapping[str, Any] | None) -> str:
    """Return a caption for ``test_rows``."""
    verdict = verdict or {}
    images = (
        f"{verdict['images']} images with a lesion" if verdict.get("images") else "images that the search never saw"
    )
    return f"scores of the nets trained again, on test images ({images})"


def family_rows(result: SearchResult) -> Rows:
    """Return headings and rows of the best net and the starting net of each family, by the search's own scores."""
    counts, space = result.tally, result.space
    rows: Rows = [("family", "trials", "starting net", "best net", "GMACs", "parameters")]
    for one in counts.best_of_families(space):
        family = space.family_of(one.point)
        mine = [each for each in counts.scored if space.family_of(each.point) == family]
        start = next((f"{each.score:.4f}" for each in mine if each.point in space.starts), "-")
        figures = (f"{one.score:.4f}", f"{one.gmacs:.3f}", f"{one.params:,}")
        rows.append((family_name(space, one.point), str(len(mine)), start, *figures))
    return rows


def search_caption(result: SearchResult) -> str:
    """Return a caption for the scores of the search."""
    if result.is_own:
        return "scores of the search, by your objective"
    return "scores of the search, on val images, from one training run each (they chose the net, so they are too high)"


def _figures(one: Scored) -> str:
    return f"{one.score:.4f}  {one.gmacs:.3f} GMACs  {one.params:,} parameters"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
