"""An exported net in onnxruntime or OpenVINO, called like the net itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

RUNTIMES = ("torch", "onnxruntime", "openvino")


def onnxruntime_net(path: str | Path, *, threads: int | None = None) -> Callable[[Tensor], Tensor]:
    """Return a function image -> logits that runs an ONNX file in onnxruntime on the CPU.

    Raises:
        ImportError: the package is missing.
    """
    try:
        import onnxruntime
    except ImportError as err:
        raise ImportError("onnxruntime: the package must be installed, got none. pip install 'lmnet[export]'.") from err
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": image.contiguous().numpy()})[0])

    return run


def openvino_net(path: str | Path, *, precision: str = "f32", threads: int | None = None) -> Callable[[Tensor], Tensor]:
    """Return a function image -> logits that runs an ONNX file in OpenVINO on the CPU.

    Args:
        path: the file.
        precision: of the arithmetic: ``f32``, or ``bf16``, which is faster and less exact.
        threads: None for torch's.

    Raises:
        ImportError: the package is missing.
    """
    try:
        import openvino
    except ImportError as err:
        raise ImportError("openvino: the package must be installed, got none. pip install 'lmnet[openvino]'.") from err
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads() if threads is None else threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(compiled([image.contiguous().numpy()])[0].copy())

    return run
