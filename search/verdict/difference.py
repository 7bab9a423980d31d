"""The verdict: whether the best net is better than the starting net, by training runs with new seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lmnet.search.results.counts import role_name
from lmnet.training import CaseScores
from lmnet.training.fitting.chooser import METRIC
from lmnet.training.metrics.comparison import Comparison, Difference, compare
from lmnet.training.metrics.intervals import intervals

COMPARED = ("start", "largest", "family")


@dataclass(frozen=True)
class Confirmed:
    """A net that was trained again.

    Args:
        role: best, start, largest, family or finalist.
        hash: hash of the architecture.
        gmacs: 10^9 multiply-accumulates, re-parameterised.
        params: parameters.
        scores: scores of the test images, by seed.
        val: the score of the validation images, by seed.
        family: its family; empty in a search of one.
    """

    role: str
    hash: str
    gmacs: float
    params: int
    scores: Mapping[int, CaseScores]
    val: Mapping[int, float] = field(default_factory=dict)
    family: str = ""


def compared(first: Mapping[int, CaseScores], second: Mapping[int, CaseScores]) -> Comparison | None:
    """Compare two nets on the seeds that both have; None if they share no seed."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    return compare([first[seed] for seed in seeds], [second[seed] for seed in seeds], metrics=[METRIC])


def choose(finalists: Sequence[Confirmed]) -> Confirmed:
    """Return the finalist that is the result: by its mean score on the validation images, over the seeds that all have.

    Finalists within the noise of the seeds below the best one count as equal; the cheapest of them is chosen. The test
    images are not used. A finalist that was not trained again is left out; if none was, the first is returned.
    """
    finalists = [one for one in finalists if one.val] or finalists
    seeds = sorted(set.intersection(*(set(one.val) for one in finalists)))
    if not seeds:
        return finalists[0]
    scores = np.array([[one.val[seed] for seed in seeds] for one in finalists])
    means = scores.mean(axis=1)
    noise = (seed_noise(finalists) or 0.0) * (2 / len(seeds)) ** 0.5  # the deviation of the difference of two means
    equal = [one for one, mean in zip(finalists, means, strict=True) if mean >= means.max() - noise]
    return min(equal, key=lambda one: one.gmacs)


def seed_noise(nets: Sequence[Confirmed]) -> float | None:
    """Return the standard deviation of one net's validation scores over seeds; None if no net has two."""
    variances = [np.var(list(one.val.values()), ddof=1) for one in nets if len(one.val) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else None


def with_same_seeds(nets: Sequence[Confirmed]) -> list[Confirmed]:
    """Return the nets; the best net and those compared with it keep only the test scores of seeds that they all have.

    A net without any score is left out of this: all of its training runs failed. Other finalists keep all scores.
    """
    matter = [one for one in nets if one.role in ("best", *COMPARED) and one.scores]
    common = set.intersection(*(set(one.scores) for one in matter)) if matter else set()
    return [
        replace(one, scores={seed: each for seed, each in one.scores.items() if seed in common})
        if one in matter
        else one
        for one in nets
    ]


def make_verdict(
    nets: Sequence[Confirmed], *, epochs: int, milliseconds: Mapping[str, float], seeds: int | None = None
) -> dict[str, Any]:
    """Return the verdict as plain data: text, best_minus_start, interval, seeds, split, noise, and each net's score.

    Args:
        nets: the best net first, then the starting net, the largest net and other finalists if they are different nets.
        epochs: epochs of each training run.
        milliseconds: median time of an image by hash, measured side by side.
        seeds: planned number of training runs for each net; None if unknown.
    """
    nets = with_same_seeds(nets)
    best = nets[0]
    rows = [_row(one, milliseconds) for one in nets]
    others = [one for one in nets[1:] if one.role in COMPARED]
    found = {one.hash: compared(one.scores, best.scores) for one in others}
    content: dict[str, Any] = {"best": best.hash, "split": "test", "epochs": epochs, "nets": rows}
    start = next((found[one.hash] for one in others if one.role == "start"), None)
    change = _change(start)
    noise = seed_noise(nets)
    content |= {
        "seed_noise": noise,
        "best_minus_start": None if change is None else change.difference,
        "interval": None if change is None else [change.low, change.high],
        "seeds": len(best.scores) if start is None else start.seeds[0],
        "images": 0 if start is None else start.with_lesion,
    }
    sentences = [_sentence(best, one, found[one.hash], milliseconds) for one in others]
    if seeds is not None and 0 < len(best.scores) < seeds:
        sentences.append(
            f"Only {len(best.scores)} of the planned {seeds} training runs of each net ended, so the verdict is less "
            "certain than planned. The same command trains the rest."
        )
    if noise is not None:
        sentences.append(
            f"From seed to seed the validation score of one net varies by {noise:.3f} (standard deviation), and each "
            "trial of the search has one seed: closer scores cannot be told apart."
        )
    return {"text": " ".join(sentences), **content}


def no_verdict(reason: str, *, best: str | None) -> dict[str, Any]:
    """Return a verdict without comparison, with the reason as its text."""
    empty: dict[str, Any] = {"best_minus_start": None, "interval": None, "seeds": 0, "split": "test", "nets": []}
    return {"text": reason, "best": best, **empty}


def _change(found: Comparison | None) -> Difference | None:
    """Return the difference in Dice; None if the nets were not compared, or no test image has a lesion."""
    return None if found is None or not found.with_lesion else found.of(METRIC)


def _sentence(best: Confirmed, other: Confirmed, found: Comparison | None, milliseconds: Mapping[str, float]) -> str:
    name, us = role_name(other.role, other.family), f"The best net ({best.family})" if best.family else "The best net"
    change = _change(found)
    if found is None:
        return f"{us} was not compared with {name}: for no seed were both training runs finished in time."
    if change is None:
        return f"{us} was not compared with {name}: no test image has a lesion."
    if change.low > 0:
        result = f"is better than {name}"
    elif change.high < 0:
        result = f"is worse than {name}"
    else:
        result = f"is not shown to be better than {name}"
    runs = f"{found.seeds[0]} training run{'s' if found.seeds[0] > 1 else ''} each"
    text = (
        f"{us} {result}: test Dice {change.difference:+.3f} [{change.low:+.3f}, {change.high:+.3f}] over "
        f"{found.with_lesion} images and {runs}, at {best.gmacs / other.gmacs:.2f} times its GMACs"
    )
    if best.hash in milliseconds and other.hash in milliseconds:
        text += f" and {milliseconds[best.hash] / milliseconds[other.hash]:.2f} times its milliseconds"
    return text + "."


def _row(one: Confirmed, milliseconds: Mapping[str, float]) -> dict[str, Any]:
    means = [value for scores in one.scores.values() if np.isfinite(value := scores.value(METRIC))]
    interval = intervals(list(one.scores.values()), metrics=[METRIC])[METRIC] if means else None
    return {
        "role": one.role,
        "hash": one.hash,
        "gmacs": one.gmacs,
        "params": one.params,
        "ms": milliseconds.get(one.hash),
        "dice_by_seed": means,
        "val_by_seed": list(one.val.values()),
        "dice": float(np.mean(means)) if means else None,
        "interval": None if interval is None else list(interval),
        "images": int(next(iter(one.scores.values())).has_lesion.sum()) if one.scores else 0,
        **({"family": one.family} if one.family else {}),
    }
