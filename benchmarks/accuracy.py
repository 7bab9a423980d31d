"""Write benchmarks/accuracy.md: the scores of finished runs of ``lmnet-train``, and what was not run.

    lmnet-train lmnet_xs --data ../shared/data/kaggle_3m --size 96 --epochs 12 --out runs/lgg_xs
    python benchmarks/accuracy.py runs/lgg_xs runs/busi_xs --losses 'runs/loss_*'

A run's row is read from its folder: nothing is typed in. Losses are compared on val, run by run with equal seeds.
"""

from __future__ import annotations

import argparse
import csv
import glob
import json
import statistics
from pathlib import Path

from lmnet.training.metrics.shown import value_with_interval

OUT = Path(__file__).with_name("accuracy.md")
METRICS = {
    "dice_foreground_mean": "lesion Dice, mean over images",
    "dice_foreground_pooled": "lesion Dice, pooled",
    "dice_macro_pooled": "class-mean Dice, pooled (the paper's mDice)",
    "iou_macro_pooled": "class-mean IoU, pooled (the paper's mIoU)",
    "hd95_mean": "HD95 (pixels)",
}
HEAD = """\
# Accuracy, measured

Written by `python benchmarks/accuracy.py {arguments}` from run folders of `lmnet-train`; scores are of the test split,
which no choice has seen, at the images' own size, with 95 % intervals by bootstrap over images. Minutes are the sum
of the epochs' wall time. All on a CPU ({machine}, two cores, other jobs beside some of the runs); {versions}.
"""
NOT_RUN = """
## Not run

| net | data | recipe | why |
|---|---|---|---|
| lmnet_release | Kvasir-SEG, 256 px, 200 epochs | paper | no GPU was available |
| lmnet_paper | Kvasir-SEG, 256 px, 200 epochs | paper | no GPU was available |

To run them: `lmnet-train lmnet_release --data Kvasir-SEG --recipe paper --device cuda`. The published figures they
would stand beside: mDice 0.9409, mIoU 0.8912 (class means, pooled); precision 0.8964, recall 0.9038 (lesion).
"""


def read(folder: Path) -> dict:
    """Return what a finished run's folder says."""
    files = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("run", "metrics")}
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return files | {"epochs": list(csv.DictReader(file)), "folder": folder}


def row(run: dict) -> str:
    """Return a run's line of the table."""
    facts, metrics = run["run"], run["metrics"]
    images, recipe = facts["images"], facts["recipe"]
    minutes = sum(float(epoch["seconds"]) for epoch in run["epochs"]) / 60
    cells = [
        f"{facts['data_name']}, {images['train']}/{images['val']}/{images['test']}",
        facts["model"],
        f"{recipe['name']}, {recipe['size']} px, {recipe['epochs']} epochs (best {metrics['epoch']})",
        str(facts["seed"]),
        *(value_with_interval(metrics["test"], name) for name in METRICS),
        f"{minutes:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def losses(runs: list[dict]) -> str:
    """Return the table of the two recipes' losses: val Dice by seed."""
    by_loss: dict[str, dict[int, float]] = {}
    for run in runs:
        recipe = run["run"]["recipe"]
        loss = "the paper's" if recipe["use_background_dice"] else "Dice + cross-entropy (default)"
        by_loss.setdefault(loss, {})[run["run"]["seed"]] = run["metrics"]["val"]["dice_foreground_mean"]
    recipe, facts = runs[0]["run"]["recipe"], runs[0]["run"]
    lines = [
        "\n## The default loss\n",
        f"{facts['model']} on {facts['data_name']} data, {recipe['size']} px, {recipe['epochs']} epochs, else equal:",
        "lesion Dice (mean over images) on val.\n",
        "| loss | mean | by seed |",
        "|---|---|---|",
    ]
    for loss, scores in by_loss.items():
        seeds = ", ".join(f"{seed}: {score:.3f}" for seed, score in sorted(scores.items()))
        lines.append(f"| {loss} | {statistics.mean(scores.values()):.3f} | {seeds} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the runs and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="finished run folders")
    parser.add_argument("--losses", default="", help="glob of run folders that differ in the loss and the seed only")
    args = parser.parse_args()
    runs = [read(folder) for folder in args.runs]
    versions = runs[0]["run"]["versions"]
    machine = versions.pop("machine")
    arguments = " ".join(map(str, args.runs)) + (f" --losses '{args.losses}'" if args.losses else "")
    text = HEAD.format(
        arguments=arguments,
        machine=machine,
        versions=", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "lightning", "timm")),
    )
    names = ["data, train/val/test", "net", "recipe", "seed", *METRICS.values(), "minutes"]
    text += f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}\n" + "\n".join(map(row, runs)) + "\n"
    if args.losses:
        text += losses([read(Path(folder)) for folder in sorted(glob.glob(args.losses))])
    OUT.write_text(text + NOT_RUN, encoding="utf-8")
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
