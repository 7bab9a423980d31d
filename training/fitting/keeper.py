"""What happens after each epoch: a history row, the best weights, the files, and the caller's say."""

from __future__ import annotations

import copy
import csv
import importlib.util
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from lmnet.builder.files import BEST, write_durably
from lmnet.builder.weights import save_weights
from lmnet.training.fitting.chooser import Chooser
from lmnet.training.fitting.segmentation_module import SegmentationModule
from lmnet.training.fitting.state import TrainState, copy_weights

CHECKPOINT = "last.ckpt"
LOG = "log.csv"

_LOGGED = ("dice_foreground_mean", "dice_foreground_pooled", "dice_macro_pooled", "iou_foreground_pooled")


@dataclass(frozen=True)
class EpochReport:
    """The report that a callback gets after an epoch.

    Args:
        epoch: number of epochs done, including those before a resume.
        score: what chooses the best epoch; higher is better. The lesion Dice of the validation images, or minus their
            loss if none of them has a lesion (``Chooser``).
        best_score: the highest so far.
        row: this epoch's row of the history: lr, losses, scores, seconds.
        uses_loss: whether the loss chooses.
    """

    epoch: int
    score: float
    best_score: float
    row: dict[str, float]
    uses_loss: bool = False

    @property
    def text(self) -> str:
        """Score and best score in words, such as ``val Dice 0.812 (best 0.820)``."""
        name, sign = ("loss", -1) if self.uses_loss else ("Dice", 1)
        return f"val {name} {sign * self.score:.3f} (best {sign * self.best_score:.3f})"


class EpochKeeper(L.Callback):
    """Keeps the state of a training run up to date, in memory and in a folder.

    Args:
        start: the state that the training run starts from; not changed.
        folder: folder to write to; None to write nothing.
        callbacks: called after each epoch.
        chooser: decides which epoch is the best.
        facts: written beside the best weights.
    """

    def __init__(
        self,
        start: TrainState,
        folder: Path | None,
        callbacks: Sequence[Callable[[EpochReport], bool | None]],
        chooser: Chooser,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.state = copy.copy(start)
        self.state.history = list(start.history)
        self.chooser = chooser
        if not chooser.compares_with(start.chosen_by):
            self.state.best_score = -math.inf  # another scale: the next epoch is the best so far
        self.state.chosen_by = chooser.kind
        self.folder = folder
        self.callbacks = callbacks
        self.facts = dict(facts or {})
        self.is_stopped = False
        self._board: Any = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write down the epoch; validation has run before."""
        assert isinstance(pl_module, SegmentationModule)
        row = self._row(pl_module)
        score = self.chooser.score(pl_module.scores, row["val_loss"])
        state = self.state
        state.epoch = int(row["epoch"])
        state.history.append(row)
        state.weights = copy_weights(pl_module.model)
        state.optimizer = _copied(trainer.optimizers[0].state_dict())
        if pl_module.average is not None:
            state.average = copy_weights(pl_module.average)
        if score > state.best_score or not state.best_weights:
            state.best_epoch, state.best_score = state.epoch, score
            state.best_weights = copy_weights(pl_module.scored)
        if self.folder is not None and trainer.is_global_zero:
            self._write(self.folder, row)
        report = EpochReport(state.epoch, score, state.best_score, row, self.chooser.uses_loss)
        if any([callback(report) for callback in self.callbacks]):  # noqa: C419  every callback is called
            self.is_stopped = trainer.should_stop = True

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Close the TensorBoard file."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _row(self, module: SegmentationModule) -> dict[str, float]:
        epoch = module.epochs_done + 1
        means = {
            f"{name}_loss": float(torch.stack(values).mean()) if values else math.nan
            for name, values in module.losses.items()
        }
        scores = {f"val_{name}": module.scores[name] for name in _LOGGED}
        rate = module.schedule.learning_rate(module.recipe, epoch - 1)
        return {"epoch": epoch, "lr": rate, **means, **scores, **module.clock.read()}

    def _write(self, folder: Path, row: dict[str, float]) -> None:
        state = self.state
        state.save(folder / CHECKPOINT)  # first: it holds all that the other files are made of
        if state.best_epoch == state.epoch or not (folder / BEST).exists():
            save_weights(folder / BEST, state.best_weights, {**self.facts, **best_facts(state)})
        write_durably(folder / LOG, history_csv(state.history).encode())
        if importlib.util.find_spec("tensorboard") is None:
            return
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=state.epoch)
        for name, value in ((name, value) for name, value in row.items() if math.isfinite(value)):
            self._board.add_scalar(name, value, state.epoch)
        self._board.flush()


def best_facts(state: TrainState) -> dict[str, str]:
    """Return what is kept beside the best weights about how they were chosen."""
    return {"epoch": str(state.best_epoch), "score": repr(state.best_score)}


def history_csv(history: Sequence[dict[str, float]]) -> str:
    """Return the history as CSV, one line per epoch."""
    text = io.StringIO()
    if history:
        writer = csv.DictWriter(text, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    return text.getvalue()


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    return [_copied(entry) for entry in value] if isinstance(value, list) else value
