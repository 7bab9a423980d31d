"""The one writer of ONNX files, for nets of the builder and for any other model."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LEAST_OPSET, NEWEST_OPSET = 18, 22
"""Versions of the ONNX operators that files can be written in. Files of 18 need onnxruntime 1.14 or later."""


def save_onnx(
    net: nn.Module,
    image: Tensor,
    path: str | Path,
    *,
    free: Any,
    outputs: Sequence[str] = ("logits",),
    facts: Mapping[str, str] | None = None,
    opset: int | None = None,
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Trace a net and write it to a file, its input named ``image``.

    What the exporter notes about each node (sources, stack traces with this machine's paths) is left out.

    Args:
        net: image -> map, in eval mode.
        image: what to trace with.
        path: the file.
        free: the image's free dimensions, as torch.export takes them; None for none.
        outputs: their names.
        facts: kept in the file's metadata.
        opset: version of the ONNX operators; None for LEAST_OPSET.

    Returns:
        what runs the file: image -> its outputs by name.

    Raises:
        ImportError: the packages for ONNX are missing.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript.optimizer
    except ImportError as err:
        raise ImportError(
            f"export: ONNX needs {err.name}, which is not installed. pip install 'lmnet[export]'."
        ) from err
    with quiet_exporter():
        program = torch.onnx.export(
            net,
            (image,),
            dynamo=True,
            input_names=["image"],
            output_names=list(outputs),
            dynamic_shapes=free,
            optimize=False,  # takes minutes if windows are large, and the runtimes do it again, but for constants
            verbose=False,
            opset_version=LEAST_OPSET if opset is None else opset,
        )
        assert program is not None
        onnxscript.optimizer.fold_constants(program.model)
        _shrink(program.model)
        program.model.metadata_props.update(facts or {})
        file = program.model_proto
    file.graph.ClearField("value_info")  # shapes between the nodes, which every runtime infers by itself
    # the oldest version of the format that has these operators, so that the oldest runtimes read it
    file.ir_version = onnx.helper.find_min_ir_version_for(list(file.opset_import), ignore_unknown=True)
    Path(path).write_bytes(file.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(image: Tensor) -> dict[str, Tensor]:
        return dict(zip(names, map(torch.from_numpy, session.run(names, {"image": image.numpy()})), strict=True))

    return run


def _shrink(model: Any) -> None:
    """Take out of a file what no runtime needs: the exporter's notes on each node, long names, the same node twice."""
    from onnx_ir.passes import common

    common.ClearMetadataAndDocStringPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    for index, node in enumerate(model.graph.all_nodes()):
        node.name = f"n{index}"


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
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
