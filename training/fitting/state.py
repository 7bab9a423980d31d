"""All that a training run needs to continue where it stopped, in memory or in one file."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmnet.builder.files import write_durably

FORMAT = "lmnet-train/1"


@dataclass
class TrainState:
    """The state of a training run after a whole number of epochs.

    Args:
        epoch: number of epochs done.
        weights: weights of the model, as trained.
        optimizer: the optimizer's state.
        average: the moving average of the weights; empty if the recipe has none.
        best_epoch: after which the score that chooses was highest; 0 before the first.
        best_score: that score.
        best_weights: weights (or their average) at that epoch.
        history: one row per epoch: epoch, lr, losses, scores, seconds.
        chosen_by: what that score is (``Chooser.kind``); empty in states of versions up to 0.1.0.
    """

    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    chosen_by: str = ""

    def save(self, path: Path) -> None:
        """Write the state durably.

        Raises:
            SaveError: the disk is full or refuses; the file that was there before is kept.
        """
        buffer = io.BytesIO()
        content = {key: getattr(self, key) for key in asdict(TrainState())}
        torch.save({"format": FORMAT, **content}, buffer)
        write_durably(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> TrainState:
        """Read a state; nothing in the file can run code.

        Raises:
            ValueError: the file is no state that this version reads.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"{path}: the checkpoint cannot be read ({reason}). Remove it to start the run again."
            ) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path}: it is no checkpoint of the format {FORMAT!r}. Remove it to start the run again.")
        content.pop("format")
        return cls(**content)


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state dict, on the CPU, cut loose from the model."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Put weights into a model that they fit exactly.

    Args:
        model: changed in place.
        weights: a state dict.
        where: file or object they come from, for the message.

    Raises:
        ValueError: names or shapes differ: the weights are another model's.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wanted != given:
        missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
        shapes = [name for name in wanted if name in given and wanted[name] != given[name]]
        first = (missing or extra or shapes)[0]
        raise ValueError(
            f"{where}: the checkpoint is of another model: {len(missing)} tensors missing, {len(extra)} extra "
            f"and {len(shapes)} of another shape (first: {first}). Give the spec that it was trained with."
        )
    model.load_state_dict(dict(weights))
