"""ONNX export of any model that holds LM-Net's parts; a net of the builder has ``lmnet-build --export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from lmnet.training.export.onnx_file import save_onnx

TOLERANCE = 1e-4


def export_onnx(model: nn.Module, image: Tensor, path: str | Path) -> float:
    """Write a model to an ONNX file with free batch, run the file, and return how far it is from the model.

    Re-parameterise first: ``export_onnx(timm.utils.reparameterize_model(model.eval()), image, "net.onnx")``.

    Args:
        model: image -> one map, on the CPU; put in eval mode.
        image: (N, C, H, W) with N of 2 or more; the file takes images of this height and width.
        path: the file.

    Returns:
        largest difference at batch 1, relative to the output's largest value.

    Raises:
        ValueError: the batch is 1, which would be frozen into the file.
        ImportError: the packages for ONNX are missing.
        RuntimeError: the file's output differs by more than 1e-4; the file is removed.
    """
    if image.ndim != 4 or len(image) < 2:
        raise ValueError(
            f"export: image must be (N, C, H, W) with N of 2 or more, got {tuple(image.shape)}. Pass two images."
        )
    model.eval()
    batch: Any = ({0: Dim("batch", min=1, max=4096)},)
    run = save_onnx(model, image, path, free=batch)
    single = image[:1]
    out = run(single)["logits"]
    with torch.no_grad():
        expected = model(single)
    error = float((out - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    if not error <= TOLERANCE:
        Path(path).unlink()
        raise RuntimeError(f"export: the file must equal the model to {TOLERANCE}, got {error:.2e}. Report this model.")
    return error
