"""Scoring a model on cases, each at its own size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.classes import IGNORED
from lmnet.training.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from lmnet.training.fitting.loaders import scoring_loader
from lmnet.training.metrics.confusion import confusion
from lmnet.training.metrics.conventions import MEASURES, Measure
from lmnet.training.metrics.store import CaseScores
from lmnet.training.prediction.inference import at_own_size, probabilities, resolve_device


def evaluate(
    model: nn.Module,
    cases: CaseSet,
    *,
    size: int,
    batch_size: int = 8,
    device: str = "auto",
    in_channels: int = 3,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    on_case: Callable[[int], None] | None = None,
    measures: Mapping[str, Measure] = MEASURES,
) -> CaseScores:
    """Score a model on every case.

    Each image is resized to ``size``. The class probabilities are resized back to the image's own size (bilinear), and
    the most probable class is compared with the mask as it is in the file. So the mask is never resized.

    Args:
        model: image (N, C, H, W) → logits; put in eval mode and left on the CPU.
        cases: images and masks to score on.
        size: side in pixels that images are resized to.
        batch_size: images at once.
        device: auto, cpu, cuda or cuda:N.
        in_channels: input channels of the model.
        mean: mean of each channel.
        std: standard deviation of each channel.
        on_case: called with the number of cases that are done, after each batch.
        measures: what is measured of each mask beside its pixels; empty for nothing, which is faster.

    Raises:
        ValueError: there is no case, or a mask has more classes than the model.

    Example:
        >>> from torch import nn
        >>> from lmnet.training import evaluate, load_data
        >>> data = load_data("synthetic", count=20)
        >>> evaluate(nn.Conv2d(3, 2, 1), data.test, size=32, device="cpu")
        CaseScores(2 images, 2 with a lesion, lesion Dice ...)
    """
    if not len(cases):
        raise ValueError("evaluate: there is no image to score. Choose another split.")
    target = resolve_device(device)
    model = model.to(target).eval()
    counts = []
    figures: dict[str, list[float]] = {name: [] for name in measures}
    for image, _, index in scoring_loader(cases.at(size, in_channels), batch_size=batch_size):
        shares = probabilities(model, image, mean=mean, std=std, device=target)
        for position, each in zip(index.tolist(), shares, strict=True):
            mask = cases.mask(position)
            is_known = mask != IGNORED
            highest = int(mask.max(initial=0, where=is_known))
            if highest >= len(each):
                raise ValueError(
                    f"evaluate: the mask of {cases.names[position]} has class {highest}, and the model {len(each)} "
                    "classes. Use a model for these classes."
                )
            predicted = at_own_size(each, *mask.shape).argmax(dim=0)
            counts.append(confusion(predicted[None], torch.from_numpy(mask)[None], len(each))[0].numpy())
            found, truth = (predicted.numpy() > 0) & is_known, (mask > 0) & is_known
            for figure, measure in measures.items():
                figures[figure].append(measure(found, truth))
        if on_case is not None:
            on_case(len(counts))
    model.to("cpu")
    return CaseScores(
        names=tuple(cases.names),
        confusion=np.stack(counts),
        figures={name: np.array(values) for name, values in figures.items()},
        classes=class_names(cases, counts[0].shape[0]),
    )


def class_names(cases: CaseSet, num_classes: int) -> tuple[str, ...]:
    """Return the names of a model's classes, as the data has them; empty if the data has another number of classes."""
    names = tuple(each.name for each in cases.meaning.classes)
    return names if len(names) == num_classes else ()
