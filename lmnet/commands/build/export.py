"""``lmnet-build --export``: the net in another format, as int8, or as a page for the browser."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmnet.builder.command_line import Parser, say
from lmnet.builder.find_model import find_model
from lmnet.commands.build.opened import load_net, open_planner
from lmnet.commands.build.show import show_cost
from lmnet.training.data_arguments import check_paths, data_choice

if TYPE_CHECKING:
    from lmnet.builder.graph import GraphModel
    from lmnet.builder.weights import Weights

OPTIONS = frozenset({"random_weights", "opset", "static", "quantize", "max_loss", "web_runtime"})
"""Names of the options that go with ``--export`` alone."""
DATA_OPTIONS = frozenset(
    {"seed", "split_file", "split_scheme", "fold", "split_by", "mask_values", "mask_colors", "ignore_value"}
    | {"class_names", "intensity_range"}
)
"""Names of the options that say what the data of ``--quantize`` are."""


def add_options(parser: Parser) -> None:
    """Add the options that go with ``--export``."""
    add = parser.add_argument_group("with --export").add_argument
    add("--random-weights", action="store_true", help="no shipped weights")
    add("--opset", type=int, metavar="N", help="version of the ONNX operators, 18 to 22 (default: 18)")
    add("--static", action="store_true", help="one image of one size, as OpenCV, NNAPI and CoreML need it")
    add("--quantize", metavar="DATA", help="int8 for onnxruntime, calibrated and scored on DATA")
    add(
        "--max-loss", type=float, default=0.01, metavar="DICE",
        help="most Dice that --quantize may lose (default: 0.01)",
    )  # fmt: skip
    add(
        "--web-runtime", metavar="FOLDER",
        help="with --export page/: files of onnxruntime-web, or the https:// address that the page loads them from "
        "(default: fetched with npm)",
    )  # fmt: skip


def export(args: argparse.Namespace) -> int:
    """Write the net to a file, compare the file with the net, and show its cost."""
    found = find_model(args.spec, weights=args.weights)
    if args.quantize is not None:
        _check_quantize(args)
    planner, plan = open_planner(args)
    from lmnet.training.export.formats import check_ending
    from lmnet.training.export.web import is_page

    path, page = Path(args.export), is_page(args.export)
    if page:
        _check_page(args)
    else:
        check_ending(path, opset=args.opset, static=args.static)
    model, weights = load_net(plan, found, args)
    if args.deploy:
        from lmnet.builder.models import deploy

        model = deploy(model)
    if page:
        return show_cost(planner, plan, args, export=_write_page(model, weights, path, args))
    return show_cost(planner, plan, args, export=_write(model, weights, path, args))


def _write_page(model: GraphModel, weights: Weights | None, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Write the page; return what was written as plain data."""
    from lmnet.training.export.formats import export_facts
    from lmnet.training.export.web import write_page

    facts = export_facts(model, weights)
    name = Path(str(args.spec).rstrip("/")).stem if weights is None or "@" in args.spec else model.spec.name
    file = write_page(model, folder, name=name, facts=facts, runtime=args.web_runtime, say=say)
    say(f"wrote {folder}/. See it with: python -m http.server --bind 127.0.0.1 --directory {folder}")
    say("Export another net to the same folder to compare them.")
    return {"file": str(file), "bytes": file.stat().st_size}


def _check_page(args: argparse.Namespace) -> None:
    for name in ("opset", "static", "quantize"):
        if getattr(args, name):
            raise ValueError(f"--export {args.export} writes a page, which does not use --{name}. Leave it out.")


def _write(model: GraphModel, weights: Weights | None, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Write the file; return what was written as plain data."""
    from lmnet.training.export.formats import export_facts, export_model

    facts, size = export_facts(model, weights), model.plan.padded_size
    if args.quantize is not None:
        from lmnet.training.runs.int8 import export_int8

        result = export_int8(
            model,
            weights,
            path,
            data_choice(args),
            size=args.input_size[0] if args.input_size else None,
            max_loss=args.max_loss,
            facts=facts,
            say=say,
        )
        say(f"{path}: {result}")
        return {"file": str(path), "bytes": path.stat().st_size, "int8": dataclasses.asdict(result)}
    if args.static and not args.input_size:
        size = (int(facts["size"]),) * 2
    checks = export_model(model, path, size, facts=facts, opset=args.opset, static=args.static, say=say)
    for check in checks:
        shape = "x".join(map(str, check.shape))
        say(f"{path}: at {shape} equal to the eager model to {check.error:.1e}")
    return {"file": str(path), "bytes": path.stat().st_size, "checks": [dataclasses.asdict(check) for check in checks]}


def _check_quantize(args: argparse.Namespace) -> None:
    if args.web_runtime is not None:
        raise ValueError("--web-runtime goes with --export page/. Leave --quantize or --web-runtime out.")
    if Path(args.export).suffix != ".onnx":
        raise ValueError(f"quantize: the file must end in .onnx, got {Path(args.export).name}. Name it so.")
    for name in ("opset", "static"):
        if getattr(args, name):
            raise ValueError(f"--quantize does not use --{name}. Leave one of them out.")
    if args.input_size and len(set(args.input_size)) > 1:
        given = " ".join(map(str, args.input_size))
        raise ValueError(f"--quantize: images must be square, got --input-size {given}. Give one side.")
    check_paths(args.quantize, args.split_file)
    args.data = args.quantize
