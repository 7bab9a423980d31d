"""``lmnet-build --list-models``: the zoo's table under limits."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil

from lmnet.builder.zoo_table import (
    OURS,
    SORTS,
    families,
    legend,
    licences,
    other_rows,
    own_rows,
    select,
    terminal_table,
)

NAMES = ("max_ms", "max_mb", "max_gmacs", "max_params")


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose and sort the rows of ``--list-models``."""
    group = parser.add_argument_group("with --list-models")
    add = group.add_argument
    add("--max-ms", type=float, metavar="MS", help="upper limit of the milliseconds of one image in onnxruntime")
    add("--max-mb", type=float, metavar="MB", help="upper limit of the exported file")
    add("--max-gmacs", "--max-gflops", type=float, metavar="G", help="upper limit in GMACs")
    add("--max-params", type=float, metavar="N", help="upper limit of parameters, for example 1e6")
    add("--pretrained", action="store_true", help="only nets with trained weights")
    add("--family", default=OURS, metavar="NAME", help="family of nets; all for every one (default: %(default)s)")
    add("--sort", choices=list(SORTS), default="dice", help="(default: %(default)s)")


def print_models(args: argparse.Namespace) -> None:
    """Print the nets that meet the limits, and below them the weights of other data sets.

    Args:
        args: the options of ``add_list_options``, and ``json``.

    Raises:
        ValueError: a limit is not above 0.
    """
    limits = {name: getattr(args, name) for name in NAMES}
    rows = select(own_rows(), **limits, pretrained=args.pretrained, family=args.family, sort=args.sort)
    others = select(other_rows(), **limits, family=args.family, sort=args.sort)
    if args.json:
        print(json.dumps([{**dataclasses.asdict(row), "licence": row.licence} for row in (*rows, *others)], indent=1))
        return
    from rich.console import Console

    width = shutil.get_terminal_size((140, 24)).columns
    console = Console(width=width)
    if not rows and not others:
        given = ", ".join(
            f"--{name.replace('_', '-')} {value:g}" for name, value in limits.items() if value is not None
        )
        print(f"No net of the zoo meets {given}.")
        return
    if rows:
        console.print(terminal_table(rows, width=width, title="nets of the zoo"))
    if others:
        console.print(
            terminal_table(others, width=width, title="weights of other data sets, scored on their own images")
        )
    console.print(f"{legend()} {licences()}", highlight=False)
    more = [name for name in families() if name != args.family]
    if more and args.family != "all":
        console.print(f"More families, for --family NAME or all: {', '.join(more)}. docs/field.md compares them.")
