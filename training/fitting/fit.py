"""Training any segmentation module on a data set by a recipe: one function, cheap enough to call many times."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import nn

from lmnet.blocks import build_kernels
from lmnet.training.data.load import DataSets
from lmnet.training.fitting.chooser import make_chooser
from lmnet.training.fitting.deep_training import check_deep_training, set_training_slope
from lmnet.training.fitting.distillation import Teacher
from lmnet.training.fitting.keeper import CHECKPOINT, EpochKeeper, EpochReport, best_facts
from lmnet.training.fitting.loaders import default_workers
from lmnet.training.fitting.losses import check_class_weights
from lmnet.training.fitting.optimizers import freeze
from lmnet.training.fitting.recipe import Recipe
from lmnet.training.fitting.schedule import Schedule
from lmnet.training.fitting.segmentation_module import SegmentationModule, TrainingDiverged
from lmnet.training.fitting.state import TrainState, load_weights
from lmnet.training.prediction.inference import probe_classes, resolve_device

__all__ = ["EpochReport", "FitResult", "TrainingDiverged", "fit", "training_facts"]


@dataclass(frozen=True)
class FitResult:
    """The result of a training run.

    Args:
        score: highest score of any epoch: the lesion Dice at the training size, mean over the validation images with a
            lesion; minus the validation loss if none has one.
        best_epoch: the epoch (from 1) with this score; the model now holds that epoch's weights.
        epoch: number of epochs done, including those before a resume.
        history: one row per epoch: epoch, lr, train_loss, val_loss, the scores, seconds, images_per_second,
            waiting_share.
        state: to continue from here: ``fit(..., resume=result.state)``.
        is_stopped: whether a callback ended the training run.
        is_main: False in all but the first of several processes that train: only the first should write and print.
        chosen_by: what the score is, in words; empty if no epoch was left to train.
    """

    score: float
    best_epoch: int
    epoch: int
    history: list[dict[str, float]]
    state: TrainState
    is_stopped: bool = False
    is_main: bool = True
    chosen_by: str = ""


def fit(
    model: nn.Module,
    data: DataSets,
    recipe: Recipe | None = None,
    *,
    size: int | None = None,
    epochs: int | None = None,
    schedule: Schedule | None = None,
    loss: nn.Module | None = None,
    teacher: Teacher | None = None,
    pretrained: Collection[str] = (),
    seed: int = 0,
    out: str | Path | None = None,
    resume: TrainState | None = None,
    callbacks: Sequence[Callable[[EpochReport], bool | None]] = (),
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    workers: int | None = None,
    in_channels: int = 3,
    progress: bool = False,
) -> FitResult:
    """Train a model, score it after each epoch, and leave it in eval mode with the weights of its best epoch.

    On a CPU the result depends only on the arguments and the number of threads, not on workers or on how often the run
    was stopped and resumed. torch's random state is left as it was.

    Args:
        model: image (N, C, H, W) → logits (N, K, H, W); trained in place, from the weights that it has.
        data: from ``load_data``; it may be used for any number of training runs, at any sizes.
        recipe: how to train; None for the default recipe.
        size: side in pixels; None for the recipe's.
        epochs: total number of epochs, including those before a resume; None for the recipe's.
        schedule: the epochs over which the learning rate falls; None for all. Give it if a training run is cut into
            parts, ``Schedule(end=8)``, or goes on after its end with a warm restart, ``Schedule(start=8, end=12)``.
        loss: logits (N, K, H, W) and mask (N, H, W) int64 → scalar; None for the recipe's.
        teacher: a trained model; its class probabilities for the same images are learned too.
        pretrained: names of the model's tensors that do not start at random: the recipe's ``pretrained_lr_scale`` and
            ``freeze_epochs`` apply to them.
        seed: random seed of the order of images, of augmentation and of dropout. The initial weights do not depend on
            it: the model has them already.
        out: folder for last.ckpt, best.safetensors, log.csv and TensorBoard files, made if it is missing. If it holds a
            last.ckpt, training continues from there. None writes nothing.
        resume: a state to continue from; a last.ckpt in ``out`` is used instead, if there is one.
        callbacks: called after each epoch with an ``EpochReport``; one that returns True ends the training run.
        device: auto, cpu, cuda or cuda:N.
        devices: number of processes on this machine, one per GPU (on CPU: gloo processes).
        nodes: number of machines.
        workers: number of data-loading processes; None: chosen for this machine.
        in_channels: input channels of the model: 3, 1 (grey), or the number of channels that the images have.
        progress: show a progress bar on stderr.

    Raises:
        TrainingDiverged: the loss became infinite or not a number.
        SaveError: the disk is full; the last good checkpoint is kept.
        ValueError: a state or checkpoint of another model; a device that is not there; an output that is no logits.

    Example:
        >>> from torch import nn
        >>> from lmnet.training import Recipe, fit, load_data
        >>> data = load_data("synthetic", count=20)
        >>> result = fit(nn.Conv2d(3, 2, 1), data, Recipe(epochs=1, size=32, batch_size=8), device="cpu")
        >>> result.epoch
        1
    """
    recipe = recipe or Recipe()
    epochs = epochs or recipe.epochs
    target = check_machine(recipe, device, devices=devices, nodes=nodes)
    folder = Path(out) if out is not None else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)  # before the first epoch, whose file would not find it
    state = _starting_state(model, folder, resume)
    side = size or recipe.size
    facts = training_facts(recipe, side, seed, in_channels, data)
    if state.epoch >= epochs:
        return _finish(model, state, facts, is_stopped=False, is_main=True)
    train, val = data.train.at(side, in_channels), data.val.at(side, in_channels)
    if workers is None:
        workers = default_workers(on_gpu=target.type == "cuda") if folder is not None else 0
    _prepare(model, target, recipe)
    check_deep_training(recipe, model)
    num_classes = probe_classes(model, size=side, in_channels=in_channels)
    if loss is None:
        check_class_weights(recipe, num_classes)
    chooser = make_chooser(val, num_classes)
    with _repeatable(target, seed), _quiet():
        module = SegmentationModule(
            model,
            recipe,
            train=train,
            val=val,
            num_classes=num_classes,
            seed=seed,
            state=state,
            schedule=schedule or Schedule(epochs),
            workers=workers,
            pretrained=pretrained,
            teacher=teacher,
            loss=loss,
        )
        keeper = EpochKeeper(state, folder, list(callbacks), chooser, facts)
        trainer = L.Trainer(
            max_epochs=epochs - state.epoch,
            accelerator="gpu" if target.type == "cuda" else "cpu",
            devices=[target.index] if target.index is not None else devices,
            num_nodes=nodes,
            strategy="ddp" if devices * nodes > 1 else "auto",
            precision=recipe.precision,
            accumulate_grad_batches=recipe.accumulate,
            gradient_clip_val=recipe.clip_norm or None,
            callbacks=[keeper, *_bars(progress, done=state.epoch, epochs=epochs)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=int(recipe.start_size > 0),
        )
        _run(trainer, module)
        freeze(model, module.pretrained, is_frozen=False)
        set_training_slope(model, None)
    model.to("cpu")
    finished = _finish(model, keeper.state, facts, is_stopped=keeper.is_stopped, is_main=trainer.is_global_zero)
    return replace(finished, chosen_by=chooser.text)


def _prepare(model: nn.Module, target: torch.device, recipe: Recipe) -> None:
    """Make training fast on this device: kernels and the layout of maps."""
    if target.type == "cpu":
        build_kernels(model)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)


def _run(trainer: L.Trainer, module: SegmentationModule) -> None:
    """Train; Ctrl-C stays a KeyboardInterrupt (Lightning exits the process and leaves the signal ignored)."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if is_main_thread and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


