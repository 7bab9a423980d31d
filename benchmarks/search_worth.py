"""Is the search worth it? How many trials the default search needs to reach the best of 60 random feasible trials.

Two objectives that cost nothing to ask: a synthetic one on the space of zoo/unet_lft.yaml under 8 G
multiply-accumulates, and the table of really trained nets that search_table.py made. Random feasible trials are drawn
without repeats, each repeat with its own seed; the search goes without its first trial, the spec's own net. Writes
search_worth.csv and search_worth.svg beside itself.

    python benchmarks/search_worth.py --repeats 20
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import statistics
from pathlib import Path

from search_table import SPEC, TABLE, feasible_points

from lmnet.builder.spec import load_spec
from lmnet.search.limits import Limits
from lmnet.search.pricing import Pricer
from lmnet.search.propose.proposer import Proposer
from lmnet.search.space import Space

HERE = Path(__file__).parent
RANDOM, MOST = 60, 60


def synthetic(pricer, seed):
    """Return a true objective with what real ones have: returns that diminish, an interaction, a part of noise."""

    def score(candidate):
        values = pricer.space.values(candidate.point)
        capacity = math.log1p(20 * candidate.gmacs / pricer.limits.max_gflops) / math.log(21)
        widest = -(((values["width"] - 18) / 18) ** 2) * 0.15
        windows = sum(
            share * min(size, 7) / 7 for share, size in zip((0.02, 0.03, 0.05, 0.08), values["window"], strict=True)
        )
        coarse = 0.03 if values["window"][3] == 9 and values["window"][0] <= 5 else 0.0
        return 0.3 * capacity + widest + windows + coarse + random.Random(f"{seed}/{candidate.hash}").gauss(0, 0.005)

    return score


def tabled(table):
    """Return the trained nets' Dice by architecture, and the limit up to which the table has every net."""
    with table.open(newline="") as file:
        scores = {row["hash"]: float(row["dice"]) for row in csv.DictReader(file)}
    plans = [plan for _, plan in feasible_points()]
    missing = min((plan.deploy_macs for plan in plans if plan.hash not in scores), default=math.inf)
    # the most expensive net below the first missing one: nets that differ in small branches only cost the same
    return scores, max(plan.deploy_macs for plan in plans if plan.deploy_macs < missing) / 1e9


def random_best(pricer, score, seed):
    """Return the best score of 60 random feasible trials without repeats, and the course to it."""
    rng, seen, course = random.Random(f"random/{seed}"), set(), []
    while len(course) < RANDOM:
        candidate = pricer.price(pricer.space.sample(rng))
        if candidate.is_feasible and candidate.hash not in seen:
            seen.add(candidate.hash)
            course.append(max([score(candidate), *course[-1:]]))
    return course


class _Spaced:
    """A space without its start: the table's start happens to be one of its best nets, which would prove nothing."""

    start = None


class _Memory:
    """As much of a ledger as ``Candidates`` needs, in memory."""

    def __init__(self):
        self.space, self.trials, self.known = _Spaced, [], set()

    def taken(self):
        return self.known

    def unfinished(self):
        return []

    def is_busy_elsewhere(self, candidate):
        return False

    def record_infeasible(self, candidate):
        return -1


def search(pricer, score, seed, sampler):
    """Return the best score after each trial of the search that ``lmnet-search`` does with one worker."""
    from lmnet.search.propose.candidates import Candidates

    ledger = _Memory()
    proposer = Proposer(pricer.space, sampler=sampler, seed=seed, session=0)
    candidates = Candidates(pricer, proposer, ledger, seed=seed)
    course = []
    while len(course) < MOST:
        candidate, trial = candidates.next()
        ledger.known.add(candidate.hash)
        key = str(len(course))
        proposer.begin(key, candidate.point, candidate.violations, trial)
        found = score(candidate)
        proposer.finish(key, found)
        course.append(max([found, *course[-1:]]))
    return course


def needed(course, target):
    """Return after how many trials a course reaches a score; one more than its length where it does not."""
    return next((place for place, score in enumerate(course, 1) if score >= target), len(course) + 1)


def compare(name, pricer, score_of, repeats, sampler):
    """Run the repeats of one objective; return a row for each, and the courses."""
    rows, courses = [], []
    for seed in range(repeats):
        score = score_of(seed)
        by_chance, course = random_best(pricer, score, seed), search(pricer, score, seed, sampler)
        row = {"objective": name, "sampler": sampler, "seed": seed, "best_of_60_random": by_chance[-1]}
        rows.append(row | {"trials_needed": needed(course, by_chance[-1]), "best_of_30": course[29]})
        courses.append((by_chance, course))
    wanted = sorted(row["trials_needed"] for row in rows)
    print(f"{name}, {sampler}: median {statistics.median(wanted)}, quarter {wanted[len(wanted) // 4]}, "
          f"three quarters {wanted[3 * len(wanted) // 4]}, most {wanted[-1]}", flush=True)  # fmt: skip
    return rows, courses


def plot(panels, file):
    """Draw the median course of search and random trials, with their quartiles."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 4), squeeze=False)
    for axis, (title, courses) in zip(axes[0], panels.items(), strict=True):
        for label, index, colour in (("random", 0, "#8c959f"), ("lmnet-search", 1, "#0969da")):
            columns = list(zip(*(course[index] for course in courses), strict=True))
            places = range(1, len(columns) + 1)
            axis.plot(places, [statistics.median(column) for column in columns], color=colour, label=label)
            low, _, high = zip(*(statistics.quantiles(column) for column in columns), strict=True)
            axis.fill_between(places, low, high, color=colour, alpha=0.2)
        axis.axvline(30, color="#d4570a", linestyle=":")
        axis.set(title=title, xlabel="feasible trials", ylabel="best score")
        axis.legend()
    figure.tight_layout()
    figure.savefig(file)


def main():
    """Compare on both objectives and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--sampler", action="append", help="(default: tpe, the search's default)")
    args = parser.parse_args()
    scores, most = tabled(TABLE)
    spaces = {
        "trained nets (Kvasir, 64 px)": (
            Pricer(Space(load_spec(SPEC)), Limits(max_gflops=most)),
            lambda seed: lambda candidate: scores[candidate.hash],
        )
    }
    pricer = Pricer(Space(load_spec("unet_lft")), Limits(max_gflops=8))
    spaces["synthetic objective (unet_lft)"] = (pricer, lambda seed: synthetic(pricer, seed))
    rows, panels = [], {}
    for sampler in args.sampler or ["tpe"]:
        for name, (priced, score_of) in spaces.items():
            more, courses = compare(name, priced, score_of, args.repeats, sampler)
            rows += more
            if sampler == "tpe":
                panels[name] = courses
    if not args.sampler:
        with (HERE / "search_worth.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        plot(panels, HERE / "search_worth.svg")


if __name__ == "__main__":
    main()
