"""Write down what searches came to: python benchmarks/searches.py runs/STUDY ... > benchmarks/searches.md.

Each folder is that of a `lmnet-search` that ended with a confirmation. The commands stand in the table of this file.
``--list path/to/Kvasir-SEG kvasir_400.csv`` writes the list of images that one of them takes: 400 for training, 200 for
validation and 300 for the test, so that the verdict rests on more images than a tenth of the data set. ``--split
path/to/Kvasir-SEG kvasir_320.json`` writes the split of another: 320, 100 and 300 images, the default split's val and
test images among them on their sides.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path

import optuna

from lmnet.search.study.fingerprint import ABOUT
from lmnet.search.study.storage import open_storage
from lmnet.training import load_data
from lmnet.training.data.splits import Split

PARTS = {"train": 400, "val": 200, "test": 300}
DATA = "--data Kvasir-SEG --workers 2"
COMMANDS = {
    "search_xs_015": f"lmnet-search --spec lmnet_xs {DATA} --max-gflops 0.15 --size 64 --epochs 8 --trials 16 "
    "--confirm-epochs 10 --confirm-seeds 3",
    "search_xs_03": "lmnet-search --spec lmnet_xs --data kvasir_400.csv --workers 2 --max-gflops 0.3 --size 64 "
    "--epochs 16 --trials 14 --confirm-epochs 20 --confirm-nets 2 --confirm-seeds 3",
    "search_lite0": f"lmnet-search --spec efficientnet_lite0_lm_s --pretrained-encoder --recipe small_machine {DATA} "
    "--max-gflops 0.5 --epochs 3 --trials 8 --confirm-epochs 4 --confirm-nets 2 --confirm-seeds 2",
    "search_zoo_03": "lmnet-search --spec zoo --data Kvasir-SEG --max-gflops 0.3 --pretrained-encoder package "
    "--workers 1 --split-file kvasir_320.json --epochs 8 --timeout 5400",
}
HEAD = "| net | hash | GMACs | parameters | ms | test Dice | by seed | val, by seed |"


def section(folder: Path) -> list[str]:
    """Return what one search came to."""
    found = json.loads((folder / "search.json").read_text())
    with open_storage(found["storage"]) as storage:
        about = optuna.load_study(study_name=found["study"], storage=storage).user_attrs[ABOUT]
    verdict = found["verdict"]
    facts = ", ".join(f"{name} {value}" for name, value in about.items() if name != "data")
    lines = [f"## {found['study']}", "", f"    {COMMANDS[folder.name]}", ""]
    lines += [f"{found['trials']} trainings; {facts}.", "", f"**{verdict['text']}**", ""]
    lines += [HEAD, "|---" * 8 + "|"]
    for one in verdict["nets"]:
        seeds, val = (" ".join(f"{score:.3f}" for score in one[key]) for key in ("dice_by_seed", "val_by_seed"))
        mean = "-" if one["dice"] is None else f"{one['dice']:.3f}"
        time_ms = "-" if one["ms"] is None else f"{one['ms']:.1f}"
        costs = f"{one['gmacs']:.3f} | {one['params']:,} | {time_ms}"
        lines.append(f"| {one['role']} | {one['hash']} | {costs} | {mean} | {seeds} | {val} |")
    diff = (folder / "diff.txt").read_text().rstrip().splitlines()
    return [*lines, "", "What the search changed:", "", *(f"    {line}" for line in diff), ""]


def write_list(folder: Path, target: Path) -> None:
    """Write a list of the images of Kvasir-SEG, each with its part of the split."""
    images = sorted((folder.resolve() / "images").iterdir())
    parts = [part for part, count in PARTS.items() for _ in range(count)]
    random.Random(0).shuffle(images)
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mask", "split"])
        for path, part in zip(images, parts, strict=True):
            writer.writerow([path, folder.resolve() / "masks" / path.name, part])


def write_split(folder: Path, target: Path) -> None:
    """Write a split of Kvasir-SEG: the default one, with most training images moved to the other sides or left out."""
    split = load_data(folder, seed=0).split
    train = sorted(split.train)
    random.Random(0).shuffle(train)
    sides = (train[:320], [*split.val, *train[320:330]], [*split.test, *train[330:540]])
    target.write_text(Split(*(tuple(sorted(names)) for names in sides)).dump())


def main() -> None:
    """Print the page, or write a list or a split."""
    if sys.argv[1] in WRITERS:
        return WRITERS[sys.argv[1]](*map(Path, sys.argv[2:]))
    print("# Searches that were run\n\nWritten by `python benchmarks/searches.py`. Lesion Dice, mean over images.\n")
    for folder in sys.argv[1:]:
        print("\n".join(section(Path(folder))))
    return None


WRITERS = {"--list": write_list, "--split": write_split}

if __name__ == "__main__":
    main()
