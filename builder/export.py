"""Export of a net to ONNX, torch.export or safetensors, each file read back and compared before it is kept."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from lmnet.blocks import attention_backend
from lmnet.blocks.neighborhood_attention import NeighborhoodAttentionTokens
from lmnet.builder.facts import facts_of_model
from lmnet.builder.files import written_aside
from lmnet.builder.graph import GraphModel
from lmnet.builder.models import deploy, is_deployed
from lmnet.builder.onnx_file import quiet_exporter, save_onnx
from lmnet.builder.weights import Weights, checksum, read_weights, weights_bytes

TOLERANCE = 1e-4
ENDINGS = (".onnx", ".pt2", ".safetensors")
FACTS_FILE = "lmnet.json"
MAX_FACTOR = 512  # images up to 512 strides a side


@dataclass(frozen=True)
class ExportCheck:
    """One comparison of an exported file with the eager model.

    Args:
        shape: the input's shape (N, C, H, W).
        error: largest difference, relative to the eager output's largest value.
    """

    shape: tuple[int, ...]
    error: float


def export_model(
    model: GraphModel, path: str | Path, size: Sequence[int], *, facts: Mapping[str, str] | None = None
) -> list[ExportCheck]:
    """Write a net to ``path`` and compare the file with the eager model.

    ``.onnx`` (input ``image``, output ``logits``) and ``.pt2`` hold the re-parameterised form, with free batch, height
    and width; height and width are multiples of the net's stride, as padding stays outside. No map may be smaller
    than the window of its attention, unless it is so at ``size`` already. ``.safetensors`` holds the weights of the
    form that the model is in.

    Args:
        model: the net, on the CPU.
        path: the file; its ending chooses the format.
        size: height and width to trace and check at, rounded up to the stride.
        facts: kept in the file: mean, std, size, classes, hashes of spec and weights.

    Raises:
        ValueError: the ending is unknown.
        ImportError: the packages for ONNX are missing.
        SaveError: the file cannot be written.
        RuntimeError: the file's output differs from the eager model's.
    """
    path = Path(path)
    check_ending(path)
    writers = {".onnx": _write_onnx, ".pt2": _write_pt2, ".safetensors": _write_safetensors}
    if not path.parent.is_dir():
        raise ValueError(f"export: there is no folder {path.parent}. Make it, or name another file.")
    with written_aside(path, suffix=path.suffix) as temporary:
        checks = writers[path.suffix](model, temporary, size, dict(facts or {}))
        worst = max(check.error for check in checks)
        if not worst <= TOLERANCE:
            raise RuntimeError(
                f"export: {path.name} must equal the eager model to {TOLERANCE}, got {worst:.2e}. Report this net."
            )
    return checks


def check_ending(path: Path) -> None:
    """Check that a file's ending names a format.

    Raises:
        ValueError: it does not.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"export: the file must end in {', '.join(ENDINGS)}, got {path.name}. Rename it.")


def export_facts(model: GraphModel, weights: Weights | None) -> dict[str, str]:
    """Return what whoever opens an exported file must know: how images are fed, and what it was made of.

    Args:
        model: the net.
        weights: what it holds; None for random weights.
    """
    digest = checksum(model.state_dict(), {})
    return {
        "lmnet": model.spec.name,
        "spec": model.spec.dump(),
        "spec_hash": model.hash,
        "weights_hash": digest,
        "weights": weights.path.name if weights is not None else "random",
        **facts_of_model(model.facts),
    }


