"""Charts as SVG text, for a page that needs nothing from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

from lmnet.search.results import Scored

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 15, 45
BLUE, ORANGE, GREY = "#0969da", "#d4570a", "#8c959f"


class _Axes:
    """A frame with ticks, and places in it."""

    def __init__(
        self, xs: Iterable[float], ys: Iterable[float], x_label: str, y_label: str, width: int, height: int
    ) -> None:
        self.width, self.height = width, height
        self.x_low, self.x_high = _span(xs)
        self.y_low, self.y_high = _span(ys)
        self.parts = [
            f'<rect x="{LEFT}" y="{TOP}" width="{width - LEFT - RIGHT}" height="{height - TOP - BOTTOM}" '
            'fill="none" stroke="#d8dee4"/>',
            f'<text x="{(LEFT + width - RIGHT) / 2}" y="{height - 8}" text-anchor="middle">'
            f"{html.escape(x_label)}</text>",
            f'<text x="14" y="{(TOP + height - BOTTOM) / 2}" text-anchor="middle" '
            f'transform="rotate(-90 14 {(TOP + height - BOTTOM) / 2})">{html.escape(y_label)}</text>',
        ]
        for value in _ticks(self.x_low, self.x_high):
            x = self.x(value)
            self.parts.append(f'<text x="{x:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
        for value in _ticks(self.y_low, self.y_high):
            y = self.y(value)
            self.parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
            self.parts.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eef1f4"/>')

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.height - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (self.height - TOP - BOTTOM)

    def dot(self, x: float, y: float, colour: str, title: str, *, is_hollow: bool = False, radius: float = 5) -> None:
        fill = "#fff" if is_hollow else colour
        self.parts.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" fill="{fill}" stroke="{colour}" '
            f'stroke-width="1.5"><title>{html.escape(title)}</title></circle>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')

    def svg(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}">{"".join(self.parts)}</svg>'
        )


def scatter(scored: Sequence[Scored], front: Sequence[Scored], start: Scored | None, limit: float | None) -> str:
    """Return the nets as score against GMACs: the front joined, the start marked, the limit as a line."""
    if not scored:
        return "<p>No net has a score yet.</p>"
    marks = [] if limit is None else [limit]
    ys = [one.score for one in scored]
    axes = _Axes([*(one.gmacs for one in scored), *marks], ys, "GMACs at the spec's input size", "score", WIDTH, HEIGHT)
    if limit is not None:
        x = axes.x(limit)
        axes.parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{ORANGE}" '
            f'stroke-dasharray="4 3"/><text x="{x - 5:.1f}" y="{TOP + 14}" text-anchor="end">limit {limit:g}</text>'
        )
    axes.line([(one.gmacs, one.score) for one in front], BLUE)
    on_front = {one.number for one in front}
    for one in scored:
        title = f"trial {one.number}: {one.score:.4f}, {one.gmacs:.3f} GMACs, {one.params:,} parameters"
        axes.dot(one.gmacs, one.score, BLUE if one.number in on_front else GREY, title, is_hollow=one.is_stopped)
    if start is not None:
        axes.dot(start.gmacs, start.score, ORANGE, "the start", radius=7)
        x, y = axes.x(start.gmacs), axes.y(start.score)
        axes.parts.append(f'<text x="{x - 11:.1f}" y="{y + 4:.1f}" text-anchor="end">start</text>')
    legend = (
        "<p>Blue: the front. Grey: other nets; hollow: stopped early. Orange: the spec that the search began at.</p>"
    )
    return axes.svg() + legend


def history(scored: Sequence[Scored]) -> str:
    """Return the scores in the order of the trials, and the best so far."""
    if not scored:
        return ""
    width, height = 500, 280
    places = range(1, len(scored) + 1)
    axes = _Axes(places, [one.score for one in scored], "trial", "score", width, height)
    best, points = -math.inf, []
    for place, one in zip(places, scored, strict=True):
        axes.dot(place, one.score, GREY, f"trial {one.number}: {one.score:.4f}", is_hollow=one.is_stopped, radius=4)
        best = max(best, one.score)
        points.append((float(place), best))
    axes.line(points, BLUE)
    return axes.svg()


def bars(shares: Mapping[str, float]) -> str:
    """Return shares as horizontal bars."""
    if not shares:
        return ""
    row, width, left = 20, 480, 150
    parts = []
    largest = max(max(shares.values()), 1e-9)
    for place, (name, share) in enumerate(shares.items()):
        y = place * row
        length = (width - left - 50) * share / largest
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{row - 6}" fill="{BLUE}"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 14}">{share:.2f}</text>')
    size = f'width="{width}" height="{row * len(shares)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'


def _span(values: Iterable[float]) -> tuple[float, float]:
    values = list(values)
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or max(abs(high) * 0.05, 1e-3)
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (step * factor) - 5))
    first = math.ceil(low / step)
    return [round(index * step, 10) for index in range(first, math.floor(high / step) + 1)]
