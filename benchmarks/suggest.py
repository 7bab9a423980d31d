"""What lmnet-suggest chooses on real data, beside the largest and the cheapest net that fit, trained as long.

    python benchmarks/suggest.py ../shared/data --minutes 3

For each data set and limit: one call of ``lmnet.suggest``; then the net that it chose, the largest (GMACs) and the
cheapest (GMACs) net that meet the limit are trained anew, in turns and equally long, and compared on the same images.
Writes benchmarks/suggest.md, a part after each case.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch

import lmnet
from lmnet.search.suggest.answer import SuggestedNet, compared
from lmnet.search.suggest.choices import find_choices
from lmnet.search.suggest.data_summary import enough_to_compare
from lmnet.search.suggest.rounds import Rounds, make_contender
from lmnet.search.suggest.timing import MachineCost
from lmnet.training.runs.train_run import DataChoice

OUT = Path(__file__).with_name("suggest.md")
CASES = [
    ("BUSI", "Dataset_BUSI_with_GT", {"max_gmacs": 0.3}),
    ("BUSI", "Dataset_BUSI_with_GT", {"max_gmacs": 0.1, "max_mb": 5.0}),
    ("LGG", "kaggle_3m", {"max_gmacs": 0.3}),
    ("LGG", "kaggle_3m", {"max_gmacs": 0.1, "max_mb": 5.0}),
]
COLUMNS = "| net | which | start | GMACs | val Dice | minus the first |\n|---|---|---|---|---|---|\n"
HEAD = """# What lmnet-suggest chooses

Written by `python benchmarks/suggest.py`: each call had {minutes:g} minutes and one thread, on a machine that did other
work (load average {load:.0f} of {cpus} cores at the start). Below each answer: the net that it chose, the largest and
the cheapest net that meet the limit (by GMACs), trained anew in turns, equally long, and compared image by image on the
same val images; one run each.
"""


def check(
    folder: Path, limits: dict[str, float], chosen: SuggestedNet, minutes: float
) -> tuple[list[SuggestedNet], int]:
    """Train the chosen, the largest and the cheapest net equally long; return them and the number of images."""
    data, _ = enough_to_compare(DataChoice(path=str(folder)).load(seed=0, num_classes=2), 0)
    choices = find_choices(data, size=128, in_channels=3, num_classes=2)
    fitting = [
        each
        for each in choices
        if each.gmacs <= limits["max_gmacs"] and 4e-6 * each.params + 0.15 <= limits.get("max_mb", float("inf"))
    ]
    own = next(each for each in fitting if (each.net, each.size, each.start) == (chosen.net, chosen.size, chosen.start))
    largest, cheapest = max(fitting, key=lambda each: each.gmacs), min(fitting, key=lambda each: each.gmacs)
    names = {own: "chosen", largest: "largest", cheapest: "cheapest"} | {own: "chosen"}
    rounds = Rounds(data, until=time.monotonic() + 60 * minutes, seed=0, device="cpu")
    unknown = MachineCost(None, 0.0, False)
    nets = [make_contender(each, unknown, in_channels=3, num_classes=2, seed=0) for each in names]
    finalists = rounds.run(nets, cuts=())
    rounds.score(finalists, until=float("inf"))
    labels = {each: names[each] + (", the largest" if each is own is largest else "") for each in names}
    return compared(finalists, labels), rounds.images


def main() -> None:
    """Run all cases and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds the data sets")
    parser.add_argument("--minutes", type=float, default=3.0, help="of each call (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    load, cpus = os.getloadavg()[0], os.cpu_count()
    text = HEAD.format(minutes=args.minutes, load=load, cpus=cpus)
    for name, folder, limits in CASES:
        path = args.data / folder
        start = time.monotonic()
        found = lmnet.suggest(path, **limits, minutes=args.minutes, device="cpu", say=print)
        seconds = time.monotonic() - start
        shown = " ".join(f"--{key.replace('_', '-')} {value:g}" for key, value in limits.items())
        answer = found.line.replace(str(args.data), "DATA")
        text += f"\n## {name}, {shown}\n\nAfter {seconds:.0f} s of {60 * args.minutes:.0f}: {answer}\n"
        if found.best is not None and found.images:
            nets, images = check(path, limits, found.best, args.minutes)
            text += f"\nTrained for {images} images each:\n\n{COLUMNS}"
            for net in nets:
                minus = "-" if net.difference is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*net.difference)
                dice = f"{net.dice:.3f} [{net.low:.3f}, {net.high:.3f}]"
                text += f"| {net.name} | {net.command} | {net.start} | {net.gmacs:.3f} | {dice} | {minus} |\n"
        OUT.write_text(text, encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    main()
