"""Shipped nets on another hospital's images: CVC-ClinicDB, never trained on, beside the test images of Kvasir-SEG.

    OMP_NUM_THREADS=1 python benchmarks/generalisation.py ../shared/data/Kvasir-SEG ../shared/data/CVC-ClinicDB
    ... --models lmnet_xs runs/NAME          # zoo names or run folders (default: all nets with weights for Kvasir-SEG)

Each net is scored as it is, and with flips: the mean of the probabilities of the image and its three mirror images,
which costs four passes. Writes benchmarks/generalisation.md; rows of models that were not given stay.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from lmnet.builder.weights_on_demand import pins
from lmnet.training import compare, open_model, summarize
from lmnet.training.export.benchmark import describe_machine
from lmnet.training.metrics.shown import value_with_interval
from lmnet.training.prediction.ensemble import Ensemble
from lmnet.training.runs.opened_model import OpenedModel
from lmnet.training.runs.score_run import score_model
from lmnet.training.runs.train_run import DataChoice

OUT = Path(__file__).with_name("generalisation.md")
DICE, WORST, BOUNDARY = "dice_foreground_mean", "dice_foreground_worst_tenth", "boundary_iou_mean"
MIRRORS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
HEAD = """# Another hospital's images

Written by `python benchmarks/generalisation.py`. All nets were trained on Kvasir-SEG. Kvasir test: 90 images of the
same hospitals. ClinicDB: 309 images of CVC-ClinicDB, which no net was trained on and by which none was chosen; they are
frames of few videos, so its intervals, by bootstrap over images, are too narrow. Flips: mean over the image and its
three mirror images (four times the cost), and its gain on ClinicDB by paired images.

{machine}.

| net | Kvasir test, Dice | ClinicDB, Dice | worst tenth | boundary IoU | with flips: Kvasir test | ClinicDB | gain |
|---|---|---|---|---|---|---|---|
"""


class Mirrored(nn.Module):
    """A net that sees the mirrored image, its map mirrored back."""

    def __init__(self, net: nn.Module, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self.axes = net, axes

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the image as it was."""
        return self.net(image.flip(self.axes)).flip(self.axes)


def with_flips(opened: OpenedModel) -> OpenedModel:
    """Return the model with the mean over its mirror images in its place."""
    return replace(opened, model=Ensemble([Mirrored(opened.model, axes) for axes in MIRRORS]))


def row(name: str, kvasir: str, clinic: str) -> str:
    """Score one model and return its line of the table."""
    plain = open_model(name)
    cells = [name]
    scores = {}
    for kind, opened in (("plain", plain), ("flips", with_flips(plain))):
        test = score_model(opened, DataChoice(path=kvasir), side="test", device="cpu")[0]
        scores[kind] = score_model(opened, DataChoice(path=clinic), side="all", device="cpu")[0]
        cells += [value_with_interval(summarize(each), DICE) for each in (test, scores[kind])]
        if kind == "plain":
            cells += [f"{scores[kind].value(metric):.3f}" for metric in (WORST, BOUNDARY)]
    gain = compare(scores["plain"], scores["flips"]).of(DICE)
    return f"| {' | '.join([*cells, f'{gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]'])} |"


def main() -> None:
    """Score and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kvasir")
    parser.add_argument("clinic")
    parser.add_argument("--models", nargs="+")
    args = parser.parse_args()
    polyps = [name for name, pin in pins().items() if pin.data == "Kvasir-SEG"]
    rows: dict[str, str] = {}
    if OUT.exists():
        lines = [line for line in OUT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
        rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines[1:]}
    for name in args.models or polyps:
        rows[name] = row(name, args.kvasir, args.clinic)
        print(rows[name], flush=True)
        text = HEAD.format(machine=describe_machine()) + "\n".join(rows[name] for name in sorted(rows)) + "\n"
        OUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
