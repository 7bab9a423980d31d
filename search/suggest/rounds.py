"""Trains several nets in turns, drops the worse half twice, and ends by a given time.

One lap is a pass over a part of the training images and one scoring of the validation images. All nets that are left
train one lap each, then the next: so what is compared was trained equally long, and other load of the machine meets all
alike. After every lap the rest is planned anew from the time that the last laps took.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lmnet.builder.graph import GraphModel
from lmnet.search.suggest.choices import NetChoice
from lmnet.search.suggest.timing import MachineCost
from lmnet.training.data.load import DataSets
from lmnet.training.data.splits import Split
from lmnet.training.fitting.evaluation import evaluate
from lmnet.training.fitting.fit import fit
from lmnet.training.fitting.named import LOSSES
from lmnet.training.fitting.recipe import Recipe, load_recipe
from lmnet.training.fitting.schedule import Schedule
from lmnet.training.fitting.state import TrainState
from lmnet.training.metrics.store import CaseScores
from lmnet.training.prediction.inference import class_logits

RECIPE = "small_machine"
CUTS = (0.25, 0.5)
"""Shares of the laps after which the worse half of the nets ends."""
MIN_LAPS, MAX_LAPS = 6, 48
MIN_IMAGES = 32
"""Least images in a lap."""
MAX_EPOCHS = 40
"""Passes over all training images after which more time is not used."""
DATA_SHARE = 1.4
"""Seconds of a training image beside those of the bare step: reading, augmentation, the moving average."""

Say = Callable[[str], None]


class OutOfTime(Exception):  # noqa: N818
    """The time is up in the middle of a lap."""


@dataclass
class Contender:
    """A net in training.

    Args:
        choice: the net.
        cost: on this machine.
        model: with the weights of its start.
        recipe: how it is trained.
        image_s: seconds of one training image, measured on the first steps.
        state: after the last lap.
        lap_s: seconds of its last lap.
        scores: of the best lap's weights, in the end.
        problem: why it was left out; empty where it was not.
    """

    choice: NetChoice
    cost: MachineCost
    model: GraphModel
    recipe: Recipe
    image_s: float
    state: TrainState = field(default_factory=TrainState)
    lap_s: float = 0.0
    scores: CaseScores | None = None
    problem: str = ""


def make_contender(choice: NetChoice, cost: MachineCost, *, in_channels: int, num_classes: int, seed: int) -> Contender:
    """Build a net with the weights of its start and time its first training steps.

    Raises:
        ValueError: the weights can be had nowhere.
    """
    model = choice.build(in_channels=in_channels, num_classes=num_classes, seed=seed)
    recipe = load_recipe(RECIPE).override({"size": choice.size, "start_size": 0})
    if model.normalization is not None:
        mean, std = model.normalization
        recipe = recipe.override({"mean": list(mean), "std": list(std)})
    return Contender(choice, cost, model, recipe, _seconds_per_image(model, recipe, in_channels))


def _seconds_per_image(model: GraphModel, recipe: Recipe, in_channels: int) -> float:
    """Return the seconds of one image in a training step; the weights stay as they are."""
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    size, count = recipe.size, min(4, recipe.batch_size)
    image, mask = torch.zeros(count, in_channels, size, size), torch.zeros(count, size, size, dtype=torch.int64)
    loss = LOSSES.get(recipe.loss)(recipe)
    model.train()
    seconds = []
    for _ in range(2):  # the first one warms up
        start = time.perf_counter()
        loss(class_logits(model(image), (size, size)), mask).backward()
        seconds.append(time.perf_counter() - start)
    model.zero_grad(set_to_none=True)
    model.load_state_dict(kept)
    return seconds[-1] / count


class Rounds:
    """The training of several nets within a time.

    Args:
        data: with enough validation images.
        until: when training must have ended, on the clock.
        in_channels: of the images.
        seed: random seed of the order of images and of augmentation.
        device: auto, cpu, cuda or cuda:N.
        say: called with what happens.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        data: DataSets,
        *,
        until: float,
        in_channels: int = 3,
        seed: int = 0,
        device: str = "auto",
        say: Say = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.data, self.until, self.say, self.clock = data, until, say, clock
        self.in_channels, self.seed, self.device = in_channels, seed, device
        self.laps = 0
        self.notes: list[str] = []
        self._parts: list[DataSets] = []

    def run(self, contenders: Sequence[Contender], *, cuts: Sequence[float] | None = None) -> list[Contender]:
        """Train, and return the nets that were trained to the end; all for the same number of laps.

        Args:
            contenders: the most promising first.
            cuts: shares of the laps after which the worse half ends; None for those of this number of nets.
        """
        alive = self._begin(list(contenders))
        if cuts is None:
            cuts = CUTS[: 2 if len(alive) > 3 else 1 if len(alive) > 2 else 0]
        cuts = list(cuts)
        while alive:
            planned = self._planned_laps(alive, cuts)
            if self.laps >= planned:
                break
            alive, is_whole = self._lap(alive, planned)
            if not is_whole:
                break
            while cuts and self.laps >= cuts[0] * planned:
                cuts.pop(0)
                alive = self._kept(alive)
        self._free(contenders)
        return [each for each in alive if each.state.epoch]

    @property
    def images(self) -> int:
        """How many images each net that is left was trained on, counted again in each lap."""
        return sum(len(self._parts[lap % len(self._parts)].train) for lap in range(self.laps))

    def score(self, finalists: Sequence[Contender], *, until: float) -> None:
        """Score each net's best lap on the validation images at their own size, until the time is up."""
        for each in finalists:
            each.model.load_state_dict(each.state.best_weights)
            self.say(f"scoring {each.choice.name} on the {len(self.data.val)} val images at their own size")
            try:
                each.scores = evaluate(
                    each.model,
                    self.data.val,
                    size=each.choice.size,
                    device=self.device,
                    in_channels=self.in_channels,
                    mean=each.recipe.mean,
                    std=each.recipe.std,
                    on_case=lambda done: self._check(until),
                    measures={},
                )
            except OutOfTime:
                self.notes.append(f"{each.choice.name}: no time was left to score it at the images' own size.")

    def _check(self, until: float) -> None:
        if self.clock() > until:
            raise OutOfTime

    def _begin(self, contenders: list[Contender]) -> list[Contender]:
        """Choose how many images a lap has, and leave nets out if the time does not do for all."""
        left, total = max(0.0, self.until - self.clock()), len(self.data.train)
        while True:
            weights = sum(each.image_s for each in contenders) * _share(len(contenders))
            scoring = len(self.data.val) / 3
            images = left / max(1e-9, weights * DATA_SHARE) / MIN_LAPS - scoring
            if images >= min(MIN_IMAGES, total) or len(contenders) <= 2:
                break
            dropped = contenders.pop()
            self.notes.append(f"{dropped.choice.name}: not trained, the time does not do for so many nets.")
        usual = max(MIN_IMAGES, len(self.data.val))
        lap = min(total, max(min(MIN_IMAGES, total), min(int(images), usual)))
        if images > usual:  # longer laps rather than very many
            lap = min(total, max(lap, int((images + scoring) * MIN_LAPS / MAX_LAPS - scoring)))
        self._parts = _parts(self.data, lap, self.seed)
        for each in contenders:
            each.lap_s = each.image_s * DATA_SHARE * (len(self._parts[0].train) + scoring)
        return contenders

    def _planned_laps(self, alive: Sequence[Contender], cuts: Sequence[float]) -> int:
        """Return the total laps that the time is enough for, laps that were done included."""
        left = 0.95 * (self.until - self.clock())
        mean = sum(each.lap_s for each in alive) / len(alive)
        most = min(MAX_LAPS, max(1, MAX_EPOCHS * len(self._parts)))
        best = self.laps
        for total in range(self.laps + 1, most + 1):
            count, needed, pending = len(alive), 0.0, list(cuts)
            for lap in range(self.laps, total):
                while pending and lap >= pending[0] * total:
                    pending.pop(0)
                    count = max(2, math.ceil(count / 2)) if count > 2 else count
                needed += mean * count
            if needed > left:
                break
            best = total
        return max(best, 1)

    def _lap(self, alive: list[Contender], planned: int) -> tuple[list[Contender], bool]:
        """Train one lap of each; return those that go on, and whether all had the time for it."""
        part = self._parts[self.laps % len(self._parts)]
        states: dict[int, TrainState] = {}
        is_whole = True
        for index, each in enumerate(alive):
            start = self.clock()
            try:
                states[index] = self._train(each, part, planned)
            except OutOfTime:
                is_whole = False
                break
            except (RuntimeError, ValueError, MemoryError) as err:
                each.problem = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
                self.notes.append(f"{each.choice.name}: left out, its training failed ({each.problem}).")
            each.lap_s = self.clock() - start
        if is_whole or self.laps == 0:  # after the first lap something is better than nothing
            for index, state in states.items():
                alive[index].state = state
            self.laps += 1
        going = [each for each in alive if not each.problem]
        if is_whole and going:
            best = max(going, key=lambda each: each.state.best_score)
            self.say(
                f"lap {self.laps} of about {max(planned, self.laps)}: {len(going)} nets, best so far "
                f"{best.choice.name} with val Dice {best.state.best_score:.3f}"
            )
        return going, is_whole

    def _train(self, each: Contender, part: DataSets, planned: int) -> TrainState:
        loss = _Timed(LOSSES.get(each.recipe.loss)(each.recipe), lambda: self._check(self.until))
        result = fit(
            each.model,
            part,
            each.recipe,
            epochs=self.laps + 1,
            schedule=Schedule(max(planned, self.laps + 1)),
            loss=loss,
            seed=self.seed,
            resume=each.state if each.state.epoch else None,
            device=self.device,
            workers=0,
            in_channels=self.in_channels,
        )
        return result.state

    def _kept(self, alive: list[Contender]) -> list[Contender]:
        """Return the better half, at least two, and the best net that takes at most half of the leader's time."""
        ranked = sorted(alive, key=lambda each: -each.state.best_score)
        kept = ranked[: max(2, math.ceil(len(ranked) / 2))]
        fast = next((each for each in ranked if is_half(each.cost, ranked[0].cost)), None)
        if fast is not None and fast not in kept:
            kept.append(fast)
        for each in ranked:
            if each not in kept:
                self.say(f"{each.choice.name} ends after lap {self.laps}: val Dice {each.state.best_score:.3f}")
        return kept

    def _free(self, contenders: Sequence[Contender]) -> None:
        for each in contenders:
            each.state = replace(each.state, optimizer={}, average={})


