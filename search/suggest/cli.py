"""``lmnet-suggest``: which net of the zoo to take for my data under my limits, on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lmnet.builder.command_line import DONE, FAILED, Parser, add_import_option, import_modules, run_command, say
from lmnet.training.data_arguments import add_data_options, check_paths, data_choice

if TYPE_CHECKING:
    from lmnet.search.suggest.answer import Suggestion

PROGRAM = "lmnet-suggest"
EPILOG = """\
With --data: nets that meet the limits are timed here, then the most promising ones are trained in turns for --minutes,
and the val images compare them. Without --data: the answer comes at once, from the zoo's table.
Example: lmnet-suggest --data my_folder --max-ms 20 --max-mb 5
exit codes: 0 done, 1 no net meets the limits, 2 usage or wrong data, 130 after Ctrl-C
"""
LIMITS = ("max_ms", "max_mb", "max_gmacs", "max_params")


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog=PROGRAM,
        description="Say which net of the zoo to take for your data under your limits, on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--max-ms", type=float, metavar="MS", help="upper limit of the milliseconds of one image, measured here")
    add("--max-mb", type=float, metavar="MB", help="upper limit of the file's megabytes")
    add("--max-gmacs", "--max-gflops", type=float, metavar="G", help="upper limit in GMACs")
    add("--max-params", type=float, metavar="N", help="upper limit of parameters, for example 1e6")
    add("--runtime", choices=("torch", "onnxruntime", "openvino"), help="(default: onnxruntime if it is installed)")
    add("--minutes", type=float, default=10.0, help="time until the answer (default: %(default)g)")
    add("--size", type=int, default=128, help="image side of nets without shipped weights (default: %(default)s)")
    add("--device", default="auto", help="where nets are trained: auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--threads", type=int, help="CPU threads (default: one per core)")
    add_data_options(parser, data="", shown="none")
    add_import_option(parser)
    add("--json", action="store_true", help="print one JSON object")
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = make_parser()
    words = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    for name in ("threads", "size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    return run_command(PROGRAM, lambda: _suggest(args, words), debug=args.debug)


def _suggest(args: argparse.Namespace, words: Sequence[str]) -> int:
    check_paths(args.data or "synthetic", args.split_file)
    lines = list[str]()

    def printed(text: str) -> None:
        lines.append(text)
        say(text)

    found = _found(args, words, printed)
    if args.json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        from rich.console import Console

        from lmnet.search.suggest.tables import suggestion_table

        if found.nets:
            console = Console(width=None if sys.stdout.isatty() else 140)
            console.print(suggestion_table(found, width=console.width))
        for note in found.notes:
            if note not in lines:
                print(note)
        print(found.line)
    return DONE if found.nets else FAILED


def _found(args: argparse.Namespace, words: Sequence[str], say: Callable[[str], None]) -> Suggestion:
    say("starting")
    import_modules(args.imports)
    from lmnet.search.suggest.run import suggest

    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    return suggest(
        data_choice(args) if args.data else None,
        **{name: getattr(args, name) for name in LIMITS},
        runtime=args.runtime,
        minutes=args.minutes,
        size=args.size,
        num_classes=_classes(args),
        seed=args.seed,
        device=args.device,
        flags=data_words(words),
        say=say,
    )


def _classes(args: argparse.Namespace) -> int:
    """Return the number of classes that the options say; two where they do not."""
    values = () if isinstance(args.mask_values, str) else args.mask_values
    return len(values) or len(args.mask_colors) or len(args.class_names) or 2


def data_words(words: Sequence[str]) -> list[str]:
    """Return those of a command's words that choose the data: ``lmnet-train`` takes the same."""
    parser = Parser(add_help=False)
    add_data_options(parser)
    takes_value = {flag: action.nargs != 0 for action in parser._actions for flag in action.option_strings}
    found: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        flag, equals, _ = word.partition("=")
        if flag in takes_value:
            found.append(word)
            if takes_value[flag] and not equals and left:
                found.append(left.pop(0))
    return found


if __name__ == "__main__":
    sys.exit(main())
