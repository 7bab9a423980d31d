"""How many trials ways of searching need to reach the best of 200 random nets, on objectives that cost nothing to ask.

    python benchmarks/search_bench.py --repeats 50

Objectives: the table of really trained nets that search_table.py made, its halves by cost, a synthetic objective with
what real ones have (returns that diminish, an interaction, noise), and one where larger nets score worse. Writes
search_bench.csv and search_bench.md beside itself. The table has 71 nets, one seed each, whose scores hold as much of
the seed's luck as of the net: it shows that a way of searching works, not which one is best.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from search_table import SPEC, TABLE, feasible_points

from lmnet.builder.benchmark import describe_machine
from lmnet.builder.spec import load_spec
from lmnet.search.limits import Limits
from lmnet.search.pricing import Candidate, Pricer
from lmnet.search.propose.candidates import Candidates
from lmnet.search.propose.proposer import Proposer
from lmnet.search.space import Space
from lmnet.search.space_survey import repaired

HERE = Path(__file__).parent
NAME = "search_bench"
RANDOM, MOST = 200, 60
Score = Callable[[Candidate], float]
Way = Callable[[Pricer, int], Iterator[Candidate | None]]
"""Yields nets to train; ``send`` gives the score of each."""


@dataclass(frozen=True)
class Objective:
    """Something to search.

    Args:
        name: for the tables.
        pricer: of its space and limits.
        score_of: a score by net, for a repeat's seed.
    """

    name: str
    pricer: Pricer
    score_of: Callable[[int], Score]


def synthetic(pricer: Pricer, seed: int) -> Score:
    """Return an objective with what real ones have: returns that diminish, an interaction, a part of noise."""

    def score(candidate: Candidate) -> float:
        values = pricer.space.values(candidate.point)
        capacity = math.log1p(20 * candidate.gmacs / pricer.limits.max_gflops) / math.log(21)
        widest = -(((values["width"] - 18) / 18) ** 2) * 0.15
        windows = sum(
            share * min(size, 7) / 7 for share, size in zip((0.02, 0.03, 0.05, 0.08), values["window"], strict=True)
        )
        coarse = 0.03 if values["window"][3] == 9 and values["window"][0] <= 5 else 0.0
        return 0.3 * capacity + widest + windows + coarse + random.Random(f"{seed}/{candidate.hash}").gauss(0, 0.005)

    return score


def misleading(pricer: Pricer, seed: int) -> Score:
    """Return an objective where multiply-accumulates mislead: the larger a net the worse, and windows decide."""

    def score(candidate: Candidate) -> float:
        values = pricer.space.values(candidate.point)
        windows = sum(
            share * min(size, 7) / 7 for share, size in zip((0.02, 0.03, 0.05, 0.08), values["window"], strict=True)
        )
        noise = random.Random(f"{seed}/{candidate.hash}").gauss(0, 0.005)
        return windows - 0.1 * math.log(candidate.gmacs) + noise

    return score


def objectives() -> list[Objective]:
    """Return the objectives."""
    with TABLE.open(newline="") as file:
        scores = {row["hash"]: float(row["dice"]) for row in csv.DictReader(file)}
    plans = [plan for _, plan in feasible_points()]
    missing = min((plan.deploy_macs for plan in plans if plan.hash not in scores), default=math.inf)
    # the most expensive net below the first missing one: nets that differ in small branches only cost the same
    costs = sorted(plan.deploy_macs / 1e9 for plan in plans if plan.deploy_macs < missing)
    middle = costs[len(costs) // 2]
    table = Space(load_spec(SPEC))
    parts = {
        "trained nets": Limits(max_gflops=costs[-1]),
        "their cheaper half": Limits(max_gflops=middle),
        "their dearer half": Limits(min_gflops=middle, max_gflops=costs[-1]),
    }
    found = [
        Objective(name, Pricer(table, limits), lambda seed: lambda one: scores[one.hash])
        for name, limits in parts.items()
    ]
    wide = Pricer(Space(load_spec("unet_lft")), Limits(max_gflops=8))
    return [
        *found,
        Objective("synthetic", wide, lambda seed: synthetic(wide, seed)),
        Objective("synthetic, larger is worse", wide, lambda seed: misleading(wide, seed)),
    ]


def drawn(pricer: Pricer, rng: random.Random) -> Iterator[Candidate]:
    """Yield random feasible nets, none twice."""
    seen: set[str] = set()
    missed = 0
    while missed < 3000:
        one = pricer.price(pricer.space.sample(rng))
        missed += 1
        if one.is_feasible and one.hash not in seen:
            seen.add(one.hash)
            missed = 0
            yield one


def at_random(pricer: Pricer, seed: int) -> Iterator[Candidate]:
    """Yield random feasible nets."""
    for one in drawn(pricer, random.Random(f"random/{seed}")):  # noqa: UP028 - the score is not passed on
        yield one


def largest_first(pricer: Pricer, seed: int) -> Iterator[Candidate]:
    """Yield the largest of 1,000 random feasible nets, the largest first."""
    rng = random.Random(f"largest/{seed}")
    pool = [one for one, _ in zip(drawn(pricer, rng), range(1000), strict=False)]
    for one in sorted(pool, key=lambda one: -one.gmacs):  # noqa: UP028 - a list has no send
        yield one


def neighbour(pricer: Pricer, one: Candidate, seen: set[str], rng: random.Random) -> Candidate:
    """Return a feasible net that nobody has trained, one knob away or, where that fails, further."""
    for attempt in range(2000):
        near = repaired(pricer, pricer.space.mutated(one.point, rng, 1 + attempt // 40), rng)
        if near is not None and near.hash not in seen:
            return near
    raise StopIteration


def local_search(pricer: Pricer, seed: int) -> Iterator[Candidate | None]:
    """Yield 5 random nets, then neighbours of the best."""
    rng = random.Random(f"local/{seed}")
    start, known = drawn(pricer, rng), dict[str, tuple[float, Candidate]]()
    for place in range(MOST):
        one = (
            next(start) if place < 5 else neighbour(pricer, max(known.values(), key=lambda e: e[0])[1], set(known), rng)
        )
        known[one.hash] = ((yield one), one)


def evolution(pricer: Pricer, seed: int) -> Iterator[Candidate | None]:
    """Yield what regularised evolution does (Real et al. 2019): of 5 of the youngest 12, the best is changed."""
    rng = random.Random(f"evolution/{seed}")
    start, seen, young = drawn(pricer, rng), set[str](), list[tuple[float, Candidate]]()
    for place in range(MOST):
        if place < 12:
            one = next(start)
        else:
            one = neighbour(pricer, max(rng.sample(young, 5), key=lambda each: each[0])[1], seen, rng)
        seen.add(one.hash)
        young = [*young, ((yield one), one)][-12:]


def ridge(pricer: Pricer, seed: int) -> Iterator[Candidate | None]:
    """Yield 5 random nets, then the best of 300 random ones by ridge regression on log-costs and knobs."""
    rng = random.Random(f"ridge/{seed}")
    pool, known = (
        [one for one, _ in zip(drawn(pricer, rng), range(300), strict=False)],
        list[tuple[list[float], float]](),
    )

    def features(one: Candidate) -> list[float]:
        return [1.0, math.log(one.gmacs), math.log(one.params), *one.point]

    scale = np.array([features(one) for one in pool]).std(0)
    scale[scale < 1e-9] = 1.0
    for place in range(min(MOST, len(pool))):
        if place >= 5:
            x, y = np.array([row for row, _ in known]) / scale, np.array([score for _, score in known])
            weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (y - y.mean()))
            pool.sort(key=lambda one: -float(np.array(features(one)) / scale @ weights))
        one = pool.pop(0)
        known.append((features(one), (yield one)))


class _Memory:
    """As much of a ledger as ``Candidates`` needs, in memory; without the spec's own net as the start."""

    def __init__(self) -> None:
        self.space, self.trials, self.known = self, [], set()
        self.start = None

    def taken(self) -> set[str]:
        return self.known

    def unfinished(self) -> list[object]:
        return []

    def is_busy_elsewhere(self, candidate: Candidate) -> bool:
        return False


