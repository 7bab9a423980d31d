"""The command ``lmnet-search``: search a spec's space under limits, or show the state of a study."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from lmnet.builder.command_line import (
    DONE,
    Parser,
    add_import_option,
    import_modules,
    paused_collector,
    read_assignments,
    run_command,
)
from lmnet.builder.problems import SpecError
from lmnet.search.nets.limits import LIMITS, Limits
from lmnet.search.options import REMOVED, SearchOptions, help_lines
from lmnet.training.data_arguments import add_data_options, check_paths, data_choice

if TYPE_CHECKING:
    from lmnet.builder.spec import Spec
    from lmnet.search.results.summary import SearchResult

PROGRAM = "lmnet-search"
SPEC = "lmnet_paper"
"""The default spec."""
EPILOG = """\
more commands:
  lmnet-search status --storage URL --study-name NAME    show the state of a study; trains nothing

The same command continues where it stopped. Limits are on the re-parameterised net, for one image (batch 1) of the
spec's input size. They do not depend on --size, the side of the training images. 1 GMAC is 10^9 multiply-accumulates;
papers call it a GFLOP.
exit codes: 0 done, 1 no net has a score, 2 usage, a wrong spec or an unreachable limit, 130 after Ctrl-C
"""


ELSEWHERE = ("data", "seed", "changes", "imports")
"""Options that are added by other functions."""
FLAGS = {"timeout_s": "--timeout", "trial_timeout_s": "--trial-timeout", "batch": "--sync"}
METAVARS = {
    "trials": "N", "timeout_s": "S", "trial_timeout_s": "S", "workers": "N", "storage": "URL",
    "study_name": "NAME", "out": "FOLDER", "cluster": "ray|ADDRESS", "cpus_per_trial": "N",
    "gpus_per_trial": "N", "sampler": "NAME", "prior": "none|STUDY",
}  # fmt: skip
SPECIAL: dict[str, dict[str, Any]] = {
    "runtime": {"choices": ("torch", "onnxruntime", "openvino")},
    "pretrained_encoder": {"nargs": "?", "const": "auto", "metavar": "SOURCE"},
    "batch": {"type": int, "nargs": "?", "const": 4, "metavar": "BATCH"},
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lmnet-search``."""
    parser = Parser(
        prog=PROGRAM,
        description="Search for the net with the highest score within hard limits on its cost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--spec", dest="specs", action="append", metavar="NAME|FILE",
                        help="zoo name or YAML file with a search section (default: lmnet_paper). Repeat it to search "
                             "several families at once; zoo stands for all of the zoo.")  # fmt: skip
    add_data_options(parser)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                        help=help_lines()["changes"])  # fmt: skip
    parser.add_argument("--var", action="append", default=[], metavar="KEY=VALUE",
                        help="as --set, for a variable that shares its name with a recipe key")  # fmt: skip
    for limit in LIMITS:
        flags = dict.fromkeys((_flag(limit.name), _flag(limit.name.replace("gflops", "gmacs"))))  # one word, two names
        parser.add_argument(*flags, dest=limit.name, type=float, metavar=limit.metavar, help=limit.help)
    texts = help_lines()
    for field in fields(SearchOptions):
        if field.name not in ELSEWHERE:
            keywords: dict[str, Any] = {"dest": field.name, "default": field.default, "help": texts[field.name]}
            keywords |= _kind(field)
            parser.add_argument(FLAGS.get(field.name, _flag(field.name)), **keywords)
    parser.add_argument(
        "--explain", action="store_true", help="print how much each knob changes the cost; train nothing"
    )
    for name in REMOVED:
        parser.add_argument(_flag(name), dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    _add_common(parser)
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _kind(field: Field[Any]) -> dict[str, Any]:
    """Return the further arguments of ``add_argument`` for an option."""
    if field.name in SPECIAL:
        return SPECIAL[field.name]
    if field.type == "bool":
        return {"action": "store_true"}
    types = {"int": int, "float": float}
    return {"type": types.get(str(field.type).removesuffix(" | None"), str), "metavar": METAVARS.get(field.name)}


def make_status_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lmnet-search status``."""
    parser = Parser(prog=f"{PROGRAM} status", description="Show the state of a study.")
    parser.add_argument("--storage", required=True, metavar="URL", help="sqlite:///FILE or postgresql://...")
    parser.add_argument("--study-name", metavar="NAME", help="name of the study (default: the only one in the storage)")
    parser.add_argument("--out", metavar="FOLDER", help="folder of the results (default: that of a SQLite storage)")
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_import_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lmnet-search`` and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    is_status = bool(argv) and argv[0] == "status"
    args = make_status_parser().parse_args(argv[1:]) if is_status else make_parser().parse_args(argv)
    return run_command(PROGRAM, lambda: (_status if is_status else _search)(args), debug=args.debug)


def _status(args: argparse.Namespace) -> int:
    from lmnet.search.results.status import read_status

    import_modules(args.imports)
    return _show(read_status(args.storage, args.study_name, folder=args.out), as_json=args.json)


def _search(args: argparse.Namespace) -> int:
    from lmnet.builder.zoo import check_spec_exists
    from lmnet.search.nets.given import expand

    for name in REMOVED:
        if name in args:
            raise ValueError(f"{_flag(name)} was removed. {REMOVED[name]}")
    args.specs = expand(args.specs or [SPEC])
    for spec in args.specs:
        check_spec_exists(spec)
    check_paths(args.data, args.split_file)
    if args.explain:
        return _explain(args)
    if args.cluster == "ray" and not os.environ.get("RAY_ADDRESS"):
        print(f"{PROGRAM}: RAY_ADDRESS is not set, so Ray runs on this machine alone.", file=sys.stderr)
    with paused_collector():
        import lmnet.search.run_search  # noqa: F401
        from lmnet.search.results.counts import used_up_text
    import_modules(args.imports)
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        result = _run(args)
    finally:
        signal.signal(signal.SIGTERM, before)
    if result.is_used_up:
        print(f"{PROGRAM}: {used_up_text(result.tally)}", file=sys.stderr)
    code = _show(result, as_json=args.json)
    if result.is_interrupted:
        print(f"{PROGRAM}: stopped by Ctrl-C; the same command continues.", file=sys.stderr)
        return 130
    return DONE if args.dry_run else code


def _explain(args: argparse.Namespace) -> int:
    from rich.console import Console

    from lmnet.builder.spec import load_spec
    from lmnet.search.nets.pricing import Pricer
    from lmnet.search.nets.space import Space
    from lmnet.search.results.explain import explain, explain_table

    import_modules(args.imports)
    for spec in args.specs:
        table = explain_table(*explain(Pricer(Space(load_spec(spec)), Limits())))
        if len(args.specs) > 1:
            table.title = f"{spec}: {table.title}"
        Console(width=None if sys.stdout.isatty() else 140).print(table)
    return DONE


def _run(args: argparse.Namespace) -> SearchResult:
    from rich.console import Console

    from lmnet.search.results.progress import LiveProgress
    from lmnet.search.run_search import run

    with LiveProgress(Console(stderr=True)) as progress:
        names = [limit.name for limit in LIMITS] + [field.name for field in fields(SearchOptions)]
        options = {name: getattr(args, name) for name in names}
        specs, changes = _changed_specs(args)
        options |= {"data": data_choice(args), "changes": changes}
        return run(specs, on_overview=progress.overview, on_progress=progress.update, on_note=progress.note, **options)


def _changed_specs(args: argparse.Namespace) -> tuple[list[Spec], dict[str, Any]]:
    """Return the specs with the variables that --set and --var give, and the recipe's changes."""
    from lmnet.builder.spec import load_spec
    from lmnet.training.assignments import route_assignments

    given, variables = read_assignments(args.changes), read_assignments(args.var)
    specs, changes = [], dict[str, Any]()
    for spec in args.specs:
        try:
            changes, own = route_assignments(spec, given, variables)
            specs.append(load_spec(spec).override(own))
        except SpecError:
            raise  # it names the spec
        except ValueError as err:
            raise ValueError(str(err) if len(args.specs) == 1 else f"{err} (family {spec})") from None
    return specs, changes


def _stop(number: int, frame: Any) -> None:
    signal.raise_signal(signal.SIGINT)


def _show(result: SearchResult, *, as_json: bool) -> int:
    from lmnet.search.results.answer import answer_text
    from lmnet.search.results.summary import as_dict

    print(json.dumps(as_dict(result), indent=2) if as_json else answer_text(result))
    return DONE if result.tally.best is not None else 1


if __name__ == "__main__":
    sys.exit(main())
