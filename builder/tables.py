"""Rich tables of plans, listings and comparisons, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from lmnet.blocks.registry import REGISTRY, Shape
from lmnet.builder.options import signature_of
from lmnet.builder.plan import NodePlan, Plan
from lmnet.builder.summary import Expectation
from lmnet.builder.table import FittedTable, make_table


def shape_text(shapes: Sequence[Shape]) -> str:
    """Return ``14x224x224``, or several joined by commas."""
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def nodes_table(plan: Plan, *, deploy: bool) -> Table:
    """Return the nodes with shapes, parameters, MACs and their share."""

    def figures(node: NodePlan) -> tuple[int, int]:
        cost = node.cost
        return (cost.deploy_params, cost.deploy_macs) if deploy else (cost.params, cost.macs)

    total = sum(figures(node)[1] for node in plan.nodes) or 1
    rows = []
    for node in plan.nodes:
        params, macs = figures(node)
        sources = ", ".join(name if not output else f"{name}.{output}" for name, output in node.inputs)
        shape = shape_text(node.out_shapes)
        rows.append(
            (node.name, node.block, sources, shape, f"{params:,}", f"{macs / 1e6:,.1f} M", f"{macs / total:.1%}")
        )
    form = "re-parameterised form" if deploy else "training form"
    title = f"{plan.spec.name} · input {shape_text([plan.input_shape])} · {form} · {plan.hash}"
    columns = ("node", "block", "from", "output", "params", "MACs", "share")
    return make_table(title, columns, rows, text_columns=4, kind=FittedTable)


def totals_table(plan: Plan) -> Table:
    """Return both forms' totals."""
    rows = [
        (form, f"{params / 1e6:.3f} M", f"{macs / 1e9:.3f} G", f"{2 * macs / 1e9:.3f} G")
        for form, params, macs in (
            ("training", plan.params, plan.macs),
            ("re-parameterised", plan.deploy_params, plan.deploy_macs),
        )
    ]
    peak = f"{plan.peak_bytes / 2**20:.1f} MiB"
    table = make_table("totals at batch 1", ("form", "params", "MACs", "FLOPs (2 a MAC)"), rows)
    table.caption = f"peak activations, re-parameterised, float32: {peak} · stride {plan.stride}"
    return table


def expectations_table(expectations: Sequence[Expectation]) -> Table:
    """Return what the spec expects beside what was measured."""
    rows = []
    for item in expectations:
        verdict = Text("met", style="green") if item.is_met else Text("missed", style="bold red")
        rows.append(
            (item.figure, f"{item.expected:,.10g}", f"{item.measured:,.10g}", f"{item.deviation:+.3%}", verdict)
        )
    return make_table("expected and measured", ("figure", "expected", "measured", "difference", ""), rows)


def block_rows() -> list[tuple[str, str, str, str]]:
    """Return each registered block: its name, how many inputs it takes, what it does, its options."""
    rows = []
    for name in REGISTRY.names():
        signature = signature_of(name)
        options = ", ".join(
            f"{option.name}" if option.is_required else f"{option.name}={option.default}"
            for option in signature.options.values()
        )
        summary = (REGISTRY.get(name).__doc__ or "").strip().splitlines()[0]
        rows.append((name, "several" if signature.takes_many else "one", summary, options))
    return rows


def diff_dict(first: Plan, second: Plan) -> dict[str, Any]:
    """Return the variables and nodes in which two plans differ, and their figures: each as [first, second]."""
    variables = {
        name: [first.variables.get(name), second.variables.get(name)]
        for name in sorted(first.variables.keys() | second.variables.keys())
    }
    ours, theirs = ({node.name: node for node in plan.nodes} for plan in (first, second))
    nodes = {
        name: [node_text(ours.get(name)), node_text(theirs.get(name))]
        for name in [*ours, *(name for name in theirs if name not in ours)]
    }
    return {
        "names": [first.spec.name, second.spec.name],
        "input": [list(first.input_shape), list(second.input_shape)],
        "vars": {name: pair for name, pair in variables.items() if pair[0] != pair[1]},
        "nodes": {name: pair for name, pair in nodes.items() if pair[0] != pair[1]},
        "params": [first.params, second.params],
        "macs": [first.macs, second.macs],
        "deploy": {
            "params": [first.deploy_params, second.deploy_params],
            "macs": [first.deploy_macs, second.deploy_macs],
        },
        "peak_activation_bytes": [first.peak_bytes, second.peak_bytes],
    }


def diff_table(first: Plan, second: Plan) -> Table:
    """Return the knobs in which two plans differ, and their figures."""
    found = diff_dict(first, second)
    rows: list[tuple[str, ...]] = []
    for name, pair in found["vars"].items():
        rows.append((f"vars.{name}", *("-" if value is None else str(value) for value in pair)))
    rows += [(f"nodes.{name}", *pair) for name, pair in found["nodes"].items()]
    for figure, pair, unit in (
        ("params", found["params"], 1),
        ("GMACs", found["macs"], 1e9),
        ("params, re-parameterised", found["deploy"]["params"], 1),
        ("GMACs, re-parameterised", found["deploy"]["macs"], 1e9),
        ("peak activations, MiB", found["peak_activation_bytes"], 2**20),
    ):
        before, after = pair
        rows.append((figure, f"{before / unit:,.6g}", f"{after / unit:,.6g} ({after / before - 1:+.1%})"))
    size = "x".join(map(str, first.input_shape[1:]))
    return make_table(f"difference at {size}", ("", first.spec.name, second.spec.name), rows, text_columns=3)


def node_text(node: NodePlan | None) -> str:
    """Return a node's block, sources and options that differ from the defaults in one line."""
    if node is None:
        return "-"
    defaults = signature_of(node.block).defaults()
    options = ", ".join(f"{key}={value}" for key, value in node.options.items() if defaults.get(key) != value)
    return f"{node.block}({options}) from {', '.join(name for name, _ in node.inputs)}"
