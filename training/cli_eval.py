"""``lmnet-eval``: score a model on a data set, or compare two."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lmnet.builder.command_line import DONE, Parser, add_import_option, import_modules, run_command, say
from lmnet.training.data_arguments import add_data_options, check_model_exists, check_paths, data_choice

_EPILOG = """\
MODEL is a run folder, the folder of a search or of save_pretrained, a zoo name with shipped weights (lmnet_xs,
lmnet_xs@busi), an exported file (net.onnx), or a spec with --weights FILE.
A run folder is scored on its own split; --data may then be left out.
Images are scored at their own size. --json prints every metric NAME with NAME_interval beside it.
Examples: lmnet-eval runs/lmnet_xs-synthetic-default-s0
          lmnet-eval lmnet_xs --data Kvasir-SEG --split test --json
          lmnet-eval --compare runs/A runs/B
"""


def build_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="lmnet-eval",
        description="Score a segmentation model, each metric with its 95 % interval, or compare two.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="run folder, zoo name, exported file or spec; see below"
    )
    parser.add_argument("--weights", help="a .safetensors file, a run folder or a zoo name, for a spec")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="compare two models image by image")
    add_data_options(parser, data="", shown="the run's own")
    parser.add_argument(
        "--split", choices=("all", "train", "val", "test"), default="test", help="which images (default: %(default)s)"
    )
    parser.add_argument("--size", type=int, help="side in pixels that images are resized to (default: as in training)")
    parser.add_argument("--batch-size", type=int, default=8, help="images at once (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add_import_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if (args.model is None) == (args.compare is None):
        parser.error("give either MODEL or --compare A B")
    if args.compare and args.weights is not None:
        parser.error("--weights is for MODEL: with --compare name run folders or zoo names, such as lmnet_xs@busi")
    if args.size is not None and args.size < 1:
        parser.error(f"--size must be at least 1, got {args.size}")
    if args.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, got {args.batch_size}")
    return run_command("lmnet-eval", lambda: _run(args), debug=args.debug)


def _run(args: argparse.Namespace) -> int:
    for model in args.compare or [args.model]:
        check_model_exists(model, weights=args.weights)
    check_paths(args.data, args.split_file)
    import_modules(args.imports)
    from lmnet.training.prediction.inference import resolve_device

    resolve_device(args.device)  # before anything is read
    return _compare(args) if args.compare else _score(args)


def _score(args: argparse.Namespace) -> int:
    from lmnet.training.metrics.intervals import summarize
    from lmnet.training.runs.opened_model import open_model
    from lmnet.training.runs.score_run import score_model

    opened = open_model(args.model, weights=args.weights, size=args.size)
    for note in opened.notes:
        say(f"note: {note}")
    scores, facts = score_model(
        opened,
        data_choice(args),
        side=args.split,
        seed=args.seed,
        batch_size=args.batch_size,
        device=args.device,
        say=say,
    )
    summary = summarize(scores)
    if args.json:
        print(json.dumps({**facts, **summary}))
    else:
        from lmnet.training.runs.score_table import print_scores

        print(f"{facts['model']} on {facts['data']}, images at {facts['size']} px")
        print_scores({args.split: summary})
    return DONE


def _compare(args: argparse.Namespace) -> int:
    from lmnet.training.runs.score_run import compare_models

    first, second = args.compare
    comparison = compare_models(
        first,
        second,
        data_choice(args),
        side=args.split,
        size=args.size,
        seed=args.seed,
        batch_size=args.batch_size,
        device=args.device,
        say=say,
    )
    if args.json:
        print(json.dumps(_without_nan({"a": first, "b": second, "split": args.split, **asdict(comparison)})))
    else:
        from lmnet.training.runs.score_table import print_comparison

        print_comparison(comparison, first, second)
    return DONE


def _without_nan(content: Any) -> Any:
    """Return plain data with None for numbers that JSON does not have."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


if __name__ == "__main__":
    sys.exit(main())
