"""Summaries of scores as text: which metrics are shown, a value with its interval, what the metrics leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmnet.training.metrics.conventions import digits_of, metric_meanings

Summary = Mapping[str, Any]
"""What ``summarize`` returns."""


def shown_metrics(summaries: Sequence[Summary]) -> dict[str, str]:
    """Return name and meaning of the metrics to show: those of all summaries that have a value in at least one.

    A class without pixels is shown, as its absence matters.
    """
    return {
        name: meaning
        for name, meaning in metric_meanings(summaries[0].get("classes", ())).items()
        if all(name in each for each in summaries)
        and (name.startswith("class/") or any(each[name] is not None for each in summaries))
    }


def value_with_interval(summary: Summary, name: str) -> str:
    """Return one metric of a summary as ``0.812 [0.770, 0.850]``, or ``absent`` for a class without pixels."""
    value, interval, digits = summary[name], summary[f"{name}_interval"], digits_of(name)
    if value is None:
        return "absent" if name.startswith("class/") else "undefined"
    limits = f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else ""
    return f"{value:.{digits}f}{limits}"


def remarks_on(summary: Summary, side: str) -> list[str]:
    """Return sentences on what a summary's metrics leave out; empty if they leave out nothing.

    Args:
        summary: summary of one side of a split.
        side: its name.
    """
    images, absent = summary["images"], summary.get("absent", [])
    without = images - summary.get("images_with_lesion", images)
    remarks = []
    if without:
        remarks.append(f"{without} of {images} {side} images have no lesion: they count in false_lesion_* only.")
    if absent and without < images:
        remarks.append(f"no pixels of {', '.join(absent)} in the {side} images: left out of all means.")
    return remarks
