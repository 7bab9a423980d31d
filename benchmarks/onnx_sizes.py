"""Sizes of the zoo's exported ONNX files, as the exporter of torch makes them and as lmnet writes them.

    python benchmarks/onnx_sizes.py > benchmarks/onnx_sizes.csv   # or the nets that are named

One line a net is printed as soon as it is known. ``beside`` are the bytes beside the weights; ``paths`` counts the
strings of the written file that name a source file, a package folder or the folder of this clone.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import onnx
from onnxscript import ir

import lmnet
from lmnet.training.export import onnx_file
from lmnet.training.export.formats import export_facts, export_model

TRACES = re.compile(rb"site-packages|\.py\b|stack_trace|" + re.escape(str(Path(lmnet.__file__).parents[1]).encode()))


def sizes(name: str) -> tuple[int, int, int, int]:
    """Return bytes before and after, of the weights, and the number of paths in the file that was written."""
    before: list[int] = []
    shrink = onnx_file._shrink

    def measured(program: ir.Model) -> None:
        before.append(len(ir.to_proto(program).SerializeToString()))
        shrink(program)

    onnx_file._shrink = measured
    try:
        model = lmnet.create_model(name).eval()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            export_model(model, path, model.plan.padded_size, facts=export_facts(model, None))
            size, written = path.stat().st_size, onnx.load(path)
    finally:
        onnx_file._shrink = shrink
    weights = sum(len(each.raw_data) for each in written.graph.initializer)
    for each in written.graph.initializer:
        each.ClearField("raw_data")  # random bytes, among which short strings are found by chance
    return before[0], size, weights, len(TRACES.findall(written.SerializeToString()))


def main() -> None:
    """Measure the nets that are named, or all."""
    print("net,before,after,weights,beside,paths")
    for name in sys.argv[1:] or lmnet.list_models():
        before, after, weights, paths = sizes(name)
        print(f"{name},{before},{after},{weights},{after - weights},{paths}", flush=True)


if __name__ == "__main__":
    main()
