"""The command ``lmnet-build``: check a spec, compute its cost, draw and export it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmnet.builder.command_line import (
    DONE,
    FAILED,
    Parser,
    add_import_option,
    import_modules,
    paused_collector,
    read_assignments,
    run_command,
)
from lmnet.builder.zoo_list import add_list_options

if TYPE_CHECKING:  # torch is imported late, so that --help is quick
    from rich.table import Table

    from lmnet.builder.graph import GraphModel
    from lmnet.builder.plan import Plan
    from lmnet.builder.planner import Planner
    from lmnet.builder.spec import Spec
    from lmnet.builder.weights import Weights

PROGRAM = "lmnet-build"
EPILOG = """\
more commands:
  lmnet-build cat NAME              print a spec of the zoo
  lmnet-build cp NAME FILE          copy a spec of the zoo to start your own from
  lmnet-build check-block NAME      run the contract tests on a block, yours too (--import my_package.blocks)

1 GMAC is 10^9 multiply-accumulates at batch 1, what papers call a GFLOP.
exit codes: 0 done, 1 ran and failed (an expected figure is missed), 2 usage or a wrong spec
"""


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
    add("spec", nargs="?", default="lmnet_paper", help="YAML file or name of the zoo (default: lmnet_paper)")
    add(
        "--input-size",
        nargs="+",
        type=int,
        metavar="H [W]",
        help="image size instead of the spec's; one number: a square",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a variable: width=16, depth[0]=3")
    add("--deploy", action="store_true", help="show (and save) the re-parameterised form")
    add("--weights", help="a .safetensors or .pth file (the authors' too), a run folder or a zoo name")
    add("--random-weights", action="store_true", help="with --export: no shipped weights")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add("--validate", action="store_true", help="check only: exit 0, or 2 with all problems on stderr")
    add("--schema", action="store_true", help="print the JSON Schema of specs, for editors")
    add("--list-blocks", action="store_true", help="list the registered blocks")
    add("--list-models", action="store_true", help="list the zoo")
    add("--diff", metavar="OTHER", help="compare with another spec: knobs, params, MACs")
    add("--graph", metavar="FILE", help="draw the graph: .svg or .mmd (Mermaid)")
    add("--export", metavar="FILE", help="write .onnx, .pt2 or .safetensors, checked against the eager model")
    add(
        "--quantize", metavar="DATA", help="with --export net.onnx: int8 for onnxruntime, calibrated and scored on DATA"
    )
    add(
        "--max-loss",
        type=float,
        default=0.01,
        metavar="DICE",
        help="most Dice that --quantize may lose (default: 0.01)",
    )
    add("--cross-check", action="store_true", help="print our count of MACs beside torch's and ptflops'")
    add("--benchmark", action="store_true", help="time the net on this machine, training form and optimised")
    add("--against", metavar="OTHER", help="with --benchmark: another spec to compare with; the nets run in turns")
    add("--runtimes", action="store_true", help="with --benchmark: in PyTorch, onnxruntime and OpenVINO side by side")
    add("--threads", type=int, help="with --benchmark: threads (default: torch's)")
    add("--batch", type=int, default=1, help="with --benchmark: images per pass (default: 1)")
    add_list_options(parser)
    add_common(parser)
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that all commands of ``lmnet-build`` take."""
    add_import_option(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lmnet-build`` and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {"cat": _cat, "cp": _copy, "check-block": _check_block}
    if argv and argv[0] in commands:
        parser = Parser(prog=f"{PROGRAM} {argv[0]}")
        parser.add_argument("name")
        if argv[0] == "cp":
            parser.add_argument("file", help="where to write the copy")
        if argv[0] == "check-block":
            parser.add_argument("--slow", action="store_true", help="also torch.compile and ONNX")
        add_common(parser)
        body, argv = commands[argv[0]], argv[1:]
    else:
        parser, body = make_parser(), _build
    args = parser.parse_args(argv)
    size = getattr(args, "input_size", None)
    if size is not None and len(size) > 2:
        parser.error(f"--input-size takes a side, or height and width, got {len(size)} numbers")
    if size is not None and len(size) == 1:
        args.input_size = size * 2
    return run_command(PROGRAM, lambda: body(args), debug=args.debug)


def _import_torch(args: argparse.Namespace) -> None:
    """Import torch and timm, which come with the planner, and the user's modules; names are checked before."""
    with paused_collector():
        import lmnet.builder.planner  # noqa: F401
    import_modules(args.imports)


def _build(args: argparse.Namespace) -> int:
    from lmnet.builder.find_model import weights_file
    from lmnet.builder.zoo import check_spec_exists
    from lmnet.builder.zoo_list import print_models

    if args.list_models:
        print_models(args)
        return DONE
    overrides = read_assignments(args.set)
    if args.schema or args.list_blocks:
        _import_torch(args)
        return _list_blocks(args)
    for spec_name in (args.spec, args.diff, args.against):
        if spec_name is not None:
            check_spec_exists(spec_name)
    if args.weights:
        weights_file(args.weights)
    if args.quantize is not None:
        _check_quantize(args)
    _import_torch(args)
    from lmnet.builder.planner import Planner
    from lmnet.builder.search_space import read_knobs
    from lmnet.builder.spec import load_spec

    spec = load_spec(args.spec).override(overrides)
    planner = Planner(spec)
    plan = planner.plan(input_size=args.input_size)
    if args.graph:
        from lmnet.builder.drawing import write_drawing

        write_drawing(plan, args.graph)
        print(f"wrote {args.graph}", file=sys.stderr)
    if args.validate:
        read_knobs(spec)  # what lmnet-search would refuse is refused here too
        print(f"{spec.name}: valid, {len(plan.nodes)} nodes", file=sys.stderr)
        return DONE
    if args.diff:
        return _diff(plan, load_spec(args.diff), args)
    if args.cross_check:
        return _cross_check(plan)
    if args.benchmark:
        return _benchmark(plan, args)
    code = _show(planner, plan, args)
    if args.export or args.weights:
        _run_model(spec, plan, args)
    return code


def _show(planner: Planner, plan: Plan, args: argparse.Namespace) -> int:
    from lmnet.builder import summary, tables

    expectations = summary.check_expectations(planner)
    if args.json:
        print(json.dumps(summary.as_dict(plan, expectations), indent=2))
    else:
        shown = [tables.nodes_table(plan, deploy=args.deploy), tables.totals_table(plan)]
        if expectations:
            shown.append(tables.expectations_table(expectations))
        _print(*shown)
        if plan.spec.layout.source:
            print(f"source: {plan.spec.layout.source}")
    missed = [item.figure for item in expectations if not item.is_met]
    if missed:
        print(f"{PROGRAM}: expect is missed by {', '.join(missed)}.", file=sys.stderr)
    return FAILED if missed else DONE


def _print(*tables: Table) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in tables:
        console.print(table)


def _run_model(spec: Spec, plan: Plan, args: argparse.Namespace) -> None:
    from lmnet.builder.graph import GraphModel
    from lmnet.builder.models import deploy, load_weights, shipped_weights

    if args.export:
        from lmnet.builder.export import check_ending

        check_ending(Path(args.export))
    model = GraphModel(plan).eval()
    path = args.weights or (None if args.random_weights else shipped_weights(model))
    loaded = load_weights(model, path) if path is not None else None
    if loaded is not None:
        print("; ".join([f"weights: {path}", *loaded.notes]), file=sys.stderr)
    elif args.export and not args.random_weights:
        raise ValueError(
            f"--export: {spec.name} has no shipped weights. Give --weights FILE, or --random-weights to export it "
            "untrained."
        )
    else:
        print(f"weights: random, as {spec.name} has no shipped ones", file=sys.stderr)
    if args.deploy:
        model = deploy(model)
    if args.export:
        _export(model, args, loaded)


def _export(model: GraphModel, args: argparse.Namespace, weights: Weights | None) -> None:
    from lmnet.builder.export import export_facts, export_model

    facts, size = export_facts(model, weights), model.plan.padded_size
    if args.quantize is not None:
        from lmnet.training.quantization import export_int8

        result = export_int8(
            model,
            weights,
            args.export,
            args.quantize,
            size=args.input_size[0] if args.input_size else None,
            max_loss=args.max_loss,
            facts=facts,
            say=lambda text: print(text, file=sys.stderr),
        )
        print(f"{args.export}: {result}", file=sys.stderr)
        return
    for check in export_model(model, args.export, size, facts=facts):
        shape = "x".join(map(str, check.shape))
        print(f"{args.export}: at {shape} equal to the eager model to {check.error:.1e}", file=sys.stderr)


def _check_quantize(args: argparse.Namespace) -> None:
    if not args.export:
        raise ValueError("--quantize: it goes with --export, got no file. Add --export net.onnx.")
    if args.input_size and len(set(args.input_size)) > 1:
        given = " ".join(map(str, args.input_size))
        raise ValueError(f"--quantize: images must be square, got --input-size {given}. Give one side.")


def _diff(plan: Plan, other: Spec, args: argparse.Namespace) -> int:
    from lmnet.builder.planner import plan_spec
    from lmnet.builder.tables import diff_table

    _print(diff_table(plan, plan_spec(other, input_size=args.input_size)))
    return DONE


def _cross_check(plan: Plan) -> int:
    from lmnet.builder.cross_check import cross_check
    from lmnet.builder.table import make_table

    rows = []
    for count in cross_check(plan):
        parts = [f"{block} {value / 1e6:+,.1f} M" for block, value in count.differences.items()]
        parts += [f"{block}: no answer" for block in count.failed]
        rows.append((count.counter, f"{count.macs / 1e9:.6f} G", ", ".join(parts) or "-"))
    table = make_table(f"{plan.spec.name}: MACs, training form", ("counter", "MACs", "beside ours, by block"), rows)
    table.columns[2].justify = "left"
    _print(table)
    return DONE


def _benchmark(plan: Plan, args: argparse.Namespace) -> int:
    from lmnet.builder import benchmark_tables

    for name, value in (("--batch", args.batch), ("--threads", args.threads)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: a benchmark needs 1 or more, got {value}. Use {name} 1.")
    if args.runtimes and args.against is not None:
        raise ValueError("--runtimes: it compares one net with itself, got --against too. Leave one of them out.")
    if args.runtimes:
        table, notes = benchmark_tables.runtimes(plan, batch=args.batch, threads=args.threads)
    else:
        table, notes = benchmark_tables.nets(plan, args.against, batch=args.batch, threads=args.threads)
    _print(table)
    print("\n".join(notes))
    return DONE


def _list_blocks(args: argparse.Namespace) -> int:
    if args.schema:
        from lmnet.builder.schema import json_schema

        print(json.dumps(json_schema(), indent=2))
    else:
        from lmnet.builder.tables import blocks_table

        _print(blocks_table())
    return DONE


def _cat(args: argparse.Namespace) -> int:
    from lmnet.builder.spec import load_spec
    from lmnet.builder.zoo import zoo_path

    load_spec(args.name)  # a faulty file is reported, not shown
    print(zoo_path(args.name).read_text(encoding="utf-8"), end="")
    return DONE


def _copy(args: argparse.Namespace) -> int:
    from lmnet.builder.spec import load_spec
    from lmnet.builder.zoo import zoo_path

    load_spec(args.name)
    target = Path(args.file)
    if target.exists():
        raise ValueError(f"cp: the target must not exist, got {target}. Name another file.")
    target.write_text(zoo_path(args.name).read_text(encoding="utf-8"), encoding="utf-8")
    print(f"wrote {target}", file=sys.stderr)
    return DONE


def _check_block(args: argparse.Namespace) -> int:
    _import_torch(args)
    from lmnet.blocks.testing import check_block
    from lmnet.builder.cost import node_cost
    from lmnet.builder.table import make_table

    results = check_block(args.name, slow=args.slow, cost=node_cost)
    rows = [
        (result.name, "skipped" if result.skipped else "passed" if result.passed else "FAILED", result.reason or "")
        for result in results
    ]
    _print(make_table(f"contract of {args.name}", ("check", "result", "reason"), rows, text_columns=3))
    return DONE if all(result.passed or result.skipped for result in results) else FAILED


if __name__ == "__main__":
    sys.exit(main())
