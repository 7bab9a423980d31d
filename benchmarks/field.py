"""Time the field's light nets beside ours on one core, in turns, and write benchmarks/field.json for docs/field.md.

    python benchmarks/field.py                      # all nets of other families, and lmnet_xs, lmnet_s, lmnet_fast
    python benchmarks/field.py unext lmnet_xs --repeats 31 --size 256

Eager PyTorch, the net after ``optimize_for_inference``, and onnxruntime; random weights, which do not change the time.
They are of one seed, so that a second run finds the exported files in the cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import lmnet
from lmnet.builder.optimize import optimize_for_inference
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.builder.zoo_table import OURS
from lmnet.training.export.benchmark import describe_machine, measure_interleaved, one_pass
from lmnet.training.export.runtimes import exported_net

TABLE = Path(__file__).with_name("field.json")
BESIDE = ("lmnet_xs", "lmnet_s", "lmnet_fast")


def passes_of(name: str, size: int) -> dict[str, Callable[[], object]]:
    """Return one forward pass of a net by runtime."""
    torch.manual_seed(0)
    model = lmnet.create_model(name).eval()
    image = torch.randn(1, model.plan.input_shape[0], size, size)
    fast = optimize_for_inference(model, image).to(memory_format=torch.channels_last)
    wide = image.contiguous(memory_format=torch.channels_last)
    session = exported_net(model, "onnxruntime")
    return {
        "eager": one_pass(model, image),
        "optimised": one_pass(fast, wide),
        "onnxruntime": one_pass(session, image),
    }


def main() -> int:
    """Measure all nets in turns and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", help="names of the zoo (default: the field's, and some of ours)")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()
    torch.set_num_threads(1)
    field = [name for name in lmnet.list_models() if name not in lmnet.list_models(family=OURS)]
    names = args.nets or [*BESIDE, *field]
    passes = {(name, runtime): run for name in names for runtime, run in passes_of(name, args.size).items()}
    seconds = measure_interleaved(list(passes.values()), repeats=args.repeats)
    rows: dict[str, dict[str, float]] = {}
    for (name, runtime), each in zip(passes, seconds, strict=True):
        rows.setdefault(name, {})[runtime] = round(1e3 * statistics.median(each), 1)
    for name, row in rows.items():
        gmacs = plan_spec(load_spec(name), input_size=(args.size, args.size)).deploy_macs / 1e9
        print(f"{name:28} {row}  {row['onnxruntime'] / gmacs:.0f} ms per GMAC", flush=True)
    content: dict[str, Any] = {"machine": describe_machine(1), "size": args.size, "rows": rows}
    if TABLE.exists():  # nets that were not timed now keep their rows, those of the same size and machine
        before = json.loads(TABLE.read_text(encoding="utf-8"))
        if (before["machine"], before["size"]) == (content["machine"], content["size"]):
            content["rows"] = {**before["rows"], **rows}
    TABLE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
