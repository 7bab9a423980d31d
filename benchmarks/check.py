"""The regression gate: speed ratios must not fall below floors that leave slack under what RESULTS.md shows.

    python benchmarks/check.py [--repeats 5] [--threads 2] [--clock cpu]

Exit code 1 when a ratio is below its floor.
"""

from __future__ import annotations

import sys

import inference
import training_step
from options import make_parser, read_options, where_measured

from lmnet.blocks import build_kernels

INFERENCE_FLOORS = {
    "optimised, pure PyTorch": 2.6,
    "optimised, compiled": 3.0,
    "onnxruntime, float32": 2.4,
    "OpenVINO, float32": 2.8,
    "OpenVINO, bfloat16": 5.0,
}
TRAINING_FLOORS = {"channels last, pure PyTorch": 1.5, training_step.KERNELS: 1.9}


def report(title: str, ratios: dict[str, float], floors: dict[str, float]) -> bool:
    """Print each ratio beside its floor; return whether all are met."""
    for name, floor in floors.items():
        verdict = "ok" if ratios[name] >= floor else "SLOWER"
        print(f"{title}, {name}: {ratios[name]:.2f}x, floor {floor:.2f}x: {verdict}", flush=True)
    return all(ratios[name] >= floor for name, floor in floors.items())


def main() -> int:
    """Measure small forms of the benchmarks and compare."""
    args = read_options(make_parser(__doc__, repeats=5))
    has_kernel = build_kernels()
    print(where_measured(args))
    forward = inference.ratios(1, 224, args)
    if not has_kernel:
        forward.pop("optimised, compiled")
    floors = {name: floor for name, floor in INFERENCE_FLOORS.items() if name in forward}
    for name in INFERENCE_FLOORS.keys() - floors.keys():
        print(f"inference, {name}: not measured, as it is not installed here")
    is_met = report("inference", forward, floors)
    step = training_step.ratios(1, 128, args.repeats, args.clock)
    floors = TRAINING_FLOORS if has_kernel else {}
    return 0 if report("training step", step, floors) and is_met else 1


if __name__ == "__main__":
    sys.exit(main())
