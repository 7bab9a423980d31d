"""Write zoo/table.json, the one table of the zoo: Dice, milliseconds, megabytes, GMACs and parameters of each net.

    python benchmarks/zoo_table.py ../shared/data/Kvasir-SEG                 # what is new, then all times in turns
    python benchmarks/zoo_table.py ../shared/data/Kvasir-SEG --only lmnet_xs --repeats 51
    python benchmarks/zoo_table.py --scores                                  # only the scores of cards and seeds.md

Dice comes from the cards in zoo/ and from benchmarks/seeds.md. Files are exported once and kept in --work, so a run
that was stopped continues; int8 files, of nets with weights, are calibrated and scored on Kvasir-SEG. Then all files
are timed in one process, in turns, so that other load of the machine meets all alike.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lmnet.builder.models import build_model, load_weights
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.builder.weights_on_demand import pins
from lmnet.builder.zoo import list_models, weights_names, zoo_folder, zoo_weights
from lmnet.builder.zoo_table import DEFAULT_DATA, TABLE
from lmnet.training.export.benchmark import describe_machine
from lmnet.training.export.formats import export_model
from lmnet.training.export.runtimes import onnxruntime_net, openvino_net
from lmnet.training.runs.int8 import export_int8
from lmnet.training.runs.train_run import DataChoice

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SEEDS = Path(__file__).with_name("seeds.md")
SCORE = r"([0-9.]+) \[([0-9.]+), ([0-9.]+)\]"


def dice_of(name: str) -> dict[str, Any] | None:
    """Return the test Dice of shipped weights: that of their card, or of all training runs in seeds.md."""
    card = zoo_folder() / f"{name}.md"
    if not card.exists():
        return None
    found = re.search(rf"\| dice_foreground_mean \| {SCORE}", card.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{card}: it has no score.")
    mean, low, high = map(float, found.groups())
    shipped, runs = mean, 1
    section = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", SEEDS.read_text(encoding="utf-8"), re.M | re.S)
    if section is not None:
        runs = 1 + section[1].count("| seed ")
        together = re.search(rf"\| all, .*\| {SCORE}", section[1])
        if together is None:
            raise ValueError(f"{SEEDS}: {name} has no line for all runs.")
        mean, low, high = map(float, together.groups())
    return {"mean": mean, "low": low, "high": high, "runs": runs, "shipped": shipped}


def size_of(name: str) -> tuple[int, int]:
    """Return the size that a net's figures are for."""
    card = zoo_folder() / f"{name}.md"
    if card.exists():
        found = re.search(r"stretched to (\d+) x (\d+)", card.read_text(encoding="utf-8"))
        if found is None:
            raise ValueError(f"{card}: it has no image size.")
        return int(found[1]), int(found[2])
    height, width = load_spec(name).layout.input.size
    return height, width


def costs_of(name: str) -> dict[str, Any]:
    """Return what is computed: costs and scores."""
    size = size_of(name)
    plan = plan_spec(load_spec(name.partition("@")[0]), input_size=size)
    return {
        "size": list(size),
        "params": plan.deploy_params,
        "gmacs": plan.deploy_macs / 1e9,
        "peak_mib": round(plan.peak_bytes / 2**20, 3),
        "dice": dice_of(name),
        "made_of": f"{plan.hash} {pins()[name].sha256[:16] if name in pins() else 'random'}",
    }


def export(name: str, work: Path, data: str, *, int8: bool) -> dict[str, Any]:
    """Export a net in float32, and in int8 if it has weights, unless it was done; return sizes and the int8 Dice."""
    facts = work / (f"{name}.json" if int8 else f"{name}-float32.json")
    if facts.exists():
        known: dict[str, Any] = json.loads(facts.read_text())
        return known
    net, _, weights_of = name.partition("@")
    size = size_of(name)
    model = build_model(load_spec(net), input_size=size).eval()
    weights = load_weights(model, zoo_weights(net, weights_of or DEFAULT_DATA)) if name in weights_names() else None
    files = {"float32": work / f"{name}.onnx"}
    export_model(model, files["float32"], model.plan.padded_size)
    dice = None
    if weights is not None and int8:
        files["int8"] = work / f"{name}-int8.onnx"
        dice = round(
            export_int8(model, weights, files["int8"], DataChoice(path=data), size=min(size), max_loss=2.0).dice[1], 4
        )
    found = {"mb": {key: round(path.stat().st_size / 1e6, 3) for key, path in files.items()}, "dice_int8": dice}
    facts.write_text(json.dumps(found))
    return found