def training_facts(recipe: Recipe, size: int, seed: int, in_channels: int, data: DataSets) -> dict[str, str]:
    """Return the facts that are kept beside trained weights, so that prediction prepares images as training did.

    Args:
        recipe: how the net was trained.
        size: side in pixels that the net was trained at.
        seed: random seed of the training run.
        in_channels: channels that the net takes.
        data: that the net was trained on.
    """
    return {
        "size": str(size),
        "in_channels": str(in_channels),
        "mean": json.dumps(recipe.mean),
        "std": json.dumps(recipe.std),
        "recipe": recipe.name,
        "seed": str(seed),
        "data": data.cases.meaning.dump(),
        "data_name": data.name,
        "fingerprint": data.fingerprint,
    }


def _starting_state(model: nn.Module, folder: Path | None, resume: TrainState | None) -> TrainState:
    state, where = resume or TrainState(), "resume"
    if folder is not None and (folder / CHECKPOINT).exists():
        where = str(folder / CHECKPOINT)
        state = TrainState.load(folder / CHECKPOINT)
    if state.weights:
        load_weights(model, state.weights, where=where)
    return state


def _finish(
    model: nn.Module, state: TrainState, facts: Mapping[str, str], *, is_stopped: bool, is_main: bool
) -> FitResult:
    if state.best_weights:
        model.load_state_dict(state.best_weights)
    if isinstance(getattr(model, "facts", None), dict):  # a net of the builder; others hold none
        model.facts = {**facts, **best_facts(state)}  # type: ignore[assignment]
    model.eval()
    return FitResult(
        score=state.best_score,
        best_epoch=state.best_epoch,
        epoch=state.epoch,
        history=state.history,
        state=state,
        is_stopped=is_stopped,
        is_main=is_main,
    )