def is_half(cost: MachineCost, other: MachineCost) -> bool:
    """Return whether a net takes at most half of the time of another."""
    return cost.ms is not None and other.ms is not None and cost.ms <= other.ms / 2


def _share(count: int) -> float:
    """Return the share of all laps that a net trains on average."""
    if count <= 2:
        return 1.0
    half = max(2, math.ceil(count / 2))
    if count == 3:
        return CUTS[0] + (1 - CUTS[0]) * half / count
    quarter = max(2, math.ceil(half / 2))
    return CUTS[0] + (CUTS[1] - CUTS[0]) * half / count + (1 - CUTS[1]) * quarter / count


def _parts(data: DataSets, lap: int, seed: int) -> list[DataSets]:
    """Return the data cut into parts of its training images; all have the same validation images in memory."""
    names = list(data.train.names)
    random.Random(seed).shuffle(names)
    count = max(1, round(len(names) / max(1, lap)))
    parts = []
    for index in range(count):
        chosen = tuple(names[index::count])
        part = DataSets(data.name, data.cases, Split(chosen, data.split.val, data.split.test), data.notes)
        part.val = data.val
        parts.append(part)
    return parts


class _Timed(nn.Module):
    """A loss that ends the training where the time is up."""

    def __init__(self, loss: nn.Module, check: Callable[[], None]) -> None:
        super().__init__()
        self.loss, self.check = loss, check

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss."""
        self.check()
        value: Tensor = self.loss(logits, mask)
        return value
