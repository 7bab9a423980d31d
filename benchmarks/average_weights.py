"""Average the weights of training runs that began from one another: a run folder that ship_weights.py takes.

    python benchmarks/average_weights.py runs/fine_tuned runs/before zoo/NAME.safetensors --out runs/averaged

The folder is a copy of the first run with the mean of all weights as its best ones. Source: Wortsman et al.: Model
soups, 2022, arXiv 2203.05482.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from lmnet.builder.weights import read_weights, save_weights
from lmnet.training import open_model, summarize
from lmnet.training.metrics.shown import value_with_interval
from lmnet.training.runs.score_run import score_model
from lmnet.training.runs.train_run import DataChoice

BEST = "best.safetensors"


def main() -> None:
    """Average, write the folder and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="run folder")
    parser.add_argument("others", type=Path, nargs="+", help="run folders or files of weights of the same net")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found = [read_weights(each / BEST if each.is_dir() else each) for each in (args.first, *args.others)]
    for path, each in zip(args.others, found[1:], strict=True):
        if each.state.keys() != found[0].state.keys():
            parser.error(f"{path} holds other tensors than {args.first}: they are of different nets.")
    mean = {
        name: torch.stack([each.state[name].float() for each in found]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point() else tensor
        for name, tensor in found[0].state.items()
    }  # fmt: skip
    shutil.copytree(args.first, args.out)
    save_weights(args.out / BEST, mean, found[0].facts)
    opened = open_model(str(args.out))
    for side in ("val", "test"):
        scores = summarize(score_model(opened, DataChoice(path=""), side=side)[0])
        print(f"{side}: Dice {value_with_interval(scores, 'dice_foreground_mean')}")


if __name__ == "__main__":
    main()
