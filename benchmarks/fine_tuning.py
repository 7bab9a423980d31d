"""Start from shipped polyp weights or from random ones: ultrasound with three classes, and with one channel.

    python benchmarks/fine_tuning.py ../shared/data/Dataset_BUSI_with_GT --out runs/fine_tuning

Writes benchmarks/fine_tuning.md. Finished trainings are read from ``--out``; an unfinished one continues.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lmnet.training import CaseScores, compare, load_data
from lmnet.training.export.benchmark import describe_machine
from lmnet.training.runs.train_run import DataChoice, train_run

OUT = Path(__file__).with_name("fine_tuning.md")
NETS = ("efficientnet_lite0_lm_s", "lmnet_xs")
SCRATCH, ENCODER = "from scratch", "ImageNet encoder, small_machine"
STARTS = {
    SCRATCH: "small_machine",
    ENCODER: "small_machine",
    "shipped weights, small_machine": "small_machine",
    "shipped weights, fine_tune": "fine_tune",
}
"""How a net starts, and the recipe that it is then trained by."""
METRICS = ("dice_macro_pooled", "dice_foreground_mean")
TEST_SHARE, VAL_SHARE = 0.4, 0.1
"""The set has few images, so more of them than usual are kept for the test."""


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Args:
        text: for the page.
        variables: of the spec.
        data: folder or list.
    """

    text: str
    variables: dict[str, int]
    data: str


def main() -> None:
    """Train what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the BUSI data set")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/fine_tuning"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    split = write_split(Path(args.data), args.out)
    tasks = [
        Task("3 classes: normal, benign, malignant", {"num_classes": 3}, three_classes(args.data, args.out)),
        Task("1 channel, lesion", {"input.channels": 1}, args.data),
    ]
    lines = []
    for net in NETS:
        for task in tasks:
            starts = [start for start in STARTS if start != ENCODER or net.startswith("efficientnet")]
            found = {
                start: [train(net, task, start, seed, split, args) for seed in range(args.seeds)] for start in starts
            }
            lines += table(f"{net}, {task.text}", found)
    OUT.write_text("\n".join([*head(args), *lines]), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


def write_split(data: Path, out: Path) -> str:
    """Write a split with a large test side, the kinds spread evenly; return its file."""
    cases = load_data(data).cases
    rng, sides = np.random.default_rng(0), {"train": [], "val": [], "test": []}
    for stratum in sorted({case.stratum for case in cases.cases}):
        names = [case.name for case in cases.cases if case.stratum == stratum]
        order = [names[index] for index in rng.permutation(len(names))]
        test, val = round(TEST_SHARE * len(order)), round(VAL_SHARE * len(order))
        sides["test"] += order[:test]
        sides["val"] += order[test : test + val]
        sides["train"] += order[test + val :]
    path = out / "split.json"
    path.write_text(json.dumps(sides))
    return str(path)


def three_classes(data: str, out: Path) -> str:
    """Write masks in which benign is 1 and malignant 2, and a list of the images with them; return the list."""
    cases = load_data(data).cases
    folder = out / "masks"
    folder.mkdir(exist_ok=True)
    rows = []
    for index, case in enumerate(cases.cases):
        value = {"benign": 1, "malignant": 2}.get(case.stratum, 0)
        path = folder / f"{index}.png"
        Image.fromarray((cases.mask(index) > 0).astype(np.uint8) * value).save(path)
        assert case.source is not None
        rows.append((str(case.source.image.path), str(path.resolve()), case.name))
    table_file = out / "three_classes.csv"
    with table_file.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "mask", "name"), *rows])
    return str(table_file)


def train(net: str, task: Task, start: str, seed: int, split: str, args: argparse.Namespace) -> CaseScores:
    """Return the scores of a net's test images, trained now or before."""
    name = f"{net}-{'-'.join(task.variables)}-{'_'.join(start.split())}-s{seed}".replace(",", "")
    run = train_run(
        net,
        DataChoice(task.data, split_file=split),
        recipe=STARTS[start],
        changes={"size": args.size, "epochs": args.epochs, "start_size": 0},
        variables=task.variables,
        weights=net if start.startswith("shipped") else None,
        pretrained_encoder="package" if start == ENCODER else None,
        seed=seed,
        out=str(args.out / name),
        device="cpu",
        workers=0,
        say=lambda text: print(f"{name}: {text}", flush=True),
    )
    return CaseScores.load(json.loads(run.folder.file("scores").read_text())["test"])


def table(title: str, found: dict[str, list[CaseScores]]) -> list[str]:
    """Return the rows of one task: means over seeds, and the paired difference to the start from scratch by seed."""
    first = found[SCRATCH]
    lines = [
        f"## {title}",
        "",
        "| start | Dice, mean over classes (by seed) | Dice of the lesion, mean over images (by seed) "
        "| minus from scratch, mean over classes, by seed with 95 % interval |",
        "|---|---|---|---|",
    ]
    for start, scores in found.items():
        values = [[each.values()[metric] for each in scores] for metric in METRICS]
        shown = [f"{np.mean(row):.3f} ({', '.join(f'{value:.3f}' for value in row)})" for row in values]
        beside = "-"
        if scores is not first:
            pairs = [compare(ours, theirs) for ours, theirs in zip(first, scores, strict=True)]
            picked = [pair.of(METRICS[0]) for pair in pairs]
            beside = "; ".join(f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for one in picked)
        lines.append(f"| {start} | {shown[0]} | {shown[1]} | {beside} |")
    return [*lines, ""]


def head(args: argparse.Namespace) -> list[str]:
    """Return the page's first lines."""
    return [
        "# Fine-tuning the shipped weights",
        "",
        "Written by `python benchmarks/fine_tuning.py`: nets from random weights and from their Kvasir-SEG weights, "
        f"on BUSI (breast ultrasound) at {args.size} px, {args.epochs} epochs, {args.seeds} seeds, split 50/10/40 % "
        f"with the kinds spread evenly, scored on the test images at their own size. {describe_machine()}; torch "
        f"{torch.__version__}.",
        "",
    ]


if __name__ == "__main__":
    main()
