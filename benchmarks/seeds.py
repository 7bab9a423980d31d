"""One net trained with several seeds, all scored on the same test images: the interval over images and seeds.

    python benchmarks/seeds.py ../shared/data/Kvasir-SEG efficientnet_lite0_lm_s runs/SEED1 runs/SEED2

The first model is the zoo's, with its shipped weights; the others are run folders on the same split. Writes the net's
part of benchmarks/seeds.md, and leaves the other nets' parts as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lmnet.training import CaseScores, open_model
from lmnet.training.export.benchmark import describe_machine
from lmnet.training.metrics.intervals import intervals
from lmnet.training.runs.score_run import score_model
from lmnet.training.runs.train_run import DataChoice

OUT = Path(__file__).with_name("seeds.md")
DRAWINGS = 10_000
METRIC = "dice_foreground_mean"
HEAD = """# Shipped nets with several seeds

Written by `python benchmarks/seeds.py`: lesion Dice, mean over the same 90 test images of Kvasir-SEG. The shipped run's
length and teacher are on its card; it was chosen by its val score.
"""


def main() -> None:
    """Score and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    found: dict[str, CaseScores] = {}
    for name in args.models:
        opened = open_model(name)
        manifest = {} if opened.run is None else opened.run.manifest()
        label = f"seed {manifest['seed']}, {manifest['recipe']['epochs']} epochs" if manifest else f"shipped: {name}"
        found[label] = score_model(opened, DataChoice(path=args.data), side="test", device="cpu")[0]
    dice = {name: scores.value(METRIC) for name, scores in found.items()}
    low, high = intervals(list(found.values()), metrics=[METRIC], drawings=DRAWINGS)[METRIC]
    part = [
        f"## {args.models[0]}",
        "",
        f"{describe_machine()}.",
        "",
        "| training run | test Dice |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in dice.items()),
        f"| all, 95 % interval by bootstrap over images and seeds "
        f"| {np.mean(list(dice.values())):.3f} [{low:.3f}, {high:.3f}] |",
        "",
    ]
    parts = {text.split("\n")[0]: text for text in OUT.read_text(encoding="utf-8").split("\n## ")[1:]}
    parts[args.models[0]] = "\n".join(part).removeprefix("## ")
    OUT.write_text("\n## ".join([HEAD, *(text.rstrip() + "\n" for text in parts.values())]), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
