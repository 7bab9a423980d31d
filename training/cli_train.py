"""``lmnet-train``: train a spec on a data set."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmnet.builder.command_line import (
    DONE,
    Parser,
    add_import_option,
    import_modules,
    read_assignments,
    run_command,
    say,
)
from lmnet.training.data_arguments import add_data_options, check_model_exists, check_paths, data_choice
from lmnet.training.fitting.loggers import LOGGERS, check_loggers
from lmnet.training.fitting.recipe import load_recipe, recipe_names

if TYPE_CHECKING:
    from lmnet.training.runs.run_folder import RunFolder

_EPILOG = """\
The same command continues where it stopped. The run folder is the last line on stdout (with --json: key "run").
Example: lmnet-train lmnet_xs --data synthetic
"""


def build_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="lmnet-train",
        description="Train a segmentation net on a data set, score its best epoch and write a report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "spec", metavar="SPEC", help="zoo name or YAML file; lmnet_xs@busi or a folder starts from its weights"
    )
    add_data_options(parser)
    parser.add_argument(
        "--recipe", default="default", help=f"{', '.join(recipe_names())}, or a YAML file (default: %(default)s)"
    )
    parser.add_argument("--size", type=int, help="side in pixels that images are resized to")
    parser.add_argument("--epochs", type=int, help="passes over the training images")
    parser.add_argument("--batch-size", type=int, help="images in one step")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change a value of the recipe (lr=1e-3) or a variable of the spec (width=16)",
    )  # fmt: skip
    parser.add_argument(
        "--var", action="append", default=[], metavar="KEY=VALUE",
        help="as --set, for a variable that shares its name with a recipe key",
    )  # fmt: skip
    parser.add_argument("--weights", help="start from these instead of random ones: a file, a run folder or a zoo name")
    parser.add_argument(
        "--pretrained-encoder",
        nargs="?",
        const="auto",
        metavar="SOURCE",
        help="start the timm encoder from ImageNet weights: auto (an installed package, else the hub), package, hub, "
        "or a file (default without SOURCE: auto)",
    )
    parser.add_argument(
        "--teacher", metavar="MODEL", help="run folder or zoo name of a trained net to learn from as well"
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="run folder (default: runs/MODEL-DATA-RECIPE-sSEED, with what differs behind it)",
    )
    _add_ways(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--devices", type=int, default=1, help="processes on this machine (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=1, help="machines (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="data-loading processes (default: chosen for this machine)")
    parser.add_argument(
        "--threads",
        type=int,
        help="CPU threads (default: one per core); 1 is much faster if other programs use the cores",
    )
    add_import_option(parser)
    parser.add_argument("--json", action="store_true", help="print the metrics as one JSON object")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _add_ways(parser: Parser) -> None:
    """Add the options for further logs and for cross-validation."""
    parser.add_argument(
        "--logger", action="append", default=[], choices=LOGGERS,
        help="send each epoch's row there too; log.csv is always written, and TensorBoard's files if it is installed",
    )  # fmt: skip
    parser.add_argument(
        "--folds", type=int, metavar="N",
        help="cross-validation by patient: N nets, each image scored by the one that was not trained on it; "
        "lmnet-predict then takes all N together",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for name in ("threads", "devices", "nodes"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    if args.workers is not None and args.workers < 0:
        parser.error(f"--workers must be at least 0, got {args.workers}")
    if args.folds is not None and args.devices * args.nodes > 1:
        parser.error("--folds trains in one process, got --devices or --nodes above 1. Leave them out")
    return run_command("lmnet-train", lambda: _train(args), debug=args.debug)


def _train(args: argparse.Namespace) -> int:
    from lmnet.training.assignments import route_assignments

    check_model_exists(args.spec, weights=args.weights, needs_weights=False)
    check_paths(args.data, args.split_file)
    check_loggers(args.logger)
    import_modules(args.imports)
    changes, variables = route_assignments(args.spec, read_assignments(args.set), read_assignments(args.var))
    for key in ("size", "epochs", "batch_size"):
        if getattr(args, key) is not None:
            changes[key] = getattr(args, key)
    recipe = load_recipe(args.recipe).override(changes, where="--set")

    from lmnet.training.runs.train_run import train_run

    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    is_terminal = sys.stderr.isatty()
    options = dict[str, Any](
        recipe=recipe,
        changes=changes,
        variables=variables,
        weights=args.weights,
        pretrained_encoder=args.pretrained_encoder,
        teacher=args.teacher,
        seed=args.seed,
        out=args.out,
        device=args.device,
        devices=args.devices,
        nodes=args.nodes,
        workers=args.workers,
        progress=is_terminal,
        say=say,
        loggers=args.logger,
        callbacks=[] if is_terminal else [EpochLine(recipe.epochs)],
    )
    if args.folds is not None:
        from lmnet.training.runs.folds import print_folds, train_folds

        print_folds(train_folds(args.spec, data_choice(args), args.folds, **options), say, as_json=args.json)
        return DONE
    run = train_run(args.spec, data_choice(args), **options)
    if run.is_main:
        print_run(run.metrics, run.folder, as_json=args.json)
    return DONE


def print_run(metrics: dict[str, Any], folder: RunFolder, *, as_json: bool) -> None:
    """Print a finished run's metrics on stdout, its folder last, and for people on stderr what to do next."""
    from lmnet.builder.zoo import weights_names
    from lmnet.training.runs.closing import closing_lines
    from lmnet.training.runs.score_table import print_scores

    if not as_json:
        print_scores({side: metrics[side] for side in ("val", "test")})
        sys.stdout.flush()
    for line in closing_lines(folder, weights_names(), bold=sys.stderr.isatty()):
        say(line)
    print(json.dumps({**metrics, "run": str(folder.path)}) if as_json else folder.path)


class EpochLine:
    """Says one line after each epoch: what it gave, and how long the run still takes.

    Args:
        epochs: number of epochs of the whole run; the first one is epoch 1.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.begun = self.first = 0.0

    def __call__(self, report: Any) -> None:
        """Print the line of an epoch."""
        row, now = report.row, time.monotonic()
        if not self.begun:  # this session's first epoch: its validation is not timed
            self.begun, self.first = now, report.epoch
        done = report.epoch - self.first
        seconds = (now - self.begun) / done if done else row["seconds"]
        left = self.epochs - report.epoch
        rest = f"; {left} more in about {duration(left * seconds)}" if left else ""
        say(
            f"epoch {report.epoch}: loss {row['train_loss']:.3f}, {report.text}, "
            f"{row['seconds']:.0f} s, {row['images_per_second']:.0f} images/s, "
            f"{row['waiting_share']:.0%} waiting for data{rest}"
        )


def duration(seconds: float) -> str:
    """Return a time as people read it: 0:45 min, 12:05 min, 3:20 h."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


if __name__ == "__main__":
    sys.exit(main())
