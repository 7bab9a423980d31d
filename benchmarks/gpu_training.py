"""A training in bfloat16 with all images on the device, for as long as there is time: the last part of gpu.py."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from lmnet import create_model
from lmnet.builder.weights import save_weights
from lmnet.training import CaseScores, DataSets, Recipe, TrainState
from lmnet.training.data.augment import augmented
from lmnet.training.data.case_set import CaseSet
from lmnet.training.fitting.fit import training_facts
from lmnet.training.fitting.loaders import mixed_seed
from lmnet.training.fitting.named import AUGMENTATIONS, LOSSES, OPTIMIZERS
from lmnet.training.fitting.state import copy_weights
from lmnet.training.metrics.confusion import ConfusionByCase

RECIPE = Recipe(name="gpu", batch_size=16, lr=2e-3, augment="heavy", ema_decay=0.99, precision="bf16-mixed")
CHECKPOINT = "last.ckpt"


class OnDevice:
    """All images and masks of a side of the split, at one size, on the device.

    Args:
        cases: the side.
        side: image side in pixels.
        device: where they are kept, as uint8.
    """

    def __init__(self, cases: CaseSet, side: int, device: torch.device) -> None:
        sized = cases.at(side, 3)
        images, masks = zip(*(sized[index] for index in range(len(sized))), strict=True)
        self.images, self.masks = torch.stack(images).to(device), torch.stack(masks).to(device)
        self.names = cases.names

    def __len__(self) -> int:
        return len(self.images)


def train_for(
    net: str, data: DataSets, *, seconds: float, side: int, batch: int, out: Path, seed: int, device: torch.device
) -> list[str]:
    """Train as many epochs as the seconds allow, from the checkpoint in ``out`` if there is one.

    The learning rate falls to its end over these seconds: a later call restarts it.

    Args:
        net: zoo name.
        data: the data set, split.
        seconds: time to train.
        side: image side in pixels.
        batch: images in one step.
        out: folder for last.ckpt and best.safetensors.
        seed: random seed of weights, order and augmentation.
        device: where to train.

    Returns:
        Lines of Markdown on the epochs and the best score.
    """
    recipe = RECIPE.override({"size": side, "batch_size": batch})
    torch.manual_seed(seed)
    model = create_model(net).to(device, memory_format=torch.channels_last)
    out.mkdir(parents=True, exist_ok=True)
    state = TrainState.load(out / CHECKPOINT) if (out / CHECKPOINT).exists() else TrainState()
    first = state.epoch
    if state.weights:
        model.load_state_dict(state.weights)
    average = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=True)
    if state.average:
        average.load_state_dict(state.average)
    optimizer = OPTIMIZERS.get(recipe.optimizer)([{"params": list(model.parameters())}], recipe)
    if state.optimizer:
        optimizer.load_state_dict(state.optimizer)
    train, val = OnDevice(data.train, side, device), OnDevice(data.val, side, device)
    loop = _Loop(model, average, optimizer, recipe, LOSSES.get(recipe.loss)(recipe).to(device), device)
    began, longest = time.monotonic(), 0.0
    while state.epoch == first or time.monotonic() - began + longest < seconds:
        start = time.monotonic()
        loss = loop.epoch(train, mixed_seed(seed, state.epoch), lambda: (time.monotonic() - began) / seconds)
        score = loop.score(val)
        longest = max(longest, time.monotonic() - start)
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "train_loss": loss, "val_dice_foreground_mean": score})
        if score > state.best_score:
            state.best_epoch, state.best_score = state.epoch, score
            state.best_weights = copy_weights(average.module)
            facts = training_facts(recipe, side, seed, 3, data) | {"epoch": str(state.epoch), "score": repr(score)}
            save_weights(out / "best.safetensors", state.best_weights, facts)
        state.weights, state.average = copy_weights(model), copy_weights(average)
        state.optimizer = optimizer.state_dict()
        state.save(out / CHECKPOINT)
        print(f"epoch {state.epoch}: loss {loss:.3f}, val Dice {score:.3f} (best {state.best_score:.3f})", flush=True)
    done = state.epoch - first
    return [
        f"{net} on {data.name} ({len(train)} training, {len(val)} validation images), {side} px, batch {batch}, "
        f"bfloat16, augmentation `{recipe.augment}`, seed {seed}: {done} epochs in {time.monotonic() - began:.0f} s "
        f"({state.epoch} in all), {longest:.1f} s for the longest.",
        "",
        f"Best epoch {state.best_epoch}: lesion Dice {state.best_score:.3f}, mean over validation images at {side} px.",
    ]


class _Loop:
    """One epoch of training, one of scoring."""

    def __init__(
        self,
        model: nn.Module,
        average: ModelEmaV3,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        loss: nn.Module,
        device: torch.device,
    ) -> None:
        self.model, self.average, self.optimizer = model, average, optimizer
        self.recipe, self.loss, self.device = recipe, loss, device
        self.steps = 0
        self.mean = 255 * torch.tensor(recipe.mean, device=device)[:, None, None]
        self.std = 255 * torch.tensor(recipe.std, device=device)[:, None, None]

    def epoch(self, cases: OnDevice, seed: int, share: object) -> float:
        """Train on each case once and return the mean loss."""
        transform = AUGMENTATIONS.get(self.recipe.augment)(self.recipe.size)
        order = torch.randperm(len(cases), generator=torch.Generator().manual_seed(seed)).tolist()
        batches = [order[at : at + self.recipe.batch_size] for at in range(0, len(order), self.recipe.batch_size)]
        losses = []
        for batch in batches[: max(1, len(order) // self.recipe.batch_size)]:
            pairs = [augmented(transform, cases.images[i], cases.masks[i], seed=mixed_seed(seed, i)) for i in batch]
            images, masks = (torch.stack(each) for each in zip(*pairs, strict=True))
            losses.append(self._step(images, masks.long(), share()))  # type: ignore[operator]
        return float(torch.stack(losses).mean())

    def _step(self, images: Tensor, masks: Tensor, share: float) -> Tensor:
        self.model.train()
        recipe = self.recipe
        rate = recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * min(1.0, share))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate * min(1.0, (self.steps + 1) / 50)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.model(self._normalised(images))
        loss: Tensor = self.loss(logits.float(), masks)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.steps += 1
        self.average.update(self.model, step=self.steps)
        return loss.detach()

    def _normalised(self, images: Tensor) -> Tensor:
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def score(self, cases: OnDevice) -> float:
        """Return the lesion Dice of the averaged weights, mean over images."""
        self.average.module.eval()
        counts = ConfusionByCase(2).to(self.device)
        for at in range(0, len(cases), self.recipe.batch_size):
            index = torch.arange(at, min(len(cases), at + self.recipe.batch_size), device=self.device)
            with torch.autocast(self.device.type, torch.bfloat16):
                logits = self.average.module(self._normalised(cases.images[index]))
            counts.update(logits.argmax(dim=1), cases.masks[index], index)
        indices, matrices = counts.result()
        names = tuple(cases.names[i] for i in indices.tolist())
        return CaseScores(names, matrices.cpu().numpy()).values()["dice_foreground_mean"]
