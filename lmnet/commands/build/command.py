"""Options of ``lmnet-build``, and which of them go with which verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmnet.builder.command_line import Parser, add_import_option, run_command
from lmnet.builder.zoo_list import add_list_options
from lmnet.commands.build import export, listings, show, timing, words
from lmnet.training.data_arguments import add_data_options

PROGRAM = "lmnet-build"
DEFAULT_SPEC = "lmnet_paper"
EPILOG = """\
more commands:
  lmnet-build cat NAME              print a spec of the zoo
  lmnet-build cp NAME FILE          copy a spec of the zoo to start your own from
  lmnet-build check-block NAME      run the contract tests on a block, yours too (--import my_package.blocks)

1 GMAC is 10^9 multiply-accumulates at batch 1, what papers call a GFLOP.
exit codes: 0 done, 1 ran and failed (an expected figure is missed), 2 usage or a wrong spec
"""


@dataclass(frozen=True)
class Verb:
    """One kind of work, chosen by an option.

    Args:
        run: does it and returns the exit code.
        takes: names of the options that change what it does.
    """

    run: Callable[[argparse.Namespace], int]
    takes: frozenset[str]


_SPEC = frozenset({"spec", "set", "input_size"})
_LIST = frozenset({"max_ms", "max_mb", "max_gmacs", "max_params", "pretrained", "family", "sort"})
SHOW = Verb(show.show, _SPEC | {"graph", "deploy", "weights"})
"""Without a verb the net and its cost are shown."""
VERBS = {
    "validate": Verb(show.validate, _SPEC | {"graph"}),
    "schema": Verb(listings.schema, frozenset()),
    "list_blocks": Verb(listings.list_blocks, frozenset()),
    "list_models": Verb(listings.list_models, _LIST),
    "diff": Verb(show.diff, _SPEC),
    "cross_check": Verb(show.cross_check, _SPEC),
    "export": Verb(export.export, _SPEC | export.OPTIONS | export.DATA_OPTIONS | {"graph", "deploy", "weights"}),
    "benchmark": Verb(timing.benchmark, _SPEC | {"against", "runtimes", "threads", "batch"}),
}
"""Name of the option that chooses the verb → the verb. Two verbs at once are refused."""
NEEDS = {name: ("quantize",) for name in (*export.DATA_OPTIONS, "max_loss")}
"""Options that change nothing without another one → that one."""
_ALWAYS = frozenset({"imports", "json", "debug"})


def make_parser() -> Parser:
    """Return the parser of ``lmnet-build [SPEC]``."""
    parser = Parser(
        prog=PROGRAM,
        description="Check a spec and print the cost of its net; draw, time or export it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        removed={"--forward": "Use lmnet-predict NAME IMAGE; it takes --random-weights too."},
    )
    add = parser.add_argument
    add("spec", nargs="?", help=f"zoo name (lmnet_xs, lmnet_xs@busi), YAML file or folder (default: {DEFAULT_SPEC})")
    add(
        "--input-size", nargs="+", type=int, metavar="H [W]",
        help="image size instead of the spec's; one number: a square",
    )  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a variable: width=16, depth[0]=3")
    add("--deploy", action="store_true", help="show (and save) the re-parameterised form")
    add("--weights", help="a .safetensors or .pth file (the authors' too), a run folder or a zoo name")
    add("--graph", metavar="FILE", help="draw the graph: .svg or .mmd (Mermaid)")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    verbs = parser.add_argument_group("what to do instead of showing the net (one of these)")
    add = verbs.add_argument
    add("--validate", action="store_true", help="check only: exit 0, or 2 with all problems on stderr")
    add("--schema", action="store_true", help="print the JSON Schema of specs, for editors")
    add("--list-blocks", action="store_true", help="list the registered blocks")
    add("--list-models", action="store_true", help="list the zoo")
    add("--diff", metavar="OTHER", help="compare with another spec at the same image size: knobs, params, MACs")
    add("--cross-check", action="store_true", help="print our count of MACs beside torch's and ptflops'")
    add("--export", metavar="FILE", help="write net.onnx, net.pt2 or net.safetensors, compared with the net")
    add("--benchmark", action="store_true", help="time the net on this machine, training form and optimised")
    export.add_options(parser)
    add_data_options(parser, data=None)
    timing.add_options(parser)
    add_list_options(parser)
    add_import_option(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lmnet-build`` and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    word = words.WORDS.get(argv[0]) if argv else None
    parser = words.make_parser(PROGRAM, argv.pop(0)) if word is not None else make_parser()
    args = parser.parse_args(argv)
    return run_command(PROGRAM, lambda: word(args) if word else _run(parser, args), debug=args.debug)


def _run(parser: Parser, args: argparse.Namespace) -> int:
    given = {
        action.dest: action.option_strings[0] if action.option_strings else str(args.spec)
        for action in parser._actions
        if action.dest != "help" and getattr(args, action.dest) != action.default
    }
    chosen = [name for name in VERBS if name in given]
    if len(chosen) > 1:
        raise ValueError(f"{given[chosen[0]]} and {given[chosen[1]]} are two commands. Give one of them.")
    verb = VERBS[chosen[0]] if chosen else SHOW
    for name, option in given.items():
        if name not in verb.takes | _ALWAYS | set(chosen):
            raise ValueError(_misplaced(name, option, given[chosen[0]] if chosen else None))
    for name, option in given.items():
        for needed in NEEDS.get(name, ()):
            if needed not in given:
                raise ValueError(f"{option} goes with --{needed}. Add it, or leave {option} out.")
    args.input_size = _size(args.input_size)
    args.spec = DEFAULT_SPEC if args.spec is None else args.spec
    return verb.run(args)


def _misplaced(name: str, option: str, verb: str | None) -> str:
    """Return what is wrong with an option that the verb would ignore."""
    if verb is not None:
        return f"{verb} does not use {option}. Leave one of them out."
    others = [f"--{other.replace('_', '-')}" for other, each in VERBS.items() if name in each.takes]
    return f"{option} goes with {' or '.join(others)}. Add it, or leave {option} out."


def _size(size: list[int] | None) -> list[int] | None:
    if size is not None and len(size) > 2:
        raise ValueError(f"--input-size: it takes a side, or height and width, got {len(size)} numbers. Give two.")
    return size * 2 if size is not None and len(size) == 1 else size
