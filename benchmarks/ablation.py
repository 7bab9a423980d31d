"""What each part of the recipe for small machines is worth: one part is left out at a time, short runs, two seeds.

    python benchmarks/ablation.py ../shared/data/Kvasir-SEG --out runs/ablation

Writes benchmarks/ablation.md. Finished trainings are read from ``--out``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lmnet
from lmnet.training import CaseScores, DataSets, Split, compare, evaluate, fit, load_data, load_recipe
from lmnet.training.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from lmnet.training.export.benchmark import describe_machine
from lmnet.training.runs.train_run import open_teacher

OUT = Path(__file__).with_name("ablation.md")
NET, TEACHER = "efficientnet_lite0_lm_s", "efficientnet_lite0_lm_s"
METRIC = "dice_foreground_mean"
WHOLE = "all parts"
VARIANTS: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "without the pretrained encoder": {"pretrained": False},
    "without the teacher": {"teacher": False},
    "without the moving average": {"recipe": {"ema_decay": 0.0}},
    "without the growth of images": {"recipe": {"start_size": 0}},
    "light augmentation": {"recipe": {"augment": "light"}},
}


def main() -> None:
    """Train what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=240, help="training images of the split's (default: %(default)s)")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--start-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    whole = load_data(args.data, seed=0)
    split = Split(whole.split.train[: args.images], whole.split.val, whole.split.test)
    data = DataSets(whole.name, whole.cases, split)
    found = {name: [train(name, data, seed, args) for seed in range(args.seeds)] for name in VARIANTS}
    OUT.write_text(render(found, args), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


def train(name: str, data: DataSets, seed: int, args: argparse.Namespace) -> CaseScores:
    """Return the scores of the test images, trained now or before."""
    result = args.out / f"{'_'.join(name.split())}-{args.images}-{args.size}-{args.epochs}-s{seed}.json"
    if not result.exists():
        change = VARIANTS[name]
        torch.manual_seed(seed)
        model = lmnet.create_model(NET, pretrained_encoder="package" if change.get("pretrained", True) else False)
        mean, std = model.normalization or (IMAGENET_MEAN, IMAGENET_STD)
        recipe = replace(
            load_recipe("small_machine"),
            size=args.size,
            start_size=args.start_size,
            epochs=args.epochs,
            mean=mean,
            std=std,
        )
        recipe = replace(recipe, **change.get("recipe", {}))
        teacher = open_teacher(TEACHER) if change.get("teacher", True) else None
        fitted = fit(model, data, recipe, teacher=teacher, seed=seed, device="cpu", workers=0)
        scores = evaluate(model, data.test, size=args.size, mean=mean, std=std, device="cpu")
        result.write_text(json.dumps(scores.dump()))
        print(f"{name}, seed {seed}: val {fitted.score:.3f}, test {scores.values()[METRIC]:.3f}", flush=True)
    return CaseScores.load(json.loads(result.read_text()))


def render(found: dict[str, list[CaseScores]], args: argparse.Namespace) -> str:
    """Return the page."""
    first = found[WHOLE]
    lines = [
        "# What each part of the recipe is worth",
        "",
        f"Written by `python benchmarks/ablation.py`: {NET}, recipe `small_machine` with a teacher (the shipped "
        f"weights of {TEACHER}), {args.images} training images of Kvasir-SEG at {args.size} px (growing from "
        f"{args.start_size}), {args.epochs} epochs, {args.seeds} seeds; lesion Dice, mean over {len(first[0])} test "
        f"images. {describe_machine()}.",
        "",
        "The teacher has seen all training images of the split: its row says what a good one is worth to few images.",
        "",
        "| recipe | test Dice (by seed) | minus all parts, by seed with 95 % interval over images |",
        "|---|---|---|",
    ]
    for name, scores in found.items():
        values = [each.values()[METRIC] for each in scores]
        beside = "-"
        if name != WHOLE:
            pairs = [compare(ours, theirs) for ours, theirs in zip(first, scores, strict=True)]
            picked = [pair.of(METRIC) for pair in pairs]
            beside = "; ".join(f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for one in picked)
        lines.append(f"| {name} | {np.mean(values):.3f} ({', '.join(f'{v:.3f}' for v in values)}) | {beside} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
