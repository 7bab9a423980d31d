"""Images of a graph: SVG with the levels of resolution as rows, or Mermaid text."""

from __future__ import annotations

import math
from pathlib import Path
from xml.sax.saxutils import escape

from lmnet.blocks.registry import Shape
from lmnet.builder.files import write_durably
from lmnet.builder.plan import INPUT, Plan

BOX_WIDTH, BOX_HEIGHT = 118, 50
COLUMN, ROW, MARGIN = 146, 96, 40
HEADER, FOOTER = 60, 46
COLOURS = ("#4477aa", "#cc6677", "#228833", "#aa7733", "#66ccee", "#aa3377", "#7f7f7f", "#ddcc77", "#332288", "#ee8866")

_STYLE = (
    "<style>.name{font-size:12px;font-weight:bold;text-anchor:middle}"
    ".small{font-size:9.5px;fill:#444;text-anchor:middle}.legend{font-size:11px}"
    ".title{font-size:16px;font-weight:bold}</style>"
    '<defs><marker id="arrow" viewBox="0 0 6 6" refX="4" refY="3" markerWidth="5" markerHeight="5" orient="auto">'
    '<path d="M0,0 L6,3 L0,6 z" fill="#777"/></marker></defs>'
)


def _places(plan: Plan) -> dict[str, tuple[float, float]]:
    """Return each node's column (its longest path from the image) and row (how often its map was halved)."""
    columns, taken = {INPUT: 0}, set()
    heights = {INPUT: plan.padded_size[0]}
    places: dict[str, tuple[float, float]] = {INPUT: (0, 0)}
    for node in plan.nodes:
        columns[node.name] = 1 + max(columns[name] for name, _ in node.inputs)
        heights[node.name] = node.out_shapes[0][1]
        row = round(math.log2(plan.padded_size[0] / heights[node.name]), 2)
        while (columns[node.name], row) in taken:
            row += 0.62
        taken.add((columns[node.name], row))
        places[node.name] = (columns[node.name], row)
    return places


def _box(x: float, y: float, colour: str, name: str, block: str, shape: Shape, share: float) -> str:
    size = "x".join(map(str, shape))
    bar = (
        f'<rect x="{x}" y="{y + BOX_HEIGHT - 4}" width="{BOX_WIDTH * min(1.0, share):.1f}" height="4" fill="{colour}"/>'
    )
    return (
        f"<g><title>{escape(name)}: {escape(block)}, {size}, {share:.1%} of the MACs</title>"
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="white" stroke="{colour}" '
        f'stroke-width="1.6"/><rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="{colour}" '
        f'fill-opacity="0.13"/>{bar}'
        f'<text x="{x + BOX_WIDTH / 2}" y="{y + 16}" class="name">{escape(name)}</text>'
        f'<text x="{x + BOX_WIDTH / 2}" y="{y + 29}" class="small">{escape(block)}</text>'
        f'<text x="{x + BOX_WIDTH / 2}" y="{y + 41}" class="small">{size}</text></g>'
    )


def _edge(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    (x1, y1), (x2, y2) = start, end
    bend = max(24.0, (x2 - x1) * 0.5)
    return (
        f'<path d="M{x1:.1f},{y1:.1f} C{x1 + bend:.1f},{y1:.1f} {x2 - bend:.1f},{y2:.1f} {x2 - 3:.1f},{y2:.1f}" '
        f'fill="none" stroke="{colour}" stroke-opacity="0.55" stroke-width="1.4" marker-end="url(#arrow)"/>'
    )


def to_svg(plan: Plan) -> str:
    """Return a plan's graph as an SVG image; a bar under each box is its share of the MACs."""
    places = _places(plan)
    blocks = sorted({node.block for node in plan.nodes})
    colours = {block: COLOURS[index % len(COLOURS)] for index, block in enumerate(blocks)}
    colours[INPUT] = "#333333"
    block_of = {INPUT: INPUT} | {node.name: node.block for node in plan.nodes}
    top = min(row for _, row in places.values())

    def corner(name: str) -> tuple[float, float]:
        column, row = places[name]
        return MARGIN + column * COLUMN, HEADER + (row - top) * ROW

    parts = []
    for node in plan.nodes:
        x, y = corner(node.name)
        count = len(node.inputs)
        for index, (source, _) in enumerate(node.inputs):
            sx, sy = corner(source)
            end = (x, y + BOX_HEIGHT * (index + 1) / (count + 1))
            parts.append(_edge((sx + BOX_WIDTH, sy + BOX_HEIGHT / 2), end, colours[block_of[source]]))
    parts.append(_box(*corner(INPUT), colours[INPUT], INPUT, "image", plan.input_shape, 0.0))
    total = plan.deploy_macs or 1
    for node in plan.nodes:
        share = node.cost.deploy_macs / total
        parts.append(_box(*corner(node.name), colours[node.block], node.name, node.block, node.out_shapes[0], share))
    width = 2 * MARGIN + max(column for column, _ in places.values()) * COLUMN + BOX_WIDTH
    depth = max(row for _, row in places.values()) - top
    height = HEADER + depth * ROW + BOX_HEIGHT + FOOTER
    legend, x = [], float(MARGIN)
    for block in blocks:
        legend.append(f'<rect x="{x}" y="{height - 24}" width="10" height="10" rx="2" fill="{colours[block]}"/>')
        legend.append(f'<text x="{x + 15}" y="{height - 15}" class="legend">{escape(block)}</text>')
        x += 34 + 6.2 * len(block)
    title = (
        f"{plan.spec.name} · {plan.deploy_params / 1e6:.2f} M parameters · {plan.deploy_macs / 1e9:.3g} GMACs at "
        f"{plan.padded_size[0]}x{plan.padded_size[1]} (re-parameterised)"
    )
    width = max(width, x + MARGIN, 2 * MARGIN + 8.5 * len(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="Helvetica, Arial, sans-serif">{_STYLE}'
        f'<rect width="100%" height="100%" fill="white"/><text x="{MARGIN}" y="32" class="title">{escape(title)}</text>'
        + "".join(parts)
        + "".join(legend)
        + "</svg>\n"
    )


def to_mermaid(plan: Plan) -> str:
    """Return a plan's graph as a Mermaid flow chart, which Markdown viewers draw."""
    lines = ["flowchart LR", f'  {INPUT}(["image<br/>{"x".join(map(str, plan.input_shape))}"])']
    for node in plan.nodes:
        shape = "x".join(map(str, node.out_shapes[0]))
        lines.append(f'  {node.name}["{node.name}<br/>{node.block}<br/>{shape}"]')
        lines += [f"  {source} --> {node.name}" for source, _ in node.inputs]
    for key, (name, _) in plan.outputs.items():
        lines.append(f'  {name} --> out_{key}(["{key}"])')
    return "\n".join(lines) + "\n"


def write_drawing(plan: Plan, path: str | Path) -> None:
    """Write a plan's graph as ``.svg`` or ``.mmd``; ValueError for another ending."""
    path = Path(path)
    drawers = {".svg": to_svg, ".mmd": to_mermaid}
    if path.suffix not in drawers:
        raise ValueError(f"graph: the file must end in {', '.join(drawers)}, got {path.name}. Rename it.")
    write_durably(path, drawers[path.suffix](plan).encode())
