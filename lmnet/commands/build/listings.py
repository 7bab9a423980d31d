"""``lmnet-build --list-models``, ``--list-blocks`` and ``--schema``."""

from __future__ import annotations

import argparse

from lmnet.builder.command_line import DONE
from lmnet.commands.build.opened import import_torch, print_json, print_tables


def list_models(args: argparse.Namespace) -> int:
    """List the zoo."""
    from lmnet.builder.zoo_list import print_models

    print_models(args)
    return DONE


def list_blocks(args: argparse.Namespace) -> int:
    """List the registered blocks, the user's too."""
    import_torch(args)
    from lmnet.builder.table import make_table
    from lmnet.builder.tables import block_rows

    if args.json:
        names = ("block", "inputs", "summary", "options")
        print_json([dict(zip(names, row, strict=True)) for row in block_rows()])
    else:
        columns = ("block", "inputs", "what it does", "options")
        print_tables(make_table("blocks", columns, block_rows(), text_columns=4))
    return DONE


def schema(args: argparse.Namespace) -> int:
    """Print the JSON Schema of specs."""
    import_torch(args)
    from lmnet.builder.schema import json_schema

    print_json(json_schema())
    return DONE
