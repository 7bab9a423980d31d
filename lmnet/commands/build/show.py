"""``lmnet-build SPEC``: its cost; ``--validate``, ``--diff`` and ``--cross-check``."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from lmnet.builder.command_line import DONE, FAILED, say
from lmnet.builder.find_model import find_model
from lmnet.commands.build.opened import load_net, open_planner, other_spec, print_json, print_tables

if TYPE_CHECKING:
    from lmnet.builder.plan import Plan
    from lmnet.builder.planner import Planner


def show(args: argparse.Namespace) -> int:
    """Show the net's nodes and cost; with weights, check that they fit."""
    found = find_model(args.spec, weights=args.weights)
    planner, plan = open_planner(args)
    code = show_cost(planner, plan, args)
    if args.weights or found.is_chosen:
        load_net(plan, found, args)
    return code


def show_cost(planner: Planner, plan: Plan, args: argparse.Namespace, **more: Any) -> int:
    """Print nodes, totals and what the spec expects; return FAILED if an expected figure is missed.

    Args:
        planner: the net's planner.
        plan: the net's plan at the size to show.
        args: the options.
        more: further entries of the JSON object.
    """
    from lmnet.builder import summary, tables

    expectations = summary.check_expectations(planner)
    if args.json:
        print_json({**summary.as_dict(plan, expectations), **more})
    else:
        shown = [tables.nodes_table(plan, deploy=args.deploy), tables.totals_table(plan)]
        if expectations:
            shown.append(tables.expectations_table(expectations))
        print_tables(*shown)
        if plan.spec.layout.source:
            print(f"source: {plan.spec.layout.source}")
    missed = [item.figure for item in expectations if not item.is_met]
    if missed:
        say(f"lmnet-build: expect is missed by {', '.join(missed)}.")
    return FAILED if missed else DONE


def validate(args: argparse.Namespace) -> int:
    """Check a spec, its search space too."""
    planner, plan = open_planner(args, every_choice=True)
    from lmnet.builder.search_space import read_knobs

    read_knobs(planner.spec)  # what lmnet-search would refuse is refused here too
    say(f"{plan.spec.name}: valid, {len(plan.nodes)} nodes")
    if args.json:
        print_json({"name": plan.spec.name, "hash": plan.hash, "valid": True, "nodes": len(plan.nodes)})
    return DONE


def diff(args: argparse.Namespace) -> int:
    """Compare two nets at the size of the first."""
    _, plan = open_planner(args, args.diff)
    from lmnet.builder.planner import plan_spec
    from lmnet.builder.tables import diff_dict, diff_table

    spec = other_spec(args.diff)
    height, width = plan.input_shape[1:]
    if args.input_size is None and tuple(spec.layout.input.size) != (height, width):
        usual = "x".join(map(str, spec.layout.input.size))
        say(
            f"both at {height}x{width}, the size of {plan.spec.name}; {spec.name} says {usual} "
            "(--input-size changes it)"
        )
    other = plan_spec(spec, input_size=(height, width))
    if args.json:
        print_json(diff_dict(plan, other))
    else:
        print_tables(diff_table(plan, other))
    return DONE


def cross_check(args: argparse.Namespace) -> int:
    """Count with other counters too."""
    _, plan = open_planner(args)
    from lmnet.builder.cross_check import cross_check as count
    from lmnet.builder.table import make_table

    counts = count(plan)
    if args.json:
        print_json({"name": plan.spec.name, "counts": [dataclasses.asdict(one) for one in counts]})
        return DONE
    rows = []
    for one in counts:
        parts = [f"{block} {value / 1e6:+,.1f} M" for block, value in one.differences.items()]
        parts += [f"{block}: no answer" for block in one.failed]
        rows.append((one.counter, f"{one.macs / 1e9:.6f} G", ", ".join(parts) or "-"))
    table = make_table(f"{plan.spec.name}: MACs, training form", ("counter", "MACs", "beside ours, by block"), rows)
    table.columns[2].justify = "left"
    print_tables(table)
    return DONE
