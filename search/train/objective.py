"""The default objective: train on a data set with a recipe, and score by the lesion Dice of the validation images."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from lmnet.builder.graph import GraphModel
from lmnet.builder.models import encoder_tensors, load_encoder
from lmnet.builder.spec import Spec
from lmnet.search.train.training import Reporter
from lmnet.training import CaseScores, DataSets, EpochReport, Recipe, Split, evaluate, fit, load_data
from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.load import SYNTHETIC
from lmnet.training.data.meaning import DataOptions
from lmnet.training.fitting.chooser import METRIC, Chooser, make_chooser
from lmnet.training.fitting.fit import training_facts
from lmnet.training.runs.train_run import DataChoice

SYNTHETIC_COUNTS = {"train": 32, "val": 32, "test": 8}
"""Images in each split of the synthetic data set: few, for searches of minutes."""
SMALL_BATCH = 4


@dataclass
class TrainingObjective:
    """Trains a net by ``lmnet.training.fit``.

    Args:
        data: a folder, a list or synthetic; or a ``DataChoice``, with the split and the meaning of mask values.
        recipe: recipe of the training runs, with image size and epochs.
        seed: random seed of split, order and augmentation.
        num_classes: classes of the nets, background included.
        in_channels: input channels of the nets.
        device: auto, cpu, cuda or cuda:N.
        own_size: train and score each net at its own input size, not at the recipe's.
        largest_is_own: train and score each net at its own input size if that is smaller than the recipe's.
        smallest: smallest size at which a net is trained, if that is not the recipe's.
        pretrained_encoder: start the timm encoder from ImageNet weights, see ``lmnet.builder.models.load_encoder``.
        encoder_families: names of the specs whose encoder has such weights; None for all.
    """

    data: str | DataChoice
    recipe: Recipe
    seed: int = 0
    num_classes: int = 2
    in_channels: int = 3
    device: str = "auto"
    own_size: bool = False
    largest_is_own: bool = False
    smallest: int | None = None
    pretrained_encoder: str | None = None
    encoder_families: tuple[str, ...] | None = None
    _sets: DataSets | None = field(default=None, repr=False)

    @property
    def choice(self) -> DataChoice:
        """The data, with its options."""
        return self.data if isinstance(self.data, DataChoice) else DataChoice(self.data)

    def __call__(self, model: nn.Module, spec: Spec, report: Reporter) -> float:
        """Return the lesion Dice: mean over the validation images, and over the last third of the epochs."""
        return self.train(model, spec, report, seed=self.seed)

    def train(self, model: nn.Module, spec: Spec, report: Reporter, *, seed: int, epochs: int | None = None) -> float:
        """Train a net and leave it as it was after its best epoch; return its mean score in the last third of them.

        The best epoch's score would be the highest of many noisy ones, which flatters.

        Args:
            model: the net.
            spec: its spec.
            report: called after each epoch with the epoch and the mean over the last third of the epochs so far.
            seed: random seed of order and augmentation.
            epochs: None for the recipe's.
        """
        given: frozenset[str] = frozenset()
        if self.pretrained_encoder is not None and spec.name in (self.encoder_families or (spec.name,)):
            assert isinstance(model, GraphModel)
            load_encoder(model, self.pretrained_encoder)
            given = encoder_tensors(model)
        recipe = self.recipe_of(model, spec)
        sets, scores = self.sets(), list[float]()

        def on_epoch(done: EpochReport) -> bool:
            scores.append(done.score)
            return report(done.epoch, last_third(scores))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = fit(
                model,
                sets,
                recipe,
                epochs=epochs,
                pretrained=given,
                seed=seed,
                callbacks=[on_epoch],
                device=self.device,
                workers=0,
                in_channels=self.in_channels,
            )
        score = last_third(scores)
        if self.scores_at_image_size:
            # compare nets of all sizes at the images' own size; the best epoch gives the difference
            score += self.evaluate(model, spec, sets.val).value(METRIC) - result.score
        return score

    @property
    def scores_at_image_size(self) -> bool:
        """Whether nets are trained at different sizes, so that they are scored at the size of the images."""
        return self.own_size or self.largest_is_own

    def recipe_of(self, model: nn.Module, spec: Spec) -> Recipe:
        """Return the recipe for a net, with its own image size and the mean and deviation of its encoder."""
        recipe = self.recipe
        if self.own_size or (self.largest_is_own and max(spec.layout.input.size) < recipe.size):
            recipe = replace(recipe, size=spec.layout.input.size[0])
        normalization = getattr(model, "normalization", None)
        if normalization is not None:
            recipe = recipe.override({"mean": list(normalization[0]), "std": list(normalization[1])})
        return recipe

    def weights_facts(self, model: nn.Module, spec: Spec, seed: int) -> dict[str, str]:
        """Return the facts to store with the weights, as ``lmnet-train`` does: size, mean, std, ..."""
        recipe = self.recipe_of(model, spec)
        return training_facts(recipe, recipe.size, seed, self.in_channels, self.sets())

    def evaluate(self, model: nn.Module, spec: Spec, cases: CaseSet) -> CaseScores:
        """Return a trained net's scores of cases, each at its own size."""
        recipe = self.recipe_of(model, spec)
        return evaluate(
            model,
            cases,
            size=recipe.size,
            device=self.device,
            in_channels=self.in_channels,
            mean=recipe.mean,
            std=recipe.std,
        )

    def sets(self) -> DataSets:
        """Return the data, read once."""
        if self._sets is None:
            if self.choice == DataChoice():  # synthetic
                sampled = load_data(SYNTHETIC, seed=self.seed, count=sum(SYNTHETIC_COUNTS.values()))
                names, sides, begin = sampled.cases.names, {}, 0
                for side, count in SYNTHETIC_COUNTS.items():
                    sides[side] = tuple(names[begin : begin + count])
                    begin += count
                self._sets = DataSets(sampled.name, sampled.cases, Split(**sides), sampled.notes)
            else:
                self._sets = self.choice.load(seed=self.seed, num_classes=self.num_classes)
        return self._sets

    def describe(self) -> dict[str, Any]:
        """Return everything except the net on which a score depends."""
        return {
            "data": self.sets().fingerprint,
            "recipe": self.recipe.facts(),
            "seed": self.seed,
            "score": "mean of the last third",
            # scores of before counted images without a lesion, too
            **({} if self.chooser.compares_with("") else {"chosen by": self.chooser.kind}),
            **({"sizes": "each net's own"} if self.own_size else {}),
            **({"sizes": "each net's own, if that is smaller"} if self.largest_is_own else {}),
            **({"values": asdict(self.choice.options)} if self.choice.options != DataOptions() else {}),
            **({"encoder": self.pretrained_encoder} if self.pretrained_encoder is not None else {}),
            **({"encoder of": list(self.encoder_families)} if self.encoder_families is not None else {}),
        }

    @cached_property
    def chooser(self) -> Chooser:
        """The metric that chooses nets and epochs, decided on the validation images at the smallest size."""
        sides = [self.smallest or self.recipe.size, *([] if self.own_size else [self.recipe.size])]
        return make_chooser(self.sets().val.at(min(sides), self.in_channels), self.num_classes)

    def check_scores(self) -> str:
        """Return one line about the metric by which nets are chosen.

        Raises:
            ValueError: no validation image has a lesion, so that nets have no score.
        """
        if self.chooser.uses_loss:
            raise ValueError(
                f"search: nets are compared by the Dice of lesions, and {self.chooser.text.partition(',')[0]}. Use "
                "another split or a larger --size."
            )
        by, _, images = self.chooser.text.removeprefix("the best epoch is chosen by ").partition(": ")
        if self.scores_at_image_size:
            size = f"the images' own size, epochs at the net's; at {self.chooser.size} px"
            return f"nets are chosen by val Dice at {size}: {images}"
        return f"nets and epochs are chosen by {by}: {images}"

    def estimate_s(self, model: GraphModel) -> float:
        """Return the estimated seconds of one full training run of a net, from the time of one step."""
        size, batch = self.recipe_of(model, model.spec).size, self.recipe.batch_size
        image = torch.randn(batch, self.in_channels, size, size)
        model.train()
        times, threads = [], torch.get_num_threads()
        torch.set_num_threads(1)  # as in the workers, about
        for _ in range(2):
            start = time.perf_counter()
            model(image).square().mean().backward()
            times.append(time.perf_counter() - start)
        torch.set_num_threads(threads)
        sides = self.sets()
        images = self.recipe.epochs * (len(sides.train) + 0.35 * len(sides.val))
        return times[-1] / batch * images

    def __getstate__(self) -> dict[str, Any]:
        """Leave the images out: each worker reads them itself."""
        return {**{name: value for name, value in self.__dict__.items() if name != "chooser"}, "_sets": None}


def last_third(scores: Sequence[float]) -> float:
    """Return the mean of the last third, rounded up, of the scores by epoch."""
    last = scores[-math.ceil(len(scores) / 3) :]
    return sum(last) / len(last)
