"""A net in torch, onnxruntime or OpenVINO, called like the net itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmnet.blocks.checks import check_choice
from lmnet.builder.graph import GraphModel
from lmnet.builder.optimize import optimize_for_inference
from lmnet.training.export.export_cache import exported_file
from lmnet.training.export.formats import Say

RUNTIMES = ("torch", "onnxruntime", "openvino")


class FileNet(nn.Module):
    """What runs an exported file, for images of any size: they are padded to the net's stride, as GraphModel pads.

    Args:
        run: image -> logits, for heights and widths that are multiples of the stride.
        stride: the net's stride.
        path: the file, for what tells two nets apart by content; None if there is none.

    Shapes:
        image (N, C, H, W) -> logits (N, num_classes, H, W), float32.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], stride: int, path: Path | None = None) -> None:
        super().__init__()
        self.run, self.stride, self.path = run, stride, path

    def padded(self, image: Tensor) -> Tensor:
        """Return what the file is fed."""
        height, width = image.shape[2:]
        return F.pad(image, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        logits = self.run(self.padded(image).cpu())  # files run on the CPU, wherever the images are
        return logits[..., : image.shape[2], : image.shape[3]].to(image.device)


def exported_net(model: GraphModel, runtime: str, *, say: Say = lambda text: None) -> FileNet:
    """Return a net whose exported file another runtime runs, on the CPU.

    The file is kept in the cache folder, so that the next call with the same net starts at once.

    Args:
        model: the net, on the CPU.
        runtime: onnxruntime or openvino.
        say: gets a line for each phase.

    Raises:
        ValueError: an unknown runtime.
        ImportError: a package is missing.
        RuntimeError: the exported file's output differs from the net's.
    """
    check_choice("runtime", RUNTIMES[1:], runtime=runtime)
    check_installed(runtime)
    load = onnxruntime_net if runtime == "onnxruntime" else openvino_net
    with exported_file(model, say=say) as path:
        return FileNet(load(path), model.plan.stride)


def runtime_net(model: GraphModel, runtime: str, *, say: Say = lambda text: None) -> nn.Module:
    """Return a net for inference in a runtime: torch (see optimize_for_inference), onnxruntime or openvino."""
    check_choice("runtime", RUNTIMES, runtime=runtime)
    return optimize_for_inference(model) if runtime == "torch" else exported_net(model, runtime, say=say)


def check_installed(runtime: str) -> None:
    """Raise ImportError, naming the extra, if a runtime's package is missing."""
    extra = {"onnxruntime": "export", "openvino": "openvino"}[runtime]
    try:
        importlib.import_module(runtime)
    except ImportError as err:
        raise ImportError(f"runtime: {runtime} is not installed. pip install 'lmnet[{extra}]'.") from err


def onnxruntime_net(path: str | Path, *, threads: int | None = None) -> Callable[[Tensor], Tensor]:
    """Return a function image -> logits that runs an ONNX file in onnxruntime on the CPU.

    Raises:
        ImportError: the package is missing.
    """
    return run_of(onnxruntime_session(path, threads=threads))


def onnxruntime_session(path: str | Path, *, threads: int | None = None) -> Any:
    """Return onnxruntime's session of an ONNX file on the CPU; see ``onnxruntime_net``."""
    check_installed("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    options.log_severity_level = 3  # errors alone
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_of(session: Any) -> Callable[[Tensor], Tensor]:
    """Return a function image -> logits that runs a session of onnxruntime."""
    names = [output.name for output in session.get_outputs()]
    name = "logits" if "logits" in names else names[0]

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run([name], {"image": image.contiguous().numpy()})[0])

    return run


def openvino_net(path: str | Path, *, precision: str = "f32", threads: int | None = None) -> Callable[[Tensor], Tensor]:
    """Return a function image -> logits that runs an ONNX file in OpenVINO on the CPU.

    Args:
        path: the file.
        precision: type of the arithmetic: ``f32``, or ``bf16``, which is faster and less exact.
        threads: None for torch's.

    Raises:
        ImportError: the package is missing.
    """
    check_installed("openvino")
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads() if threads is None else threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    model = core.read_model(str(path))
    names = [output.any_name for output in model.outputs]
    at = names.index("logits") if "logits" in names else 0
    compiled: dict[tuple[int, ...], Any] = {}  # by shape: OpenVINO is slow if it does not know the shape

    def run(image: Tensor) -> Tensor:
        shape = tuple(image.shape)
        if shape not in compiled:
            model.reshape({"image": list(shape)})
            compiled[shape] = core.compile_model(model, "CPU", settings)
        return torch.from_numpy(compiled[shape]([image.contiguous().numpy()])[at].copy())

    return run
