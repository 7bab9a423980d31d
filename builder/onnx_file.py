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


def save_onnx(
    net: nn.Module,
    image: Tensor,
    path: str | Path,
    *,
    free: Any,
    outputs: Sequence[str] = ("logits",),
    facts: Mapping[str, str] | None = None,
) -> Callable[[Tensor], Tensor]:
    """Trace a net and write it to a file, its input named ``image``.

    Args:
        net: image -> map, in eval mode.
        image: what to trace with.
        path: the file.
        free: the image's free dimensions, as torch.export takes them.
        outputs: names.
        facts: kept in the file's metadata.

    Returns:
        what runs the file: image -> its first output.

    Raises:
        ImportError: the packages for ONNX are missing.
    """
    try:
        import onnxruntime
        import onnxscript.optimizer
    except ImportError as err:
        raise ImportError(f"export: ONNX needs {err.name}, got no such package. pip install 'lmnet[export]'.") from err
    with quiet_exporter():
        program = torch.onnx.export(
            net,
            (image,),
            dynamo=True,
            input_names=["image"],
            output_names=list(outputs),
            dynamic_shapes=free,
            optimize=False,  # takes minutes where windows are large, and the runtimes do it again, but for constants
            verbose=False,
        )
        assert program is not None
        onnxscript.optimizer.fold_constants(program.model)
        onnxscript.optimizer.remove_unused_nodes(program.model)
        program.model.metadata_props.update(facts or {})
        program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


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
