"""How fast ways of searching find a good net, on objectives that cost nothing to ask.

    OMP_NUM_THREADS=1 python benchmarks/search_bench.py --repeats 50

Objectives: a model of the really trained nets of search_table.py, with the noise of a seed; its halves by cost; a
synthetic objective with what real ones have (returns that diminish, an interaction, noise), and one where larger nets
score worse. A way of searching sees noisy scores. It is judged by the true ones: after how many trials, and how much
CPU time of training and proposing, it has trained a net as good as the best of 200 random ones, and by how much the
net that it would hand back after 20, 40 and 60 trials is worse than that. Writes search_bench.csv and search_bench.md
beside itself.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from search_objectives import Objective, Trained, objectives, read_table
from search_table import FULL
from search_ways import MOST, POOLS, WAYS, Way, drawn, pool_of
from table_plan import FULL_SEEDS, table_pricer

from lmnet.search.nets.pricing import Candidate
from lmnet.training.export.benchmark import describe_machine

HERE = Path(__file__).parent
NAME = "search_bench"
RANDOM = 200
BUDGETS = (20, 40, 60)
FINALISTS = (2, 3, 5)
SIMPLE = ("random", "largest first", "local search", "ridge regression")
"""These take most of a minute a repeat."""
Correlation = Callable[[Sequence[float], Sequence[float], Sequence[float]], float]
"""Of x and y, given a third."""


@dataclass
class Course:
    """What a way of searching did.

    Args:
        objective: that was searched.
        target: true score of the best of 200 random nets.
        nets: that were trained, in order.
        seen: their scores.
        true: their scores without noise.
        cpu_s: CPU seconds of each proposal.
    """

    objective: Objective
    target: float
    nets: list[Candidate] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    true: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @property
    def trials(self) -> int:
        """Trials until a net was as good as the target; one more than there are where none was."""
        return next((place for place, true in enumerate(self.true, 1) if true >= self.target), MOST + 1)

    @property
    def seconds(self) -> float | None:
        """CPU seconds of these trials and their proposals."""
        if self.objective.train_s is None:
            return None
        return sum(map(self.objective.train_s, self.nets[: self.trials])) + sum(self.cpu_s[: self.trials])

    def regret(self, trials: int) -> float:
        """Return by how much the net of the highest score seen is worse than the target."""
        return self.target - self.true[int(np.argmax(self.seen[:trials]))]

    def confirmed_regret(self, trials: int, finalists: int, seed: int, *, seeds: int = 3) -> float:
        """Return the same where the last of so many trials are further seeds of the nets with the highest scores."""
        left = trials - finalists * seeds
        top = np.argsort([-score for score in self.seen[:left]])[:finalists].tolist()
        again = [[self.objective.seen(self.nets[place], f"{seed}/{n}") for n in range(seeds)] for place in top]
        return self.target - self.true[top[int(np.argmax(np.mean(again, axis=1)))]]


def follow(way: Way, objective: Objective, seed: int) -> Course:
    """Return how a way of searching fares."""
    pool_of(objective.pricer, seed)  # made here, as it is in no way's time
    others = drawn(objective.pricer, random.Random(f"target/{seed}"), seed + 1)  # not the pool that the rules have
    target = max(objective.true(list(itertools.islice(others, RANDOM))))
    asked, course = way(objective.pricer, seed), Course(objective, target)
    for _ in range(MOST):
        began = time.process_time()
        try:
            one = asked.send(course.seen[-1]) if course.seen else next(asked)
        except (StopIteration, RuntimeError):
            break
        course.cpu_s.append(time.process_time() - began)
        course.nets.append(one)
        course.seen.append(objective.seen(one, seed))
        course.true.append(objective.true([one])[0])
    return course


def fidelity() -> list[str]:
    """Return the rank correlations of what is known early with the final score, and the ceiling that noise sets."""
    rows = read_table()
    first = [each[0] for each in rows.values()]
    final = [float(row["dice"]) for row in first]
    twice = [each for each in rows.values() if len(each) > 1]
    again = spearmanr(*([float(each[seed]["dice"]) for each in twice] for seed in (0, 1)))[0]
    other = [statistics.mean(float(row["dice"]) for row in each[1:]) for each in twice]
    costs = [math.log(float(each[0]["gmacs"])) for each in twice]
    lines = [
        f"| the other seed, end | {again:.2f} | {partial([float(e[0]['dice']) for e in twice], other, costs):.2f} |"
    ]
    for epoch in (4, 7, 10, 13, 16, 20):
        early = [float(each[0][f"dice_epoch{epoch}"]) for each in twice]
        lines.append(f"| epoch {epoch} | {spearmanr(early, other)[0]:.2f} | {partial(early, other, costs):.2f} |")
    for name in ("gmacs", "params"):
        lines.append(f"| {name} | {spearmanr([float(row[name]) for row in first], final)[0]:.2f} | |")
    return lines


def full_fidelity() -> list[str]:
    """Return what the short trainings of some nets, and their costs, say of longer ones of the same nets."""
    short, full = read_table(), {key: rows for key, rows in read_table(FULL).items() if len(rows) == len(FULL_SEEDS)}
    ends = np.array([[float(row["dice"]) for row in rows] for rows in full.values()])
    costs = np.log([float(rows[0]["gmacs"]) for rows in full.values()])
    picks = np.random.default_rng(0).integers(len(ends), size=(2000, len(ends)))

    def line(name: str, early: np.ndarray, late: np.ndarray, ways: tuple[Correlation, ...] = (plain, partial)) -> str:
        """Return a row; early and late are (nets, seeds), and every early seed is set beside the mean of the late."""

        def found(way: Correlation, nets: np.ndarray) -> float:
            return statistics.mean(way(one, late[nets].mean(1), costs[nets]) for one in early[nets].T)

        cells = ["", ""]
        for place, way in enumerate(ways):
            low, high = np.nanpercentile([found(way, nets) for nets in picks], [2.5, 97.5])
            cells[place] = f"{found(way, np.arange(len(ends))):.2f} [{low:.2f}, {high:.2f}]"
        return f"| {name} | {' | '.join(cells)} |"

    def at(column: str) -> np.ndarray:
        return np.array([[float(short[key][seed][column]) for seed in (0, 1)] for key in full])

    again, twice = (float(spearmanr(*scores.T)[0]) for scores in (at("dice"), ends))
    ceiling = math.sqrt(again * 2 * twice / (1 + twice))
    return [
        f"{len(ends)} nets of the table were trained with two other seeds in 3.5 times as many steps "
        f"(`search_table.py --full`: {FULL.epochs} epochs on the 700 images that do not score). Rank correlation of "
        "what is known early with the mean of these two, 95 % interval by bootstrap over nets. The seeds' noise allows "
        f"{ceiling:.2f}: the root of {again:.2f}, between the two short training runs, times {twice:.2f} between the "
        "two full ones, the latter as for the mean of two.",
        "",
        "| of | correlation | given GMACs |",
        "|---|---|---|",
        line("the search's score: mean of the last third of the epochs", at("dice"), ends),
        *(line(f"epoch {epoch}", at(f"dice_epoch{epoch}"), ends) for epoch in (4, 7, 10, 13, 16, 20)),
        line("gmacs", costs[:, None], ends, (plain,)),
        line("a full training with the other seed", ends[:, :1], ends[:, 1:]),
    ]


def plain(x: Sequence[float], y: Sequence[float], given: Sequence[float]) -> float:
    """Return the rank correlation of x and y."""
    return float(spearmanr(x, y)[0])


def partial(x: Sequence[float], y: Sequence[float], given: Sequence[float]) -> float:
    """Return the rank correlation of x and y, what both share with a third taken away."""
    xy, xz, yz = (plain(*pair, given) for pair in ((x, y), (x, given), (y, given)))
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(rest) if rest else math.nan


def main() -> None:
    """Compare and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    text = f"{', '.join(WAYS)} (default: all; of others the last rows are kept)"
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY", help=text)
    args = parser.parse_args()
    rows = []
    for objective in objectives():
        for name in args.ways:
            mine = [row_of(name, follow(WAYS[name], objective, seed), seed) for seed in range(args.repeats)]
            median, regret = (statistics.median(row[key] for row in mine) for key in ("trials", "regret_40"))
            print(f"{objective.name}, {name}: median {median} trials, regret after 40 {regret:.4f}", flush=True)
            rows += mine
    others = [row for row in read_csv(HERE / f"{NAME}.csv") if row["way"] not in args.ways]
    rows = sorted([*rows, *others], key=lambda row: list(WAYS).index(row["way"]))
    with (HERE / f"{NAME}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (HERE / f"{NAME}.md").write_text(render(rows), encoding="utf-8")


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Return the rows of results that were written before; none where there is no file."""
    if not path.exists():
        return []

    def value(text: str) -> object:
        try:
            return int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError:
            return text or None

    with path.open(newline="") as file:
        return [{key: value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def row_of(name: str, course: Course, seed: int) -> dict[str, object]:
    """Return a course as a row of the results."""
    seconds = course.seconds
    return {
        "objective": course.objective.name,
        "way": name,
        "seed": seed,
        "trials": course.trials,
        "cpu_s": None if seconds is None else round(seconds),
        **{f"regret_{trials}": round(course.regret(trials), 5) for trials in BUDGETS},
        **{f"confirmed_{n}": round(course.confirmed_regret(BUDGETS[1], n, seed), 5) for n in FINALISTS},
        "cpu_ms": round(1000 * statistics.mean(course.cpu_s), 2),
    }


def render(rows: list[dict[str, object]]) -> str:
    """Return the page: medians with quartiles, and the correlations."""
    names = list(dict.fromkeys(row["objective"] for row in rows))
    trained, table = Trained.read(table_pricer()), read_table()
    means = statistics.stdev(trained.scores.tolist())
    counts = {way: len({row["seed"] for row in rows if row["way"] == way}) for way in {row["way"] for row in rows}}
    most = max(counts.values())
    fewer = "".join(f", {count} of {way}" for way, count in counts.items() if count < most)
    lines = [
        "# Ways of searching, compared",
        "",
        f"Written by `python benchmarks/search_bench.py`. {describe_machine()}. {most} repeats{fewer}.",
        "",
        f"The table (`search_table.py`) has {len(table)} nets, {sum(len(each) > 1 for each in table.values())} of them "
        f"with two seeds. Deviation of the nets' scores {means:.4f}, of a seed {trained.noise:.4f}: a ratio of "
        f"{means / trained.noise:.1f}. The model of the table ranks nets that it has not seen with a Spearman "
        f"correlation of {trained.check():.2f} (ten parts).",
        "",
        "## Trials until a net is as good as the best of 200 random ones",
        "",
        f'Median [quartiles]; {MOST + 1} stands for "not within {MOST}". CPU ms are of one proposal, pricing included, '
        "in the mean over a search: the first of `lmnet-search` takes longer than the others.",
        "",
        *grid(rows, names, "trials", "{:.0f}"),
        "",
        "The search beside the best simple rule, the one of the lowest mean: trials in the mean, and their ratio with "
        f"its 95 % interval by bootstrap over the {POOLS} pools of nets that the repeats share. Target: at most 0.67.",
        "",
        *beside_simple(rows, names),
        "",
        "## CPU time until then",
        "",
        f"CPU seconds of these trials and their proposals. A training takes {trained.seconds[0]:.0f} s and "
        f"{trained.seconds[1] / 10:.0f} s more for each 0.1 GMACs (a line through the table's `train_s`, on a machine "
        "with other work).",
        "",
        *grid(rows, names[:3], "cpu_s", "{:.0f}"),
        "",
        "## Regret",
        "",
        "By how much the net of the highest seen score, after 40 trials, is truly worse than the best of 200 random "
        "ones (below 0: better). Median [quartiles], in points of Dice (0.01).",
        "",
        *grid(rows, names, "regret_40", "{:.2f}", 100),
        "",
        "## What to hand back",
        "",
        "The same regret of `lmnet-search` after 40 training runs in all: by the highest score of 40 trials, or of "
        "fewer trials whose best nets are trained three more times.",
        "",
        *handing_back(rows, names),
        "",
        "## What early scores tell",
        "",
        "Rank correlation (Spearman) with the final score of **another** seed over the nets with two seeds, and the "
        "same given the logarithm of GMACs. The first row is the ceiling that the noise of a seed sets. Costs: over "
        "nets.",
        "",
        "| of | correlation | given GMACs |",
        "|---|---|---|",
        *fidelity(),
        "",
        "## What they tell of full training",
        "",
        *full_fidelity(),
        "",
    ]
    return "\n".join(lines)


def beside_simple(rows: list[dict[str, object]], names: list[str]) -> list[str]:
    """Return a table of the search's mean trials over those of the best simple rule; intervals are over pools."""
    rng = np.random.default_rng(0)
    lines = ["| objective | lmnet-search | best simple rule | ratio |", "|---|---|---|---|"]
    for name in names:
        found: dict[str, np.ndarray] = {}  # mean of each pool's repeats
        for way in ("lmnet-search", *SIMPLE):
            mine = [row for row in rows if row["way"] == way and row["objective"] == name]
            pools = [[row["trials"] for row in mine if row["seed"] % POOLS == pool] for pool in range(POOLS)]
            found[way] = np.array([statistics.mean(each) for each in pools if each])
        best = min(SIMPLE, key=lambda way: found[way].mean())
        ours, simple = found["lmnet-search"], found[best]
        picked = rng.integers(len(ours), size=(4000, len(ours)))
        low, high = np.percentile(ours[picked].mean(1) / simple[picked].mean(1), [2.5, 97.5])
        ratio = f"{ours.mean() / simple.mean():.2f} [{low:.2f}, {high:.2f}]"
        lines.append(f"| {name} | {ours.mean():.1f} | {best} {simple.mean():.1f} | {ratio} |")
    return lines


def handing_back(rows: list[dict[str, object]], names: list[str]) -> list[str]:
    """Return a table of what the search may hand back."""
    rules = {f"highest score of {BUDGETS[1]} trials": f"regret_{BUDGETS[1]}"}
    rules |= {f"best {n} of {BUDGETS[1] - 3 * n} trials, 3 more seeds each": f"confirmed_{n}" for n in FINALISTS}
    lines = [f"| rule | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for rule, key in rules.items():
        mine = [row for row in rows if row["way"] == "lmnet-search"]
        cells = [quartiles([row[key] for row in mine if row["objective"] == name], "{:.2f}", 100) for name in names]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return lines


def quartiles(values: list[float], form: str, scale: float = 1) -> str:
    """Return median and quartiles."""
    low, middle, high = (form.format(scale * each) for each in statistics.quantiles(values, n=4))
    return f"{middle} [{low}, {high}]"


def grid(rows: list[dict[str, object]], names: list[str], key: str, form: str, scale: float = 1) -> list[str]:
    """Return a table of ways and objectives."""
    lines = [f"| way | {' | '.join(names)} | CPU ms |", f"|---|{'---|' * (len(names) + 1)}"]
    for way in dict.fromkeys(row["way"] for row in rows):
        mine = [row for row in rows if row["way"] == way]
        cells = [quartiles([row[key] for row in mine if row["objective"] == name], form, scale) for name in names]
        lines.append(f"| {way} | {' | '.join(cells)} | {statistics.mean(row['cpu_ms'] for row in mine):.0f} |")
    return lines


if __name__ == "__main__":
    main()
