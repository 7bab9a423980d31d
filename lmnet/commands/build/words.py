"""``lmnet-build cat``, ``cp`` and ``check-block``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from lmnet.builder.command_line import DONE, FAILED, Parser, add_import_option, say
from lmnet.commands.build.opened import import_torch, print_json, print_tables


def make_parser(program: str, word: str) -> Parser:
    """Return the parser of one of these commands."""
    parser = Parser(prog=f"{program} {word}")
    parser.add_argument("name")
    if word == "cp":
        parser.add_argument("file", help="where to write the copy")
    if word == "check-block":
        parser.add_argument("--slow", action="store_true", help="also torch.compile and ONNX")
        parser.add_argument("--json", action="store_true", help="print one JSON list instead of a table")
    add_import_option(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def cat(args: argparse.Namespace) -> int:
    """Print a spec of the zoo."""
    from lmnet.builder.spec import load_spec
    from lmnet.builder.zoo import zoo_path

    load_spec(args.name)  # a faulty file is reported, not shown
    print(zoo_path(args.name).read_text(encoding="utf-8"), end="")
    return DONE


def copy(args: argparse.Namespace) -> int:
    """Copy a spec of the zoo."""
    from lmnet.builder.files import written_aside
    from lmnet.builder.spec import load_spec
    from lmnet.builder.zoo import zoo_path

    load_spec(args.name)
    target = Path(args.file)
    if target.exists():
        raise ValueError(f"cp: {target} is there already. Name another file.")
    with written_aside(target, suffix=target.suffix) as temporary:
        temporary.write_bytes(zoo_path(args.name).read_bytes())
    say(f"wrote {target}")
    return DONE


def check_block(args: argparse.Namespace) -> int:
    """Run the contract tests on a block."""
    import_torch(args)
    from lmnet.blocks.testing import check_block
    from lmnet.builder.cost import node_cost
    from lmnet.builder.table import make_table

    results = check_block(args.name, slow=args.slow, cost=node_cost)
    rows = [
        (result.name, "skipped" if result.skipped else "passed" if result.passed else "FAILED", result.reason or "")
        for result in results
    ]
    if args.json:
        print_json([dict(zip(("check", "result", "reason"), row, strict=True)) for row in rows])
    else:
        print_tables(make_table(f"contract of {args.name}", ("check", "result", "reason"), rows, text_columns=3))
    return DONE if all(result.passed or result.skipped for result in results) else FAILED


WORDS: dict[str, Callable[[argparse.Namespace], int]] = {"cat": cat, "cp": copy, "check-block": check_block}
"""First word of the command line → what it runs."""
