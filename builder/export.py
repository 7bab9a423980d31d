"""Export of a net to ONNX, torch.export or safetensors, each file read back and compared before it is kept."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from lmnet.builder.graph import GraphModel
from lmnet.builder.pretrained import deploy, load_weights, write_state

TOLERANCE = 1e-4
MAX_FACTOR = 512  # pictures up to 512 strides a side


@dataclass(frozen=True)
class ExportCheck:
    """One comparison of an exported file with the eager model.

    Args:
        shape: the input's shape (N, C, H, W).
        error: largest difference, relative to the eager output's largest value.
    """

    shape: tuple[int, ...]
    error: float


def export_model(model: GraphModel, path: str | Path, size: Sequence[int]) -> list[ExportCheck]:
    """Write a net to ``path`` and compare the file with the eager model.

    ``.onnx`` (input ``image``, output ``logits``) and ``.pt2`` hold the re-parameterised form, with free batch, height
    and width; height and width are multiples of the net's stride, as padding stays outside. ``.safetensors`` holds the
    weights of the form that the model is in.

    Args:
        model: the net, on the CPU.
        path: the file; its ending chooses the format.
        size: height and width to trace and check at, rounded up to the stride.

    Raises:
        ValueError: the ending is unknown.
        ImportError: the packages for ONNX are missing.
        RuntimeError: the file's output differs from the eager model's.
    """
    path = Path(path)
    writers = {".onnx": _write_onnx, ".pt2": _write_pt2, ".safetensors": _write_safetensors}
    if path.suffix not in writers:
        raise ValueError(f"export: the file must end in {', '.join(writers)}, got {path.name}. Rename it.")
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        checks = writers[path.suffix](model, temporary, size)
        worst = max(check.error for check in checks)
        if not worst <= TOLERANCE:
            raise RuntimeError(
                f"export: {path.name} must equal the eager model to {TOLERANCE}, got {worst:.2e}. Report this net."
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return checks


def _traced(model: GraphModel, size: Sequence[int]) -> tuple[nn.Module, Tensor, dict[str, Any], list[Tensor]]:
    """Return the net to export, an example, its free dimensions, and two inputs of other sizes to check with."""
    stride, channels = model.plan.stride, model.plan.input_shape[0]
    deployed = deploy(model).requires_grad_(False)
    steps = [max(3, -(-side // stride)) for side in size]
    steps[1] += steps[0] == steps[1]  # a square example would tie height to width
    generator = torch.Generator().manual_seed(0)

    def picture(batch: int, rows: int, columns: int) -> Tensor:
        return torch.randn(batch, channels, stride * rows, stride * columns, generator=generator)

    free = {
        "image": {
            0: Dim("batch", min=1, max=4096),
            2: stride * Dim("h", min=2, max=MAX_FACTOR),
            3: stride * Dim("w", min=2, max=MAX_FACTOR),
        }
    }
    others = [picture(1, steps[0], steps[0]), picture(3, steps[0] + 1, max(2, steps[1] - 1))]
    return deployed, picture(2, *steps), free, others


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress chatter and its notes on deprecated internals from the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _error(out: Tensor, expected: Tensor) -> float:
    return float((out - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def _compare(run: Any, deployed: nn.Module, inputs: Sequence[Tensor]) -> list[ExportCheck]:
    with torch.no_grad():
        return [ExportCheck(tuple(image.shape), _error(run(image), deployed(image))) for image in inputs]


def _write_onnx(model: GraphModel, path: Path, size: Sequence[int]) -> list[ExportCheck]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as err:
        raise ImportError(f"export: ONNX needs {err.name}, got no such package. pip install 'lmnet[export]'.") from err
    deployed, example, free, others = _traced(model, size)
    with _quiet():
        program = torch.onnx.export(
            deployed,
            (example,),
            dynamo=True,
            input_names=["image"],
            output_names=list(model.plan.outputs),
            dynamic_shapes=free,
            verbose=False,
        )
        assert program is not None
        program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return _compare(lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0]), deployed, others)


def _write_pt2(model: GraphModel, path: Path, size: Sequence[int]) -> list[ExportCheck]:
    deployed, example, free, others = _traced(model, size)
    with _quiet():
        torch.export.save(torch.export.export(deployed, (example,), dynamic_shapes=free, strict=False), path)
        loaded = torch.export.load(path).module()
    return _compare(loaded, deployed, others)


def _write_safetensors(model: GraphModel, path: Path, size: Sequence[int]) -> list[ExportCheck]:
    write_state(model, path)
    expected = {key: value.clone() for key, value in model.state_dict().items()}
    load_weights(model, path)
    worst = max(
        float((model.state_dict()[key].double() - value.double()).abs().max()) for key, value in expected.items()
    )
    return [ExportCheck((1, model.plan.input_shape[0], *size), worst)]
