"""Score shipped weights again and rewrite the tables of their model cards.

    python benchmarks/rescore_cards.py ../shared/data/Kvasir-SEG lmnet_xs lmnet_xxs
    python benchmarks/rescore_cards.py synthetic lmnet_xxs@synthetic

The images are those of the card's own split: their fingerprints are compared first. Scores that are on the card already
and come out different are printed; the rest of the card stays.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping

import numpy as np

from lmnet.builder.zoo import zoo_folder
from lmnet.training import CaseScores, open_model, summarize
from lmnet.training.data.load import SYNTHETIC
from lmnet.training.metrics.shown import shown_metrics, value_with_interval
from lmnet.training.runs.score_run import score_model
from lmnet.training.runs.train_run import DataChoice

ORIGIN = (
    "Written by `benchmarks/ship_weights.py` from a run of `lmnet-train`. The scores are those of the shipped float16\n"
    "file, on the run's own split."
)
NOTES = """\
In brackets: 95 % interval by bootstrap over images. Scored at the images' own size. The val images chose the epoch.
"""
BEFORE = """
{without} of the {images} test and {val_without} of the {val_images} val images have no lesion. Up to version 0.1.0 such
an image counted 1 if nothing was found there, and 0 if something was (in hd95: 0, and the diagonal). Counted so:

| metric, as counted up to 0.1.0 | test | val |
|---|---|---|
{rows}
"""


def score_table(scores: Mapping[str, CaseScores]) -> str:
    """Return the part of a card from its table on.

    Args:
        scores: scores of test and val, by side.
    """
    summaries = {side: summarize(scores[side]) for side in ("test", "val")}
    rows = ["| metric | test | val | meaning |", "|---|---|---|---|"]
    for name, meaning in shown_metrics(list(summaries.values())).items():
        test, val = (value_with_interval(each, name) for each in summaries.values())
        rows.append(f"| {name} | {test} | {val} | {meaning} |")
    return "\n".join(rows) + f"\n\n{NOTES}{_counted_before(scores)}"


def counted_before(scores: CaseScores) -> dict[str, float]:
    """Return the metrics that count an image without a lesion, as versions up to 0.1.0 counted them."""
    count, lesion, clean = len(scores), scores.has_lesion, scores.false_pixels == 0
    values, found = scores.values(), {}
    for name in ("dice_foreground_mean", "iou_foreground_mean", "boundary_iou_mean"):
        found[name] = (values[name] * lesion.sum() + (clean & ~lesion).sum()) / count
    distances, diagonal = scores.figures["hd95"], scores.figures["diagonal"]
    distances = np.where(lesion, distances, np.where(clean, 0.0, np.nan))
    found["hd95_mean"] = float(np.where(np.isnan(distances), diagonal, distances).mean())
    found["hd95_defined_mean"] = float(np.nanmean(distances))
    return found


def _counted_before(scores: Mapping[str, CaseScores]) -> str:
    test, val = scores["test"], scores["val"]
    if test.has_lesion.all() and val.has_lesion.all():
        return ""
    before = {side: counted_before(each) for side, each in scores.items()}
    rows = [
        f"| {name} | {_short(name, before['test'][name])} | {_short(name, value)} |"
        for name, value in before["val"].items()
    ]
    return BEFORE.format(
        without=int((~test.has_lesion).sum()),
        images=len(test),
        val_without=int((~val.has_lesion).sum()),
        val_images=len(val),
        rows="\n".join(rows),
    )


def _short(name: str, value: float) -> str:
    return f"{value:.{1 if name.startswith('hd95') else 3}f}"


def differences(card: str, scores: Mapping[str, CaseScores]) -> list[str]:
    """Return which values of an old card's table are not those of the scores, counted as its version did."""
    summaries = {side: summarize(scores[side]) for side in ("test", "val")}
    is_old = "without lesion counts 1" in card
    found = []
    for name, test, val in re.findall(
        r"^\| (\w+) \| ([\d.]+)[^|]* \| ([\d.]+)[^|]* \|", card.partition("\nIn brackets")[0], re.M
    ):
        for side, shown in (("test", test), ("val", val)):
            value = summaries[side].get(name)
            if is_old and name in (before := counted_before(scores[side])):
                value = before[name]
            if value is None or abs(value - float(shown)) > 0.5001 * 10 ** -len(shown.partition(".")[2]):
                found.append(f"{name} {side}: card {shown}, now {value}")
    return found


def rescore(name: str, data: str) -> list[str]:
    """Score a shipped net, rewrite its card and return what differs from before.

    Raises:
        ValueError: the images are not those of the card.
    """
    path = zoo_folder() / f"{name}.md"
    card = path.read_text(encoding="utf-8")
    fingerprint = re.search(r"Fingerprint of content and split: `([\w-]+)`", card)
    if fingerprint is None:
        raise ValueError(f"{path}: the card has no fingerprint.")
    opened, scores = open_model(name), {}
    for side, wanted in zip(("val", "test"), fingerprint[1].split("-")[1:], strict=True):
        scores[side], facts = score_model(opened, DataChoice(path=data), side=side, device="cpu")
        if data == SYNTHETIC:  # NumPy's version decides the pixels that are drawn
            card = card.replace(wanted, facts["fingerprint"])
        elif facts["fingerprint"] != wanted:
            raise ValueError(f"{path}: its {side} images are {wanted}, and {data} has {facts['fingerprint']}.")
    changed = differences(card, scores)
    head = card.partition("| metric |")[0]
    head = re.sub(r"(?:Generated|Written) by `.*?own split\.", ORIGIN, head, count=1, flags=re.S)
    path.write_text(head + score_table(scores), encoding="utf-8")
    return changed


def main() -> int:
    """Rescore the named nets; 1 if a score differs from its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of the data set, or synthetic")
    parser.add_argument("names", nargs="+", metavar="NAME", help="zoo name with shipped weights")
    args = parser.parse_args()
    is_changed = False
    for name in args.names:
        changed = rescore(name, args.data)
        is_changed = is_changed or bool(changed)
        print(f"{name}: " + ("; ".join(changed) if changed else "every score equals its card"), flush=True)
    return int(is_changed)


if __name__ == "__main__":
    sys.exit(main())
