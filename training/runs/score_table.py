"""Scores as a table for people, each metric with its interval."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from lmnet.training.metrics.comparison import Comparison
from lmnet.training.metrics.conventions import digits_of
from lmnet.training.metrics.shown import remarks_on, shown_metrics, value_with_interval


def print_scores(summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one column of scores for each summary (by the name of its split) on stdout."""
    table = Table(box=None, pad_edge=False)
    table.add_column("metric [95 % interval]", overflow="fold")
    for side, summary in summaries.items():
        table.add_column(f"{side} ({summary['images']} images)", justify="right", no_wrap=True)
    for name in shown_metrics(list(summaries.values())):
        table.add_row(name, *(value_with_interval(summary, name) for summary in summaries.values()))
    _print(table)
    for side, summary in summaries.items():
        for remark in remarks_on(summary, side):
            print(remark)


def print_comparison(comparison: Comparison, first: str, second: str) -> None:
    """Print two models side by side with the interval of their difference on stdout."""
    print(f"A: {first}")
    print(f"B: {second}")
    table = Table(box=None, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for title in ("A", "B", "B - A [95 % interval]"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in comparison.differences:
        digits = digits_of(each.metric)
        limits = f" [{each.low:+.{digits}f}, {each.high:+.{digits}f}]" if math.isfinite(each.low) else ""
        table.add_row(
            each.metric,
            *("undefined" if math.isnan(value) else f"{value:.{digits}f}" for value in (each.first, each.second)),
            "-" if math.isnan(each.difference) else f"{each.difference:+.{digits}f}{limits}",
        )
    _print(table)
    without = comparison.images - comparison.with_lesion
    print(
        f"{comparison.images} images"
        + (f", {without} of them without a lesion" if without else "")
        + f": B is better on {comparison.better}, worse on {comparison.worse} "
        f"(lesion Dice; Wilcoxon p = {comparison.p_value:.3g})"
    )


def _print(table: Table) -> None:
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, width=width, highlight=False, markup=False).print(table)
