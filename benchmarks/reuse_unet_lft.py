"""Train a plain U-Net with and without LFT on its skips and GFT at its bottom on Kvasir-SEG, and write the table.

Three nets (zoo/unet.yaml at width 8; benchmarks/reuse_unet_lft.yaml, the same with the transformers; the plain one
wider, at the second's cost), three seeds each, the default recipe: 64 pixels, 240 pictures, 12 epochs. All are scored
on the same 300 other pictures, at their own size. One thread: the figures do not depend on the number of cores.

    nice -n 10 python benchmarks/reuse_unet_lft.py --data ../shared/data/Kvasir-SEG

Trainings are added to reuse_unet_lft.csv as they finish, and reuse_unet_lft.md is written anew; the same command goes
on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from pathlib import Path

import numpy as np
import torch

from lmnet.builder.models import build_model
from lmnet.builder.spec import load_spec
from lmnet.training import Recipe, Split, evaluate, fit, load_data

HERE = Path(__file__).parent
SCORES = HERE / "reuse_unet_lft.csv"
TABLE = HERE / "reuse_unet_lft.md"
SIZE, TRAIN, VAL, TEST, EPOCHS, SEEDS = 64, 240, 40, 300, 12, (0, 1, 2)
ARMS = {
    "U-Net": ("unet", {"width": 8}),
    "U-Net + LFT + GFT": (HERE / "reuse_unet_lft.yaml", {"width": 8}),
    "U-Net, wider": ("unet", {"width": 10}),
}


def spec_of(arm):
    """Return an arm's spec at the training size."""
    source, values = ARMS[arm]
    return load_spec(source).override({**values, "input.size": [SIZE, SIZE]})


def split_of(folder):
    """Return the data set in three sides of fixed sizes, shuffled once."""
    names = sorted(load_data(folder, seed=0).cases.names)
    names = [names[index] for index in np.random.default_rng(0).permutation(len(names))]
    sides = names[:TRAIN], names[TRAIN : TRAIN + VAL], names[TRAIN + VAL :][:TEST]
    return load_data(folder, split=Split(*(tuple(side) for side in sides)))


def train(data, arm, seed):
    """Return (names, foreground Dice of each test picture, seconds) of one training."""
    torch.manual_seed(seed)
    start = time.perf_counter()
    model = build_model(spec_of(arm))
    fit(model, data, Recipe(), size=SIZE, epochs=EPOCHS, seed=seed, device="cpu")
    seconds = time.perf_counter() - start
    scores = evaluate(model, data.test, size=SIZE, device="cpu")
    return scores.names, scores.dice, seconds


def read_scores():
    """Return {(arm, seed): {picture: Dice}} of the trainings done."""
    done = {}
    if SCORES.exists():
        with SCORES.open(newline="") as file:
            for row in csv.DictReader(file):
                done.setdefault((row["net"], int(row["seed"])), {})[row["picture"]] = float(row["dice"])
    return done


def interval(values):
    """Return the mean over pictures and its 95 % interval, by bootstrap over the pictures."""
    draws = np.random.default_rng(0).integers(0, len(values), (4000, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return values.mean(), low, high


def table(done):
    """Return the table as Markdown."""
    pictures = sorted(done["U-Net", 0])
    arms = [arm for arm in ARMS if all((arm, seed) in done for seed in SEEDS)]
    dice = {arm: np.array([[done[arm, seed][name] for name in pictures] for seed in SEEDS]) for arm in arms}
    base = dice["U-Net"]
    lines = [
        "# LFT on a U-Net's skips and GFT at its bottom, Kvasir-SEG",
        "",
        f"`python benchmarks/reuse_unet_lft.py` (torch {torch.__version__}, {platform.machine()} CPU, one thread). "
        f"{SIZE} px, {TRAIN} pictures, {EPOCHS} epochs, default recipe, seeds {', '.join(map(str, SEEDS))}; "
        f"foreground Dice, mean over the same {len(pictures)} test pictures at their own size. "
        "Intervals: 95 %, bootstrap over the test pictures, of the mean over the seeds; they do not hold what other "
        "seeds would add, which the last column shows.",
        "",
        "| net | params | MACs | Dice | difference to U-Net | by seed |",
        "|---|---|---|---|---|---|",
    ]
    for arm, values in dice.items():
        plan = build_model(spec_of(arm)).plan
        mean, low, high = interval(values.mean(axis=0))
        cells = [arm, f"{plan.params:,}", f"{plan.macs / 1e6:.1f} M", f"{mean:.3f} [{low:.3f}, {high:.3f}]"]
        if arm == "U-Net":
            cells += ["", ", ".join(f"{value:.3f}" for value in values.mean(axis=1))]
        else:
            mean, low, high = interval((values - base).mean(axis=0))
            cells += [f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"]
            cells += [", ".join(f"{value:+.3f}" for value in (values - base).mean(axis=1))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    """Train what is left; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data/Kvasir-SEG")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="train these only, to share the work")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = read_scores()
    if not SCORES.exists():
        SCORES.write_text("net,seed,picture,dice\n")
    left = [(arm, seed) for arm in ARMS for seed in args.seeds if (arm, seed) not in done]
    left.sort(key=lambda training: (training[0] == "U-Net, wider", training[1]))
    data = split_of(args.data) if left else None
    for arm, seed in left:
        if (arm, seed) in read_scores():
            continue  # another process was faster
        names, dice, seconds = train(data, arm, seed)
        with SCORES.open("a", newline="") as file:
            csv.writer(file).writerows(
                [arm, seed, name, f"{value:.5f}"] for name, value in zip(names, dice, strict=True)
            )
        print(f"{arm}, seed {seed}: Dice {dice.mean():.4f}, trained in {seconds:.0f} s", flush=True)
        done = read_scores()
        if all(("U-Net", seed) in done for seed in SEEDS):
            TABLE.write_text(table(done))


if __name__ == "__main__":
    main()
