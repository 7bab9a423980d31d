"""What the verbs share: the plan of the net that the command names, and what is printed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmnet.builder.command_line import import_modules, paused_collector, read_assignments, say
from lmnet.builder.find_model import FoundModel, find_model

if TYPE_CHECKING:  # torch is imported late, so that --help and mistyped names are quick
    from rich.table import Table

    from lmnet.builder.graph import GraphModel
    from lmnet.builder.plan import Plan
    from lmnet.builder.planner import Planner
    from lmnet.builder.spec import Spec
    from lmnet.builder.weights import Weights


def import_torch(args: argparse.Namespace) -> None:
    """Import torch and timm, which come with the planner, and the user's modules; names are checked before."""
    with paused_collector():
        import lmnet.builder.planner  # noqa: F401
    import_modules(args.imports)


def open_planner(args: argparse.Namespace, *others: str | None, every_choice: bool = False) -> tuple[Planner, Plan]:
    """Return the planner of the net that the command names, and its plan at the size in the options.

    Args:
        args: the options.
        others: more specs that the command names; they are looked for before torch is imported.
        every_choice: also check every other block that a node may be.
    """
    found = find_model(args.spec)
    for other in others:
        if other is not None:
            find_model(other)
    overrides = read_assignments(args.set)
    import_torch(args)
    from lmnet.builder.planner import Planner
    from lmnet.builder.spec import spec_of

    planner = Planner(spec_of(found).override(overrides))
    plan = planner.plan(input_size=args.input_size, every_choice=every_choice)
    if getattr(args, "graph", None):
        from lmnet.builder.drawing import write_drawing

        write_drawing(plan, args.graph)
        say(f"wrote {args.graph}")
    return planner, plan


def other_spec(name: str | Path) -> Spec:
    """Return the spec of a second net that the command names."""
    from lmnet.builder.spec import spec_of

    return spec_of(find_model(name))


def load_net(plan: Plan, found: FoundModel, args: argparse.Namespace) -> tuple[GraphModel, Weights | None]:
    """Return the net with the weights that the command names, or the shipped ones.

    Args:
        plan: the net's plan, at the size in the options.
        found: the files of the MODEL.
        args: the options.

    Raises:
        ValueError: the net has no weights and random ones were not asked for, or the weights do not fit.
    """
    from lmnet.builder.graph import GraphModel
    from lmnet.builder.models import load_weights, open_net, shipped_weights

    random = getattr(args, "random_weights", False)
    if random and args.weights is not None:
        raise ValueError("--random-weights and --weights exclude each other. Leave one of them out.")
    path = None if random else found.weights if found.is_chosen else None
    weights: Weights | None
    if path is not None and not args.set and args.input_size is None:
        model, weights = open_net(found)
    else:
        model = GraphModel(plan).eval()
        path = path or (None if random else shipped_weights(model))
        weights = load_weights(model, path) if path is not None else None
    if weights is not None:
        say("; ".join([f"weights: {weights.path}", *weights.notes]))
    elif not random:
        raise ValueError(
            f"--export: {model.spec.name} has no shipped weights. Give --weights FILE, or --random-weights to export "
            "it untrained."
        )
    return model, weights


def print_tables(*tables: Table) -> None:
    """Print tables as wide as the terminal, or as 140 characters if there is none."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in tables:
        console.print(table)


def print_json(data: Any) -> None:
    """Print one JSON object."""
    print(json.dumps(data, indent=2))