def lmnet_search(sampler: str) -> Way:
    """Return what ``lmnet-search`` does with one worker."""

    def way(pricer: Pricer, seed: int) -> Iterator[Candidate | None]:
        ledger = _Memory()
        proposer = Proposer(pricer.space, sampler=sampler, seed=seed, session=0)
        candidates = Candidates(pricer, proposer, ledger, seed=seed)
        while (found := candidates.next()) is not None:
            one, trial = found
            ledger.known.add(one.hash)
            proposer.begin(one.hash, one.point, one.violations, trial)
            proposer.finish(one.hash, (yield one))

    return way


WAYS: dict[str, Way] = {
    "lmnet-search": lmnet_search("model"),
    "random": at_random,
    "largest first": largest_first,
    "local search": local_search,
    "ridge regression": ridge,
    "evolution": evolution,
    "Optuna TPE": lmnet_search("tpe"),
    "Optuna GP": lmnet_search("gp"),
}


def needed(way: Way, objective: Objective, seed: int) -> tuple[int, float]:
    """Return after how many trials a way reaches the best of 200 random nets, 61 where it does not in 60, and CPU s."""
    score = objective.score_of(seed)
    target = max(
        score(one)
        for one, _ in zip(drawn(objective.pricer, random.Random(f"target/{seed}")), range(RANDOM), strict=False)
    )
    began = time.process_time()
    course = way(objective.pricer, seed)
    given = None
    for place in range(1, MOST + 1):
        try:
            one = course.send(given) if given is not None else next(course)
        except (StopIteration, RuntimeError):
            break
        given = score(one)
        if given >= target:
            return place, time.process_time() - began
    return MOST + 1, time.process_time() - began


