"""The model as Lightning sees it: one step, one validation, the learning rate of each step."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import lightning.pytorch as L
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lmnet.training.data.case_set import ResizedSet
from lmnet.training.data.normalization import normalized
from lmnet.training.fitting.deep_training import set_training_slope
from lmnet.training.fitting.distillation import Teacher, distillation_loss
from lmnet.training.fitting.evaluation import class_names
from lmnet.training.fitting.loaders import Batch, EpochSampler, mixed_seed, scoring_loader, training_loader
from lmnet.training.fitting.named import LOSSES, OPTIMIZERS
from lmnet.training.fitting.optimizers import freeze, parameter_groups
from lmnet.training.fitting.recipe import Recipe
from lmnet.training.fitting.schedule import Schedule
from lmnet.training.fitting.state import TrainState
from lmnet.training.metrics.confusion import ConfusionByCase
from lmnet.training.metrics.store import CaseScores
from lmnet.training.prediction.inference import class_logits


class TrainingDiverged(RuntimeError):
    """The loss became infinite or not a number."""


class SegmentationModule(L.LightningModule):
    """Trains a model by a recipe, from a state on.

    Args:
        model: image (N, C, H, W) → logits (N, num_classes, H, W).
        recipe: how to train.
        train: training cases at their size.
        val: validation cases at their size.
        num_classes: outputs of the model.
        seed: random seed of the images' order, of augmentation and of dropout.
        state: state to start from; its weights are in the model already.
        schedule: the epochs over which the learning rate falls.
        workers: number of data-loading processes.
        pretrained: names of the tensors that do not start at random.
        teacher: a model to learn from besides the masks.
        loss: instead of the recipe's.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        *,
        train: ResizedSet,
        val: ResizedSet,
        num_classes: int,
        seed: int,
        state: TrainState,
        schedule: Schedule,
        workers: int,
        pretrained: Collection[str] = (),
        teacher: Teacher | None = None,
        loss: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.cases = {"train": train, "val": val}
        self.seed, self.state, self.workers = seed, state, workers
        self.schedule = schedule
        self.pretrained, self.teacher = frozenset(pretrained), teacher
        self.loss: nn.Module = loss or LOSSES.get(recipe.loss)(recipe)
        self.average = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.val_counts = ConfusionByCase(num_classes)
        self.losses: dict[str, list[Tensor]] = {"train": [], "val": []}
        self.scores: dict[str, float] = {}
        self.clock = _Clock()

    @property
    def scored(self) -> nn.Module:
        """The model that validation scores and the best checkpoint keeps."""
        return self.average.module if self.average is not None else self.model

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return this process's batches."""
        size = self.schedule.training_size(self.recipe, self.cases["train"].size, self.epochs_done)
        cases = self.cases["train"].cases.at(size, self.cases["train"].in_channels)
        sampler = EpochSampler(
            len(cases),
            seed=self.seed,
            first_epoch=self.state.epoch,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return training_loader(
            cases,
            augment=self.recipe.augment,
            batch_size=self.recipe.batch_size,
            sampler=sampler,
            workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return this process's share of the validation cases."""
        return scoring_loader(
            self.cases["val"],
            batch_size=max(8, self.recipe.batch_size),
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer, with its moments as the state has them."""
        groups = parameter_groups(self.model, self.pretrained, self.recipe)
        optimizer: torch.optim.Optimizer = OPTIMIZERS.get(self.recipe.optimizer)(groups, self.recipe)
        if self.state.optimizer:
            optimizer.load_state_dict(self.state.optimizer)
        if self.average is not None and self.state.average:
            self.average.load_state_dict({k: v for k, v in self.state.average.items() if k != "n_averaged"})
        return optimizer

    def on_train_epoch_start(self) -> None:
        """Seed dropout by (seed, epoch, process), so that a resumed run draws what an unbroken one draws."""
        torch.manual_seed(mixed_seed(self.seed, self.epochs_done, self.global_rank, 1))
        freeze(self.model, self.pretrained, is_frozen=self.epochs_done < self.recipe.freeze_epochs)
        if self.recipe.deep_training:
            set_training_slope(self.model, self.schedule.training_slope(self.epochs_done))
        self.losses = {"train": [], "val": []}
        self.clock = _Clock()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        self.clock.start_step()
        epoch = self.epochs_done + batch_idx / max(1, int(self.trainer.num_training_batches))
        for group in self.optimizers().param_groups:
            rate = self.schedule.learning_rate(self.recipe, epoch)
            group["lr"] = rate * group.get("scale", 1.0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        image, mask, _ = batch
        loss = self._training_loss(image, mask.long())
        if not torch.isfinite(loss):
            raise TrainingDiverged(
                f"fit: the loss became {float(loss.detach())} in epoch {self.epochs_done + 1}, step {batch_idx + 1}. "
                "Lower lr, or set clip_norm."
            )
        self.losses["train"].append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average along and stop the clock."""
        every, batches = self.recipe.accumulate, int(self.trainer.num_training_batches)
        if self.average is not None and ((batch_idx + 1) % every == 0 or batch_idx + 1 == batches):  # the optimizer's
            step = self.epochs_done * -(-batches // every) + -(-(batch_idx + 1) // every)
            self.average.update(self.model, step=step)
        self.clock.end_step(len(batch[0]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch."""
        image, mask, index = batch
        logits = self._logits(self.scored, image, mask)
        self.losses["val"].append(self.loss(logits, mask.long()))
        self.val_counts.update(logits.argmax(dim=1), mask, index)

    def on_validation_epoch_end(self) -> None:
        """Turn the counts of all processes into scores.

        Raises:
            TrainingDiverged: the loss of the val images is not a number.
        """
        indices, counts = self.val_counts.result()
        self.val_counts.reset()
        names = self.cases["val"].cases.names
        counted = counts.cpu().numpy()
        classes = class_names(self.cases["val"].cases, counted.shape[-1])
        self.scores = CaseScores(tuple(names[i] for i in indices.tolist()), counted, classes=classes).values()
        loss = torch.stack(self.losses["val"]).mean()
        loss = torch.as_tensor(self.trainer.strategy.reduce(loss, reduce_op="mean"))  # over all processes
        if torch.isnan(loss):
            raise TrainingDiverged(
                f"fit: the loss of the val images is nan after epoch {self.epochs_done + 1}: the net's weights, or the "
                "statistics of its norms, are no longer finite. Lower lr, set clip_norm, or start from other weights."
            )
        self.losses["val"] = [loss]
        self.log("dice", self.scores["dice_foreground_mean"], prog_bar=True, rank_zero_only=True)

    @property
    def epochs_done(self) -> int:
        """Epochs finished before the running one, those of earlier sessions too."""
        return self.state.epoch + int(self.current_epoch)

    def _training_loss(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of the logits and, by their weights, of the maps that the net's spec lists in ``aux``."""
        teacher = self.teacher.logits(image) if self.teacher is not None else None

        def loss_of(logits: Tensor) -> Tensor:
            loss: Tensor = self.loss(logits, mask)
            if teacher is not None:
                soft = distillation_loss(logits, teacher, temperature=self.recipe.distill_temperature)
                loss = loss + self.recipe.distill_weight * soft
            return loss

        if not getattr(self.model, "has_aux", False):
            return loss_of(self._logits(self.model, image, mask))
        logits, aux = self.model.forward_with_aux(self._ready(image))  # type: ignore[operator]
        total = loss_of(class_logits(logits, mask.shape[-2:]))
        for weight, other in aux:
            total = total + weight * loss_of(class_logits(other, mask.shape[-2:]))
        return total

    def _logits(self, model: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
        return class_logits(model(self._ready(image)), mask.shape[-2:])

    def _ready(self, image: Tensor) -> Tensor:
        image = normalized(image, self.recipe.mean, self.recipe.std)
        return image.contiguous(memory_format=torch.channels_last) if self.recipe.channels_last else image


class _Clock:
    """How long an epoch's steps took and how long they waited for data."""

    def __init__(self) -> None:
        self.began = self.ended = time.perf_counter()
        self.waited = 0.0
        self.images = 0

    def start_step(self) -> None:
        self.waited += time.perf_counter() - self.ended

    def end_step(self, images: int) -> None:
        self.ended = time.perf_counter()
        self.images += images

    def read(self) -> dict[str, float]:
        seconds = max(self.ended - self.began, 1e-9)
        return {
            "seconds": seconds,
            "images_per_second": self.images / seconds,
            "waiting_share": self.waited / seconds,
        }
