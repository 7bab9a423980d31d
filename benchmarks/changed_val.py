"""Score runs on val images that are changed as in training: what tells two runs apart whose val scores are alike.

    python benchmarks/changed_val.py runs/ONE runs/OTHER [--augment robust] [--repeats 3]

Each val image is changed ``--repeats`` times, alike for all runs, and scored at the run's size: the lesion Dice, mean
over images, and its difference to the first run by paired images. Test images are not looked at.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from lmnet.training import load_data, open_model
from lmnet.training.data.normalization import normalized
from lmnet.training.fitting.loaders import AugmentedSet


def scores_of(name: str, augment: str, repeats: int) -> np.ndarray:
    """Return the Dice of each val image of a run's own split, (repeats x images,)."""
    opened = open_model(name)
    if opened.run is None:
        raise SystemExit(f"changed_val.py: {name} is no run folder. Give the folder of a training run.")
    data = load_data(opened.run.manifest()["data"], split_file=opened.run.path / "split.json")
    cases = AugmentedSet(data.val.at(opened.size), augment)
    found = []
    with torch.no_grad():
        for seed in range(repeats):
            for index in range(len(cases)):
                image, mask, _ = cases[index, 1000 * seed + index]
                logits = opened.model(normalized(image[None], opened.mean, opened.std))
                lesion, truth = logits.argmax(1)[0] == 1, mask == 1
                both = int(lesion.sum() + truth.sum())
                found.append(2 * int((lesion & truth).sum()) / both if truth.any() else np.nan)
    return np.array(found)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--augment", default="robust")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    first = None
    for name in args.runs:
        scores = scores_of(name, args.augment, args.repeats)
        first = scores if first is None else first
        gain = scores - first
        error = np.nanstd(gain) / np.sqrt(np.isfinite(gain).sum())
        print(f"{name}: Dice {np.nanmean(scores):.4f}, {np.nanmean(gain):+.4f} (SE {error:.4f})", flush=True)


if __name__ == "__main__":
    main()
