"""Test images for the report of a search, with the masks of its best net and of the net compared with it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lmnet.builder.files import write_durably
from lmnet.builder.models import build_model, load_weights
from lmnet.builder.spec import Spec
from lmnet.search.train.objective import TrainingObjective
from lmnet.training import CaseScores
from lmnet.training.data.case_set import CaseSet, Pixels
from lmnet.training.prediction.inference import at_own_size, probabilities
from lmnet.training.prediction.overlay import overlay, shown

WORST = 3
SIDE = 256


@dataclass(frozen=True)
class Trained:
    """A net of a confirmation.

    Args:
        name: name for captions.
        spec: its spec.
        weights: weights of one training run.
        scores: scores of the test images by these weights.
    """

    name: str
    spec: Spec
    weights: Path
    scores: CaseScores


def draw_cases(nets: Sequence[Trained], objective: TrainingObjective, cases: CaseSet, folder: Path) -> list[list[str]]:
    """Write the images with the lowest and the median Dice of the first net, with the masks of each net.

    Args:
        nets: the best net, then the net that it is compared with.
        objective: the objective of the search.
        cases: the test images.
        folder: folder for the images; made if it is missing.

    Returns:
        Caption and file name of each image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = np.argsort(nets[0].scores.dice, kind="stable").tolist()
    picked = [*order[:WORST], order[len(order) // 2]] if len(order) > WORST else order
    names = [nets[0].scores.names[place] for place in picked]
    columns = [_drawn(net, objective, cases, names) for net in nets]
    written = []
    for place, name in enumerate(names):
        index = cases.names.index(name)
        dice = ", ".join(f"{net.name} {net.scores.dice[net.scores.names.index(name)]:.3f}" for net in nets)
        image = Image.fromarray(np.concatenate([shown(cases.image(index)), *(each[place] for each in columns)], axis=1))
        image.thumbnail((SIDE * (1 + len(nets)), SIDE))
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", optimize=True)
        file = f"{place:02d}.png"
        write_durably(folder / file, buffer.getvalue())
        written.append([f"{name}: Dice of {dice}", file])
    return written


def _drawn(net: Trained, objective: TrainingObjective, cases: CaseSet, names: Sequence[str]) -> list[Pixels]:
    """Return a net's overlays of some images."""
    model = build_model(net.spec).eval()
    load_weights(model, net.weights)
    recipe = objective.recipe_of(model, net.spec)
    colors = [each.color for each in cases.meaning.classes]
    found = []
    for name in names:
        index = cases.names.index(name)
        image, truth = cases.at(recipe.size, objective.in_channels)[index][0], cases.mask(index)
        shares = probabilities(model, image[None], mean=recipe.mean, std=recipe.std)[0]
        predicted = at_own_size(shares, *truth.shape).argmax(dim=0).numpy()
        found.append(overlay(shown(cases.image(index)), predicted=predicted, truth=truth, colors=colors))
    return found
