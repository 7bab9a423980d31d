"""Export of a net to ONNX, torch.export or safetensors, each file read back and compared before it is kept."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from lmnet import __version__
from lmnet.blocks import attention_backend
from lmnet.blocks.neighborhood_attention import NeighborhoodAttentionTokens
from lmnet.builder.facts import facts_of_model, normalization_facts
from lmnet.builder.files import written_aside
from lmnet.builder.graph import GraphModel
from lmnet.builder.models import deploy, is_deployed
from lmnet.builder.weights import Weights, checksum, read_weights, weights_bytes
from lmnet.builder.weights_on_demand import licence_of
from lmnet.training.data.classes import make_classes
from lmnet.training.data.meaning import DataMeaning
from lmnet.training.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from lmnet.training.export.onnx_file import LEAST_OPSET, NEWEST_OPSET, quiet_exporter, save_onnx

TOLERANCE = 1e-4
ENDINGS = (".onnx", ".pt2", ".safetensors")
FACTS_FILE = "lmnet.json"
MAX_FACTOR = 512  # images up to 512 strides a side
_ELSEWHERE = {
    ".tflite": "Write net.onnx; onnx2tf makes a .tflite file of it.",
    ".mlpackage": "Write net.pt2; coremltools makes a .mlpackage of it.",
    ".mlmodel": "Write net.pt2; coremltools makes an .mlpackage of it.",
    ".engine": "Write net.onnx; trtexec of TensorRT makes an .engine of it.",
    ".plan": "Write net.onnx; trtexec of TensorRT makes a .plan of it.",
    ".xml": "Write net.onnx; OpenVINO reads it, and ovc makes an .xml of it.",
    ".ort": "Write net.onnx; onnxruntime.tools.convert_onnx_models_to_ort makes an .ort of it.",
    ".pt": "Write net.pt2 (torch.export), which torch.export.load reads.",
    ".pth": "Write net.safetensors for weights, or net.pt2 for the net.",
}
"""Other formats → what makes them."""

Say = Callable[[str], object]


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
    model: GraphModel,
    path: str | Path,
    size: Sequence[int],
    *,
    facts: Mapping[str, str] | None = None,
    opset: int | None = None,
    static: bool = False,
    say: Say = lambda text: None,
) -> list[ExportCheck]:
    """Write a net to ``path`` and compare the file with the eager model.

    ``.onnx`` (input ``image``, output ``logits``) and ``.pt2`` hold the re-parameterised form, with free batch, height
    and width; height and width are multiples of the net's stride, as padding stays outside. No map may be smaller
    than the window of its attention, unless it is so at ``size`` already. A net of several outputs gives all of them,
    by their names. ``.safetensors`` holds the weights of the form that the model is in.

    Args:
        model: the net, on the CPU.
        path: the file; its ending chooses the format.
        size: height and width to trace and check at, rounded up to the stride.
        facts: kept in the file: see ``export_facts``.
        opset: version of the ONNX operators; None for the usual one.
        static: whether the file takes one image (1, C, height, width) of this size alone.
        say: gets a line for each phase.

    Raises:
        ValueError: the ending is unknown, or an option is not for this format.
        ImportError: the packages for ONNX are missing.
        SaveError: the file cannot be written.
        RuntimeError: the file's output differs from the eager model's.
    """
    path = Path(path)
    check_ending(path, opset=opset, static=static)
    if not path.parent.is_dir():
        raise ValueError(f"export: there is no folder {path.parent}. Make it, or name another file.")
    size = [-(-side // model.plan.stride) * model.plan.stride for side in size]
    facts = {**(facts or {}), **({"fixed_shape": "x".join(map(str, size))} if static else {})}
    say(f"exporting {model.spec.name} to {path.suffix[1:]}")
    with written_aside(path, suffix=path.suffix) as temporary:
        if path.suffix == ".onnx":
            checks = _write_onnx(model, temporary, size, facts, opset=opset, static=static)
        elif path.suffix == ".pt2":
            checks = _write_pt2(model, temporary, size, facts, static=static)
        else:
            checks = _write_safetensors(model, temporary, size, facts)
        worst = max(check.error for check in checks)
        if not worst <= TOLERANCE:
            raise RuntimeError(
                f"export: {path.name} must equal the eager model to {TOLERANCE}, got {worst:.2e}. Report this net."
            )
    return checks


def check_ending(path: Path, *, opset: int | None = None, static: bool = False) -> None:
    """Check that a file's ending names a format, and that the options are for it.

    Raises:
        ValueError: they are not.
    """
    if path.suffix not in ENDINGS:
        other = _ELSEWHERE.get(path.suffix, "Rename it; a page for the browser is a folder: page/.")
        raise ValueError(f"export: the file must end in {', '.join(ENDINGS)}, got {path.name}. {other}")
    if opset is not None and path.suffix != ".onnx":
        raise ValueError(f"--opset: it goes with a .onnx file, got {path.name}. Leave it out.")
    if opset is not None and not LEAST_OPSET <= opset <= NEWEST_OPSET:
        raise ValueError(
            f"--opset: it must be from {LEAST_OPSET} to {NEWEST_OPSET}, got {opset}. Leave it out for {LEAST_OPSET}."
        )
    if static and path.suffix == ".safetensors":
        raise ValueError(f"--static: weights have no image size, got {path.name}. Write a .onnx or .pt2 file.")


def export_facts(model: GraphModel, weights: Weights | None) -> dict[str, str]:
    """Return what stands in an exported file: how images are fed to it, what its classes are, what it was made of.

    Beside all that stands beside the weights: ``lmnet`` (the net's name), ``lmnet_version``, ``spec``, ``spec_hash``,
    ``weights_hash``, ``weights``, ``stride``, ``size`` (side that images are resized to), ``in_channels``, ``mean`` and
    ``std`` (JSON lists), ``num_classes``, ``class_names`` (a JSON list) and, of shipped weights, ``licence``.

    Args:
        model: the net.
        weights: what it holds; None for random weights.
    """
    facts = facts_of_model(model.facts)
    mean, std = model.normalization or (IMAGENET_MEAN, IMAGENET_STD)
    channels, height, width = model.plan.input_shape
    outputs = model.plan.outputs
    node, at = outputs.get("logits", next(iter(outputs.values())))
    count = next(each for each in model.plan.nodes if each.name == node).out_shapes[at][0]
    classes = make_classes(max(2, count))
    if "data" in facts:
        trained = DataMeaning.load(facts["data"], where=model.spec.name).classes
        classes = trained if len(trained) == len(classes) else classes
    licence = None if weights is None else licence_of(weights.path)
    if len(mean) != channels:  # as ``normalized`` does with images of other channels
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    return {
        "size": str(min(height, width)),
        "in_channels": str(channels),
        **facts,
        **normalization_facts(mean, std),
        "num_classes": str(len(classes)),
        "class_names": json.dumps([each.name for each in classes]),
        "class_colors": json.dumps([list(each.color) for each in classes]),
        "lmnet": model.spec.name,
        "lmnet_version": __version__,
        "spec": model.spec.dump(),
        "spec_hash": model.hash,
        "stride": str(model.plan.stride),
        "weights_hash": checksum(model.state_dict(), {}),
        "weights": weights.path.name if weights is not None else "random",
        **({"licence": licence} if licence is not None else {}),
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
    """Let timm's "same" padding not depend on the map's size: it does not if the stride divides the size.

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


def _traced(
    model: GraphModel, size: Sequence[int], *, static: bool
) -> tuple[nn.Module, Tensor, dict[str, Any] | None, list[Tensor]]:
    """Return the net to export, an example, its free dimensions, and inputs to check with.

    Args:
        model: the net.
        size: height and width to trace and check at.
        static: no dimension is free; else the inputs to check with have other sizes than the example.
    """
    least = _smallest_steps(model) if _is_sliced(model, size) else 2
    stride, channels = model.plan.stride, model.plan.input_shape[0]
    deployed = deploy(model).requires_grad_(False)
    steps = [max(3, least, -(-side // stride)) for side in size]
    steps[1] += steps[0] == steps[1]  # a square example would tie height to width
    generator = torch.Generator().manual_seed(0)

    def picture(batch: int, rows: int, columns: int) -> Tensor:
        return torch.randn(batch, channels, stride * rows, stride * columns, generator=generator)

    if static:
        example, other = (torch.randn(1, channels, *size, generator=generator) for _ in range(2))
        return deployed, example, None, [other]
    free = {
        "image": {
            0: Dim("batch", min=1, max=4096),
            2: stride * Dim("h", min=least, max=MAX_FACTOR),
            3: stride * Dim("w", min=least, max=MAX_FACTOR),
        }
    }
    others = [picture(1, steps[0], steps[0]), picture(3, steps[0] + 1, max(least, steps[1] - 1))]
    return deployed, picture(2, *steps), free, others


def _named(output: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": output} if isinstance(output, Tensor) else output


def _error(out: Tensor, expected: Tensor) -> float:
    return float((out - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def _compare(run: Any, deployed: nn.Module, inputs: Sequence[Tensor]) -> list[ExportCheck]:
    checks = []
    with torch.no_grad():
        for image in inputs:
            found, expected = _named(run(image)), _named(deployed(image))
            errors = [_error(found[name], value) for name, value in expected.items()]
            checks.append(ExportCheck(tuple(image.shape), max(errors)))
    return checks


def _write_onnx(
    model: GraphModel, path: Path, size: Sequence[int], facts: dict[str, str], *, opset: int | None, static: bool
) -> list[ExportCheck]:
    deployed, example, free, others = _traced(model, size, static=static)
    with _form_for_files(model, size):
        names = list(model.plan.outputs)
        run = save_onnx(deployed, example, path, free=free, outputs=names, facts=facts, opset=opset)
    return _compare(run, deployed, others)


def _write_pt2(
    model: GraphModel, path: Path, size: Sequence[int], facts: dict[str, str], *, static: bool
) -> list[ExportCheck]:
    deployed, example, free, others = _traced(model, size, static=static)
    with quiet_exporter(), _form_for_files(model, size):
        program = torch.export.export(deployed, (example,), dynamic_shapes=free, strict=False)
        content = io.BytesIO()  # torch's own writer aborts the process if the disk is full
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
