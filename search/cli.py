"""The command ``lmnet-search``: search a spec's space under limits, or show what a search has come to."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmnet.builder.command_line import DONE, add_import_option, import_modules, paused_collector, run_command
from lmnet.training.data_arguments import check_paths

if TYPE_CHECKING:
    from lmnet.search.run_search import SearchResult

PROGRAM = "lmnet-search"
EPILOG = """\
more commands:
  lmnet-search status --storage URL --study-name NAME    what a study has come to, without running

The same command goes on where it stopped. Limits count 10^9 multiply-accumulates (what papers call GFLOPs) of the
re-parameterised net at batch 1 and the spec's own input size, whatever --size is trained at.
exit codes: 0 done, 1 nothing was found, 2 usage, a wrong spec or an unreachable limit, 130 after Ctrl-C
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lmnet-search``."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Search for the net of the highest score within hard limits on its cost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--spec", default="lmnet_paper", help="zoo name or YAML file with a search section (default: %(default)s)")
    add(
        "--data", default="synthetic", metavar="PATH", help="folder like Kvasir-SEG, LGG or BUSI (default: %(default)s)"
    )
    add("--max-gflops", type=float, metavar="G", help="most 10^9 multiply-accumulates at the spec's input size")
    add("--min-gflops", type=float, metavar="G", help="fewest")
    add("--max-params", type=float, metavar="N", help="most parameters, e.g. 5e6")
    add("--max-latency-ms", type=float, metavar="MS", help="slowest picture, measured on this device")
    add("--trials", type=int, metavar="N", help="trials that the study is to have in all (default: 40)")
    add("--timeout", type=float, metavar="S", help="seconds of this call (default: 480 without --trials, else none)")
    add("--trial-timeout", type=float, metavar="S", help="seconds after which one training is a failure")
    add("--epochs", type=int, help="of a full training (default: 6); most are stopped at a third or a ninth")
    add("--size", type=int, help="side in pixels to train at (default: 64)")
    add("--recipe", default="default", help="recipe of the trainings (default: %(default)s)")
    add("--sampler", choices=("tpe", "gp", "nsga2", "random"), default="tpe", help="(default: %(default)s)")
    add("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    add("--workers", type=int, metavar="N", help="trainings at a time (default: by the machine)")
    add("--sync", type=int, nargs="?", const=4, default=0, metavar="BATCH",
        help="in batches (of 4): the same study with any number of workers")  # fmt: skip
    add("--storage", metavar="URL", help="sqlite:///FILE or postgresql://... (default: study.db in --out)")
    add("--study-name", metavar="NAME", help="(default: made of spec and limits)")
    add("--out", metavar="FOLDER", help="for the results (default: runs/STUDY)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--devices", type=int, default=1, metavar="N", help="GPUs for each training (default: %(default)s)")
    add("--dry-run", action="store_true", help="only look over the space")
    _add_common(parser)
    return parser


def make_status_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lmnet-search status``."""
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} status", description="Show what a study has come to.")
    parser.add_argument("--storage", required=True, metavar="URL", help="sqlite:///FILE or postgresql://...")
    parser.add_argument("--study-name", metavar="NAME", help="(default: the storage's only study)")
    parser.add_argument("--out", metavar="FOLDER", help="folder with the results, to name the spec files")
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
    from lmnet.search.status import read_status

    import_modules(args.imports)
    return _show(read_status(args.storage, args.study_name, folder=args.out), as_json=args.json)


def _search(args: argparse.Namespace) -> int:
    from lmnet.builder.zoo import check_spec_exists

    check_spec_exists(args.spec)
    check_paths(args.data)
    with paused_collector():
        import lmnet.search.run_search  # noqa: F401
        from lmnet.search.results import used_up_text
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
        print(f"{PROGRAM}: stopped by Ctrl-C; the same command goes on.", file=sys.stderr)
        return 130
    return DONE if args.dry_run else code


def _run(args: argparse.Namespace) -> SearchResult:
    from rich.console import Console

    from lmnet.search.progress import LiveProgress
    from lmnet.search.run_search import run

    with LiveProgress(Console(stderr=True)) as progress:
        return run(
            args.spec,
            data=args.data,
            max_gflops=args.max_gflops,
            min_gflops=args.min_gflops,
            max_params=args.max_params,
            max_latency_ms=args.max_latency_ms,
            trials=args.trials,
            timeout_s=args.timeout,
            trial_timeout_s=args.trial_timeout,
            epochs=args.epochs,
            size=args.size,
            recipe=args.recipe,
            sampler=args.sampler,
            seed=args.seed,
            workers=args.workers,
            batch=args.sync,
            storage=args.storage,
            study_name=args.study_name,
            out=args.out,
            device=args.device,
            devices=args.devices,
            dry_run=args.dry_run,
            imports=args.imports,
            on_overview=progress.overview,
            on_progress=progress.update,
        )


def _stop(number: int, frame: Any) -> None:
    signal.raise_signal(signal.SIGINT)


def _show(result: SearchResult, *, as_json: bool) -> int:
    from lmnet.search.summary import as_dict

    content = as_dict(result)
    best = content["best"]
    if as_json:
        print(json.dumps(content, indent=2))
    elif best is None:
        print(f"{result.study}: no net has a score yet")
    else:
        print(f"{result.study}: {content['trials']} trials, {content['failed']} failed, "
              f"{content['infeasible_proposals']} infeasible proposals")  # fmt: skip
        start = content["start"]
        if start is not None:
            print(f"start  {start['score']:.4f}  {start['gmacs']:.3f} GMACs  {start['params']:,} parameters")
        print(f"best   {best['score']:.4f}  {best['gmacs']:.3f} GMACs  {best['params']:,} parameters  {best['spec']}")
        if content["out"]:
            print(f"report: {content['out']}/report.html")
    return DONE if best is not None else 1


if __name__ == "__main__":
    sys.exit(main())
