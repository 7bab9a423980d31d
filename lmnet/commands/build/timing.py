"""``lmnet-build --benchmark``: the net's time on this machine."""

from __future__ import annotations

import argparse

from lmnet.builder.command_line import DONE, Parser, say
from lmnet.commands.build.opened import open_planner, other_spec, print_json, print_tables


def add_options(parser: Parser) -> None:
    """Add the options that go with ``--benchmark``."""
    add = parser.add_argument_group("with --benchmark").add_argument
    add("--against", metavar="OTHER", help="another spec to compare with; the nets run in turns")
    add("--runtimes", action="store_true", help="in PyTorch, onnxruntime and OpenVINO side by side")
    add("--threads", type=int, help="threads (default: torch's)")
    add("--batch", type=int, default=1, help="images per pass (default: 1)")


def benchmark(args: argparse.Namespace) -> int:
    """Time the net, beside another or in several runtimes."""
    for name, value in (("--batch", args.batch), ("--threads", args.threads)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: a benchmark needs 1 or more, got {value}. Use {name} 1.")
    if args.runtimes and args.against is not None:
        raise ValueError("--runtimes: it compares one net with itself, got --against too. Leave one of them out.")
    _, plan = open_planner(args, args.against)
    from lmnet.builder.planner import plan_spec
    from lmnet.training.export import benchmark_tables

    if args.runtimes:
        report = benchmark_tables.runtimes(plan, batch=args.batch, threads=args.threads, say=say)
    else:
        plans = [plan]
        if args.against is not None:
            plans.append(plan_spec(other_spec(args.against), input_size=plan.input_shape[1:]))
        report = benchmark_tables.nets(plans, batch=args.batch, threads=args.threads, say=say)
    if args.json:
        print_json(report.data)
    else:
        print_tables(report.table)
        print("\n".join(report.notes))
    return DONE
