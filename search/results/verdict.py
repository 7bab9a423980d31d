"""The verdict: whether the best net is better than the starting net, by training runs that the search did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmnet.search.results.counts import Tally
from lmnet.training import CaseScores

DRAWINGS = 4000
SEED = 0
ROLES = {
    "best": "the best net",
    "start": "the starting net",
    "largest": "the largest net within the limits",
    "finalist": "another of the best nets",
}
COMPARED = ("start", "largest")


@dataclass(frozen=True)
class Confirmed:
    """A net that was trained again.

    Args:
        role: best, start, largest or finalist.
        hash: of the architecture.
        gmacs: 10^9 multiply-accumulates, re-parameterised.
        params: parameters.
        scores: of the test images, by seed.
        val: the score of the validation images, by seed.
    """

    role: str
    hash: str
    gmacs: float
    params: int
    scores: Mapping[int, CaseScores]
    val: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """The difference of two nets' test scores.

    Args:
        mean: second less first, over images and seeds.
        low: 2.5th percentile over drawings of images and seeds.
        high: 97.5th percentile.
        seeds: number of seeds that both were trained with.
        images: number of test images.
    """

    mean: float
    low: float
    high: float
    seeds: int
    images: int


def difference(first: Mapping[int, CaseScores], second: Mapping[int, CaseScores]) -> Difference | None:
    """Return the paired difference of foreground Dice, by bootstrap over images and seeds; None without a common seed.

    Images are drawn once for both nets; seeds are drawn for each net by itself, as a seed means other initial weights
    for another net.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    one = np.stack([_in_order(first[seed]) for seed in seeds])
    two = np.stack([_in_order(second[seed]) for seed in seeds])
    rng, count, images = np.random.default_rng(SEED), len(seeds), one.shape[1]
    drawn = np.empty(DRAWINGS)
    for place in range(DRAWINGS):
        columns = rng.integers(images, size=images)
        means = [each[rng.integers(count, size=count)][:, columns].mean() for each in (two, one)]
        drawn[place] = means[0] - means[1]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Difference(float(two.mean() - one.mean()), float(low), float(high), count, images)


def choose(finalists: Sequence[Confirmed]) -> Confirmed:
    """Return the finalist to hand back: by the validation images, over the seeds that all have.

    Those that are no further below the best than the noise of their seeds count as equal, and the cheapest of them is
    chosen. The test images have no say in it. A finalist without a further training run is left out; where none has
    one, the first is returned.
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
    """Return the standard deviation of one net's validation scores over seeds; None where no net has two."""
    variances = [np.var(list(one.val.values()), ddof=1) for one in nets if len(one.val) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else None


def make_verdict(nets: list[Confirmed], *, epochs: int, milliseconds: Mapping[str, float]) -> dict[str, Any]:
    """Return the verdict as plain data: text, best_minus_start, interval, seeds, split, noise, and each net's score.

    Args:
        nets: best first; the starting net, the largest net and other finalists, where they are other nets.
        epochs: of each training run.
        milliseconds: median time of an image by hash, measured side by side.
    """
    best = nets[0]
    rows = [_row(one, milliseconds) for one in nets]
    compared = [one for one in nets[1:] if one.role in COMPARED]
    found = {one.role: difference(one.scores, best.scores) for one in compared}
    content: dict[str, Any] = {"best": best.hash, "split": "test", "epochs": epochs, "nets": rows}
    start = found.get("start")
    noise = seed_noise(nets)
    content |= {
        "seed_noise": noise,
        "best_minus_start": None if start is None else start.mean,
        "interval": None if start is None else [start.low, start.high],
        "seeds": len(best.scores) if start is None else start.seeds,
        "images": 0 if start is None else start.images,
    }
    sentences = [_sentence(best, one, found[one.role], milliseconds) for one in compared]
    if noise is not None:
        sentences.append(
            f"From seed to seed the validation score of one net varies by {noise:.3f} (standard deviation), and each "
            "trial of the search has one seed: scores closer than that say nothing."
        )
    return {"text": " ".join(sentences), **content}


def no_verdict(reason: str, *, best: str | None) -> dict[str, Any]:
    """Return a verdict on a net that says why nothing was compared."""
    empty: dict[str, Any] = {"best_minus_start": None, "interval": None, "seeds": 0, "split": "test", "nets": []}
    return {"text": reason, "best": best, **empty}


def with_verdict(verdict: dict[str, Any] | None, counts: Tally) -> tuple[Tally, dict[str, Any] | None]:
    """Return the counts with the verdict's choice, and the verdict; without both where other nets are the best now."""
    if verdict is None:
        return counts, None
    finalists = verdict.get("finalists", [verdict.get("best")])
    if [one.hash for one in counts.ranked[: len(finalists)]] != finalists:
        return counts, None
    return replace(counts, chosen=verdict["best"]), verdict


def _sentence(best: Confirmed, other: Confirmed, found: Difference | None, milliseconds: Mapping[str, float]) -> str:
    name = ROLES[other.role]
    if found is None:
        return f"The best net was not compared with {name}: for no seed were both training runs finished in time."
    if found.low > 0:
        said = f"is better than {name}"
    elif found.high < 0:
        said = f"is worse than {name}"
    else:
        said = f"is not shown to be better than {name}"
    runs = f"{found.seeds} training run{'s' if found.seeds > 1 else ''} each"
    text = (
        f"The best net {said}: test Dice {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}] over {found.images} "
        f"images and {runs}, at {best.gmacs / other.gmacs:.2f} times its GMACs"
    )
    if best.hash in milliseconds and other.hash in milliseconds:
        text += f" and {milliseconds[best.hash] / milliseconds[other.hash]:.2f} times its milliseconds"
    return text + "."


def _row(one: Confirmed, milliseconds: Mapping[str, float]) -> dict[str, Any]:
    means = [scores.value("dice_foreground_mean") for scores in one.scores.values()]
    return {
        "role": one.role,
        "hash": one.hash,
        "gmacs": one.gmacs,
        "params": one.params,
        "ms": milliseconds.get(one.hash),
        "dice_by_seed": means,
        "val_by_seed": list(one.val.values()),
        "dice": float(np.mean(means)) if means else None,
    }


def _in_order(scores: CaseScores) -> NDArray[np.floating[Any]]:
    order = sorted(np.flatnonzero(scores.has_lesion), key=lambda place: scores.names[place])
    found: NDArray[np.floating[Any]] = scores.dice[order]
    return found