def times(names: list[str], work: Path, repeats: int, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each net in each runtime, all measured in turns after two warm-up rounds."""
    passes: dict[tuple[str, str], Callable[[], object]] = {}
    for name in names:
        image = torch.randn(1, load_spec(name.partition("@")[0]).layout.input.channels, *_padded(name))
        runs = {
            "onnxruntime": onnxruntime_net(work / f"{name}.onnx"),
            "openvino": openvino_net(work / f"{name}.onnx"),
        }
        if (work / f"{name}-int8.onnx").exists():
            runs["onnxruntime_int8"] = onnxruntime_net(work / f"{name}-int8.onnx")
        passes |= {(name, runtime): lambda run=run, image=image: run(image) for runtime, run in runs.items()}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in passes}
    for turn in range(repeats + 2):
        for key, run in passes.items():
            start = clock()
            run()
            if turn >= 2:
                seconds[key].append(clock() - start)
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for (name, runtime), values in seconds.items():
        found[name][runtime] = round(1e3 * statistics.median(values), 2)
    return found


def _padded(name: str) -> tuple[int, int]:
    return plan_spec(load_spec(name.partition("@")[0]), input_size=size_of(name)).padded_size


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="folder of Kvasir-SEG")
    parser.add_argument("--scores", action="store_true", help="leave times and sizes as they are")
    parser.add_argument("--no-int8", action="store_true", help="leave int8 out, which takes minutes a net")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="nets to measure (default: all)")
    parser.add_argument("--work", type=Path, default=Path("runs/zoo_table"), help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=31, help="passes of each file (default: %(default)s)")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: processor time, for a busy machine (default: %(default)s)"
    )
    args = parser.parse_args()
    if args.data is None and not args.scores:
        parser.error("give the folder of Kvasir-SEG, or --scores")
    torch.set_num_threads(1)
    path = zoo_folder() / TABLE
    before = json.loads(path.read_text()) if path.exists() else {"machine": "", "rows": {}}
    rows = {name: costs_of(name) for name in sorted({*list_models(), *weights_names()})}
    measured = {key: before["rows"].get(key, {}).get("ms") for key in rows}
    shapes: dict[tuple[str, str], str] = {}  # the same net at the same size has the same files and times
    for name, row in sorted(rows.items(), key=lambda item: ("@" in item[0], item[0])):
        shapes.setdefault((name.partition("@")[0], str(row["size"])), name)
    chosen = [name for name in shapes.values() if not args.only or name in args.only]
    kept = ("ms", "mb", "dice_int8")
    for name, row in rows.items():
        old = before["rows"].get(name, {})
        is_same = old.get("made_of") == row["made_of"] and old.get("size") == row["size"]
        row |= {key: old.get(key) if is_same else None for key in kept}
    if not args.scores:
        args.work.mkdir(parents=True, exist_ok=True)
        for name in chosen:
            print(f"{name}: exporting", file=sys.stderr, flush=True)
            rows[name] |= export(name, args.work, args.data, int8=not args.no_int8)
        for name, found in times(chosen, args.work, args.repeats, CLOCKS[args.clock]).items():
            rows[name]["ms"] = found
    for name, row in rows.items():
        twin = rows[shapes[name.partition("@")[0], str(row["size"])]]
        row |= {key: twin[key] for key in ("ms", "mb")}
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("onnxruntime", "openvino"))
    machine = before["machine"] if args.scores or (args.only and any(measured.values())) else ""
    lines = [
        f"  {json.dumps(name)}: {json.dumps({key: value for key, value in row.items() if value is not None})}"
        for name, row in rows.items()
    ]
    kind = ", processor time" if args.clock == "cpu" else ""
    head = json.dumps(machine or f"{describe_machine().partition(', torch')[0]}{kind}, {versions}")
    body = ",\n".join(lines)
    path.write_text(f'{{\n "machine": {head},\n "rows": {{\n{body}\n }}\n}}\n', encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
