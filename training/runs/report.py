"""The report of a run: one HTML file that holds its images itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from lmnet.builder.files import write_durably
from lmnet.training.data.case_set import CaseSet, Pixels
from lmnet.training.data.load import DataSets
from lmnet.training.fitting.chooser import make_chooser
from lmnet.training.metrics.shown import remarks_on, shown_metrics, value_with_interval
from lmnet.training.metrics.store import CaseScores
from lmnet.training.page import HERE, render
from lmnet.training.prediction.inference import at_own_size, probabilities
from lmnet.training.prediction.overlay import overlay, shown
from lmnet.training.runs.run_folder import RunFolder

TEMPLATE = HERE / "report.html"
CASES_EACH = 3
_SIDE = 256


def write_report(
    folder: RunFolder,
    model: nn.Module,
    data: DataSets,
    scores: CaseScores,
    metrics: dict[str, Any],
    *,
    size: int,
    in_channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    cost: str = "",
) -> None:
    """Write report.html: scores with intervals, curves, and the best, median and worst test cases as overlays.

    Args:
        folder: folder of the run; its curves are drawn already.
        model: with the best weights.
        data: data of the run.
        scores: scores of the test cases.
        metrics: what metrics.json holds.
        size: side in pixels that the model is fed.
        in_channels: input channels of the model.
        mean: mean of each channel.
        std: standard deviation of each channel.
        cost: what one image costs, in words; empty if it is not known.
    """
    manifest = folder.manifest()
    chooser = make_chooser(data.val.at(size, in_channels), scores.confusion.shape[-1])
    groups = {}
    for title, indices in chosen_cases(scores).items():
        figures = []
        for index in indices:
            image = data.test.at(size, in_channels)[index][0]
            shares = probabilities(model, image[None], mean=mean, std=std)[0]
            figures.append(_figure(data.test, index, at_own_size(shares, *data.test.mask(index).shape), scores))
        groups[title] = figures
    page = render(
        TEMPLATE,
        title=f"{metrics['model']} on {metrics['data']}",
        summary=_summary(metrics),
        scores=_score_rows(metrics),
        remarks=[remark for side in ("test", "val") for remark in remarks_on(metrics[side], side)],
        curves=_embedded(folder.file("curves").read_bytes()),
        cases=groups,
        facts={
            **({"cost of an image": cost} if cost else {}),
            "best epoch": f"{metrics['epoch']} of {manifest['recipe']['epochs']}; {chooser.text}",
            **_facts(manifest),
        },
        notes=manifest["notes"],
    )
    write_durably(folder.file("report"), page.encode())


def chosen_cases(scores: CaseScores) -> dict[str, list[int]]:
    """Return the indices of the cases to show, no case twice.

    The best, median and worst ones by lesion Dice, and those images without a lesion in which most pixels were found to
    be one. If no image has a lesion, some of them are shown in any case.
    """
    dice = scores.dice
    order = [index for index in np.argsort(-dice, kind="stable").tolist() if not np.isnan(dice[index])]
    each = min(CASES_EACH, max(1, len(order) // 3))
    middle = (len(order) - each) // 2
    false = scores.false_pixels
    without = [index for index in np.argsort(-false, kind="stable").tolist() if np.isnan(dice[index])]
    mistaken = [index for index in without if false[index]]
    groups = {
        "Best": order[:each],
        "Median": order[middle : middle + each],
        "Worst": order[-each:],
        "Lesion found where none is": mistaken[:CASES_EACH],
        "No lesion": [] if order else without[:CASES_EACH],
    }
    seen: set[int] = set()
    chosen: dict[str, list[int]] = {}
    for title, indices in groups.items():
        fresh = [index for index in indices if index not in seen]
        seen.update(fresh)
        if fresh:
            chosen[title] = fresh
    return chosen


def _figure(cases: CaseSet, index: int, shares: Any, scores: CaseScores) -> tuple[str, str]:
    """Return the caption and the image of a case."""
    predicted, image, truth = shares.argmax(dim=0).numpy(), shown(cases.image(index)), cases.mask(index)
    colors = [each.color for each in cases.meaning.classes]
    drawn = np.concatenate([image, overlay(image, predicted=predicted, truth=truth, colors=colors)], axis=1)
    return f"{cases.names[index]}: {scores.caption(index)}", _embedded(_png(drawn))


def _png(pixels: Pixels) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail((2 * _SIDE, _SIDE * 2))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _summary(metrics: dict[str, Any]) -> str:
    test = metrics["test"]
    value, interval = test["dice_foreground_mean"], test["dice_foreground_mean_interval"]
    unused = "which were not used to train the net or to choose the epoch"
    if value is None:
        return f"None of the {test['images']} test images has a lesion, so there is no Dice."
    limits = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    count = f"{test['images']} test images"
    if test["images_with_lesion"] < test["images"]:
        count = f"{test['images_with_lesion']} of {count}, those with a lesion"
    return f"Lesion Dice {value:.3f}{limits}, mean over {count}, {unused}."


def _score_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    test, val = metrics["test"], metrics["val"]
    return [
        (name, value_with_interval(test, name), value_with_interval(val, name), meaning)
        for name, meaning in shown_metrics([test, val]).items()
    ]


def _facts(manifest: dict[str, Any]) -> dict[str, Any]:
    recipe = manifest["recipe"]
    return {
        "data": f"{manifest['data']} ({manifest['data_name']}), "
        + ", ".join(f"{side} {count}" for side, count in manifest["images"].items()),
        "fingerprint of data and split": manifest["fingerprint"],
        "spec": f"{manifest['model']}, hash {manifest['spec_hash']}",
        "seed": manifest["seed"],
        "recipe": ", ".join(f"{key} {value}" for key, value in recipe.items()),
        "versions": ", ".join(f"{key} {value}" for key, value in manifest["versions"].items()),
    }
