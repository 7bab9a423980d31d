"""Weights with a few facts about them in one safetensors file: nothing in it can run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lmnet.training.durable import write_durably


def save_weights(
    path: Path, weights: Mapping[str, Tensor], facts: Mapping[str, str] | None = None, *, half: bool = False
) -> None:
    """Write weights durably.

    Args:
        path: of the file.
        weights: a state dict.
        facts: strings to keep with them: size, recipe, score.
        half: store floats as float16, at half the size.

    Raises:
        SaveError: the disk is full or refuses; the file that was there before is kept.
    """
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in weights.items()
    }
    write_durably(path, safetensors.torch.save(tensors, metadata=dict(facts or {})))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return weights (floats as float32) and the facts beside them.

    Raises:
        ValueError: the file is absent or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path}: weights must be a whole .safetensors file, got error={str(error)!r}. Give another file."
        ) from error
    return {
        name: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        for name, tensor in weights.items()
    }, facts
