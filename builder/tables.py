"""Rich tables of plans, listings and comparisons, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from lmnet.blocks.registry import REGISTRY, Shape
from lmnet.builder.options import signature_of
from lmnet.builder.plan import NodePlan, Plan
from lmnet.builder.summary import Expectation
from lmnet.builder.table import make_table


def shape_text(shapes: Sequence[Shape]) -> str:
    """Return ``14x224x224``, or several joined by commas."""
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def millions(value: float) -> str:
    """Return a count in millions."""
    return f"{value / 1e6:.3f} M"


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
    return make_table(title, columns, rows, text_columns=4)


def totals_table(plan: Plan) -> Table:
    """Return both forms' totals."""
    rows = [
        (form, millions(params), f"{macs / 1e9:.3f} G", f"{2 * macs / 1e9:.3f} G")
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


def blocks_table() -> Table:
    """Return the registered blocks with their options."""
    rows = []
    for name in REGISTRY.names():
        signature = signature_of(name)
        options = ", ".join(
            f"{option.name}" if option.is_required else f"{option.name}={option.default}"
            for option in signature.options.values()
        )
        summary = (REGISTRY.get(name).__doc__ or "").strip().splitlines()[0]
        rows.append((name, "several" if signature.takes_many else "one", summary, options))
    return make_table("blocks", ("block", "inputs", "what it does", "options"), rows, text_columns=4)


def diff_table(first: Plan, second: Plan) -> Table:
    """Return the knobs in which two plans differ, and their figures."""
    rows: list[tuple[str, str, str]] = []
    for name in sorted(first.variables.keys() | second.variables.keys()):
        ours, theirs = first.variables.get(name, "-"), second.variables.get(name, "-")
        if ours != theirs:
            rows.append((f"vars.{name}", str(ours), str(theirs)))
    nodes = [{node.name: node for node in plan.nodes} for plan in (first, second)]
    for name in [*nodes[0], *(name for name in nodes[1] if name not in nodes[0])]:
        ours, theirs = (node_text(side.get(name)) for side in nodes)
        if ours != theirs:
            rows.append((f"nodes.{name}", ours, theirs))
    for figure, before, after in (
        ("params", first.params, second.params),
        ("GMACs", first.macs / 1e9, second.macs / 1e9),
        ("params, re-parameterised", first.deploy_params, second.deploy_params),
        ("GMACs, re-parameterised", first.deploy_macs / 1e9, second.deploy_macs / 1e9),
        ("peak activations, MiB", first.peak_bytes / 2**20, second.peak_bytes / 2**20),
    ):
        rows.append((figure, f"{before:,.6g}", f"{after:,.6g} ({after / before - 1:+.1%})"))
    return make_table("difference", ("", first.spec.name, second.spec.name), rows, text_columns=3)


def node_text(node: NodePlan | None) -> str:
    """Return a node's block, sources and options that differ from the defaults in one line."""
    if node is None:
        return "-"
    defaults = signature_of(node.block).defaults()
    options = ", ".join(f"{key}={value}" for key, value in node.options.items() if defaults.get(key) != value)
    return f"{node.block}({options}) from {', '.join(name for name, _ in node.inputs)}"