def _bars(progress: bool, *, done: int, epochs: int) -> list[Any]:
    if not progress:
        return []
    from lightning.pytorch.callbacks import RichProgressBar

    class Bar(RichProgressBar):
        """Counts epochs from 1, those of earlier sessions too."""

        def _get_train_description(self, current_epoch: int) -> str:
            return f"epoch {done + current_epoch + 1} of {epochs}"

    return [Bar(console_kwargs={"stderr": True})]


def check_machine(recipe: Recipe, device: str, *, devices: int = 1, nodes: int = 1) -> torch.device:
    """Return the device, if the machine can train as it was asked to; checked before anything is written.

    Raises:
        ValueError: there is no such device, or it cannot do what the recipe or the number of devices wants.
    """
    target = resolve_device(device)
    if target.type == "cpu" and recipe.precision == "16-mixed":
        raise ValueError(
            "recipe: precision=16-mixed needs a GPU, got the CPU. Set precision=bf16-mixed, or precision=32-true."
        )
    if target.type == "cuda" and devices > 1 and target.index is not None:
        raise ValueError(f"device: {device} is one GPU, got devices={devices}. Give cuda, without a number.")
    if target.type == "cuda" and devices > torch.cuda.device_count():
        raise ValueError(f"devices: this machine has {torch.cuda.device_count()} GPUs, got devices={devices}.")
    if nodes > 1 and not {"MASTER_ADDR", "SLURM_NTASKS"} & os.environ.keys():
        raise ValueError(
            f"nodes: {nodes} machines need MASTER_ADDR, MASTER_PORT and NODE_RANK in each one's environment, or Slurm, "
            "got neither. See docs/howto/several_gpus.md, or leave nodes out."
        )
    return target


@contextlib.contextmanager
def _repeatable(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch and choose repeatable CPU kernels; put all back at the end."""
    was_on = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True, warn_only=True)
            settings.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_on, warn_only=warns)
            settings.fill_uninitialized_memory = fills


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and hints, which are not about this run, off the screen."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # the moving average
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