def _smallest_steps(model: GraphModel) -> int:
    """Return how many strides an image needs at least so that no map is smaller than the window on it."""
    plan, needed = model.plan, 2
    for node in plan.nodes:
        parts = model.get_submodule(node.name).modules()
        windows = [part.window for part in parts if isinstance(part, NeighborhoodAttentionTokens)]
        if windows:
            needed = max(needed, -(-max(windows) * plan.padded_size[0] // (node.in_shapes[0][1] * plan.stride)))
    return needed


def _is_sliced(model: GraphModel, size: Sequence[int]) -> bool:
    """Return whether windows fit on all maps; else they are cut to small maps, which only gathering can do."""
    return min(size) >= _smallest_steps(model) * model.plan.stride


@contextlib.contextmanager
def _form_for_files(model: GraphModel, size: Sequence[int]) -> Iterator[None]:
    """Give layers, while they are traced, the form that exported files hold."""
    with contextlib.nullcontext() if _is_sliced(model, size) else attention_backend("gather"), _fixed_same_padding():
        yield


@contextlib.contextmanager
def _fixed_same_padding() -> Iterator[None]:
    """Let timm's "same" padding not depend on the map's size: it does not where the stride divides the size.

    Else torch takes minutes over the terms for the sizes of the maps behind it.
    """
    from timm.layers import padding  # late: its import takes longer than torch's

    def amount(length: Any, kernel: int, stride: int, dilation: int) -> int:
        return max((kernel - 1) * dilation + 1 - stride, 0)

    before = padding.get_same_padding
    padding.get_same_padding = amount
    try:
        yield
    finally:
        padding.get_same_padding = before


def _traced(model: GraphModel, size: Sequence[int]) -> tuple[nn.Module, Tensor, dict[str, Any], list[Tensor]]:
    """Return the net to export, an example, its free dimensions, and two inputs of other sizes to check with.

    Args:
        model: the net.
        size: height and width to trace and check at.
    """
    least = _smallest_steps(model) if _is_sliced(model, size) else 2
    stride, channels = model.plan.stride, model.plan.input_shape[0]
    deployed = deploy(model).requires_grad_(False)
    steps = [max(3, least, -(-side // stride)) for side in size]
    steps[1] += steps[0] == steps[1]  # a square example would tie height to width
    generator = torch.Generator().manual_seed(0)

    def picture(batch: int, rows: int, columns: int) -> Tensor:
        return torch.randn(batch, channels, stride * rows, stride * columns, generator=generator)

    free = {
        "image": {
            0: Dim("batch", min=1, max=4096),
            2: stride * Dim("h", min=least, max=MAX_FACTOR),
            3: stride * Dim("w", min=least, max=MAX_FACTOR),
        }
    }
    others = [picture(1, steps[0], steps[0]), picture(3, steps[0] + 1, max(least, steps[1] - 1))]
    return deployed, picture(2, *steps), free, others


def _error(out: Tensor, expected: Tensor) -> float:
    return float((out - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def _compare(run: Any, deployed: nn.Module, inputs: Sequence[Tensor]) -> list[ExportCheck]:
    with torch.no_grad():
        return [ExportCheck(tuple(image.shape), _error(run(image), deployed(image))) for image in inputs]


def _write_onnx(model: GraphModel, path: Path, size: Sequence[int], facts: dict[str, str]) -> list[ExportCheck]:
    deployed, example, free, others = _traced(model, size)
    with _form_for_files(model, size):
        run = save_onnx(deployed, example, path, free=free, outputs=list(model.plan.outputs), facts=facts)
    return _compare(run, deployed, others)


def _write_pt2(model: GraphModel, path: Path, size: Sequence[int], facts: dict[str, str]) -> list[ExportCheck]:
    deployed, example, free, others = _traced(model, size)
    with quiet_exporter(), _form_for_files(model, size):
        program = torch.export.export(deployed, (example,), dynamic_shapes=free, strict=False)
        content = io.BytesIO()  # torch's own writer aborts the process where the disk is full
        torch.export.save(program, content, extra_files={FACTS_FILE: json.dumps(facts)})
        path.write_bytes(content.getvalue())
        loaded = torch.export.load(path).module()
    return _compare(loaded, deployed, others)


def _write_safetensors(model: GraphModel, path: Path, size: Sequence[int], facts: dict[str, str]) -> list[ExportCheck]:
    state = model.state_dict()
    path.write_bytes(weights_bytes(state, {**facts, "deploy": str(is_deployed(model)).lower()}))
    read = read_weights(path).state
    worst = max(float((read[key].double() - value.double()).abs().max()) for key, value in state.items())
    return [ExportCheck((1, model.plan.input_shape[0], *size), worst)]
