"""Scores as a table for people, each metric with its interval."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from lmnet.training.metrics.comparison import Comparison
from lmnet.training.metrics.store import metric_meanings
from lmnet.training.report import value_with_interval


def print_scores(summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one column of scores for each summary (by the name of its split) on stdout."""
    table = Table(box=None, pad_edge=False)
    table.add_column("metric (95 % interval by bootstrap)")
    for side, summary in summaries.items():
        table.add_column(f"{side} ({summary['images']} images)", justify="right")
    for name in metric_meanings(next(iter(summaries.values())).get("classes", ())):
        if all(name in summary for summary in summaries.values()):
            table.add_row(name, *(value_with_interval(dict(summary), name) for summary in summaries.values()))
    _print(table)


def print_comparison(comparison: Comparison, first: str, second: str) -> None:
    """Print two models side by side with the interval of their difference on stdout."""
    table = Table(box=None, pad_edge=False)
    for title in ("metric", f"A {first}", f"B {second}", "B - A (95 % interval, paired)"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for each in comparison.differences:
        digits = 1 if each.metric.startswith("hd95") else 3
        table.add_row(
            each.metric,
            f"{each.first:.{digits}f}",
            f"{each.second:.{digits}f}",
            f"{each.difference:+.{digits}f} [{each.low:+.{digits}f}, {each.high:+.{digits}f}]",
        )
    _print(table)
    print(
        f"{comparison.images} images: B is better on {comparison.better}, worse on {comparison.worse} "
        f"(foreground Dice; Wilcoxon p = {comparison.p_value:.3g})"
    )


def _print(table: Table) -> None:
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, width=width, highlight=False, markup=False).print(table)