def fidelity() -> list[str]:
    """Return the rank correlation of the table's scores after some epochs, and of costs, with its final scores."""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    final = [float(row["dice"]) for row in rows]
    names = [*(f"dice_epoch{epoch}" for epoch in (2, 4, 6, 8, 10, 12)), "gmacs", "params"]
    return [f"| {name} | {spearmanr([float(row[name]) for row in rows], final)[0]:.2f} |" for name in names]


def main() -> None:
    """Compare and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY", help=", ".join(WAYS)
    )
    args = parser.parse_args()
    rows = []
    for objective in objectives():
        for name in args.ways:
            for seed in range(args.repeats):
                trials, seconds = needed(WAYS[name], objective, seed)
                rows.append(
                    {
                        "objective": objective.name,
                        "way": name,
                        "seed": seed,
                        "trials": trials,
                        "cpu_s": round(seconds, 3),
                    }
                )
            wanted = sorted(row["trials"] for row in rows[-args.repeats :])
            print(f"{objective.name}, {name}: median {statistics.median(wanted)}", flush=True)
    with (HERE / f"{NAME}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (HERE / f"{NAME}.md").write_text(render(rows, args.repeats), encoding="utf-8")


def render(rows: list[dict[str, object]], repeats: int) -> str:
    """Return the page: medians with quartiles, and the correlations."""
    names = list(dict.fromkeys(row["objective"] for row in rows))
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = [
        "# Ways of searching, compared",
        "",
        f"Written by `python benchmarks/search_bench.py --repeats {repeats}`. {describe_machine()}. Trials until a way "
        f"reaches the best of {RANDOM} random nets (of the trained nets: of all): median [quartiles] of {repeats} "
        f'repeats; {MOST + 1} stands for "not within {MOST}". CPU ms are of one proposal, pricing included.',
        "",
        f"| way | {' | '.join(names)} | CPU ms |",
        f"|---|{'---|' * (len(names) + 1)}",
    ]
    for way in ways:
        cells = []
        mine = [row for row in rows if row["way"] == way]
        for name in names:
            low, middle, high = statistics.quantiles([row["trials"] for row in mine if row["objective"] == name], n=4)
            cells.append(f"{middle:.0f} [{low:.0f}, {high:.0f}]")
        spent = 1000 * sum(row["cpu_s"] for row in mine) / sum(min(MOST, row["trials"]) for row in mine)
        lines.append(f"| {way} | {' | '.join(cells)} | {spent:.0f} |")
    lines += ["", "Rank correlation (Spearman) with the final score over the trained nets, one seed:", ""]
    return "\n".join([*lines, "| of | correlation |", "|---|---|", *fidelity(), ""])


if __name__ == "__main__":
    main()
