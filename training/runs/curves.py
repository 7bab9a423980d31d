"""The curves of a training run as an image: losses and scores by epoch."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence


def draw_curves(history: Sequence[dict[str, float]]) -> bytes:
    """Return a PNG with the losses on the left and the validation scores on the right.

    Args:
        history: one row per epoch, as in ``FitResult``.
    """
    from matplotlib.figure import Figure  # late: it takes half a second
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    losses.plot(epochs, [row["train_loss"] for row in history], label="training", color="#888888")
    losses.plot(epochs, [row["val_loss"] for row in history], label="validation", color="#c2185b")
    losses.set(xlabel="epoch", ylabel="loss")
    for key, label, color in (
        ("val_dice_foreground_mean", "lesion Dice, mean over images", "#c2185b"),
        ("val_dice_foreground_pooled", "lesion Dice, pooled", "#1976d2"),
        ("val_dice_macro_pooled", "Dice of all classes, pooled", "#bbbbbb"),
    ):
        scores.plot(epochs, [row[key] for row in history], label=label, color=color)
    scores.set(xlabel="epoch", ylabel="validation score", ylim=(0, 1))
    if all(math.isnan(row["val_dice_foreground_mean"]) for row in history):
        scores.text(0.5, 0.5, "no val image has a lesion: no Dice", ha="center", transform=scores.transAxes)
        scores.set(xticks=[])
    for axes in (losses, scores):
        if axes.get_xticks().size:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if len(epochs) == 1:
            axes.margins(0.5)
            for line in axes.lines:
                line.set_marker("o")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()
