"""One net in several runtimes on this machine's CPU, interleaved in one process: time, memory and error."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lmnet.builder.models import build_model
from lmnet.builder.optimize import optimize_for_inference
from lmnet.builder.plan import Plan
from lmnet.training.export.benchmark import (
    REPEATS,
    Calls,
    Timing,
    measure_interleaved,
    one_pass,
    peak_in_process,
    peak_memory,
    torch_threads,
)
from lmnet.training.export.formats import export_model
from lmnet.training.export.runtimes import check_installed, onnxruntime_net, openvino_net

Run = Callable[[Tensor], Tensor]

TRAINING, OPTIMISED = "PyTorch, training form", "PyTorch, optimised"
EXPORTED: dict[str, tuple[str, Callable[[Path], Run]]] = {
    "onnxruntime": ("onnxruntime", onnxruntime_net),
    "OpenVINO, float32": ("openvino", openvino_net),
    "OpenVINO, bfloat16": ("openvino", lambda path: openvino_net(path, precision="bf16")),
}
"""Name → the package, and what opens an ONNX file."""


@dataclass(frozen=True)
class RuntimeTiming:
    """A net in one runtime.

    Args:
        timing: times of its passes.
        error: largest difference from the training form, relative to its largest output.
    """

    timing: Timing
    error: float


def benchmark_runtimes(
    plan: Plan, *, batch: int, threads: int | None = None, say: Callable[[str], object] = lambda text: None
) -> tuple[list[RuntimeTiming], list[str]]:
    """Measure a net in PyTorch and in each runtime that is installed.

    Args:
        plan: the net's plan, at its padded size.
        batch: images per pass.
        threads: number of each runtime's threads; None for torch's.
        say: gets a line for each phase.

    Returns:
        the timings, the training form first, and a line for each runtime that is not installed.
    """
    with torch_threads(threads), tempfile.TemporaryDirectory() as folder:
        return _measured(plan, Path(folder) / "net.onnx", batch, say)


def _measured(
    plan: Plan, path: Path, batch: int, say: Callable[[str], object]
) -> tuple[list[RuntimeTiming], list[str]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(plan.spec, input_size=plan.input_shape[1:]).eval()
        image = torch.randn(batch, plan.input_shape[0], *plan.padded_size)
    nets: dict[str, Run] = {TRAINING: model, OPTIMISED: optimize_for_inference(model)}
    peaks = {name: peak_memory(plan, batch=batch, optimised=name == OPTIMISED) for name in nets}
    missing = []
    for name, (package, opened) in EXPORTED.items():
        try:
            check_installed(package)
        except ImportError as err:
            missing.append(f"{name}: not measured ({err})")
            continue
        if not path.exists():
            say("exporting to ONNX")
            export_model(model, path, plan.padded_size)
        nets[name] = opened(path)
        peaks[name] = peak_in_process(_calls, name, path, tuple(image.shape))
    say(f"timing {', '.join(nets)}, in turns")
    with torch.inference_mode():
        outputs = {name: _logits(net(image)) for name, net in nets.items()}
        seconds = measure_interleaved([one_pass(net, image) for net in nets.values()], repeats=REPEATS)
    largest = float(outputs[TRAINING].abs().max())
    rows = []
    for (name, output), times in zip(outputs.items(), seconds, strict=True):
        macs = plan.macs if name == TRAINING else plan.deploy_macs
        error = float((output - outputs[TRAINING]).abs().max()) / max(largest, 1e-12)
        rows.append(RuntimeTiming(Timing(name, batch, macs, times, peaks[name]), error))
    return rows, missing


def _logits(output: Tensor | dict[str, Tensor]) -> Tensor:
    return output if isinstance(output, Tensor) else output["logits"]


def _calls(name: str, path: Path, shape: tuple[int, ...]) -> Calls:
    net, image = EXPORTED[name][1](path), torch.randn(shape)
    return lambda: None, lambda: net(image)
