"""How fast ways of searching find a good net, on objectives that cost nothing to ask.

    python benchmarks/search_bench.py --repeats 50

Objectives: a model of the really trained nets of search_table.py, with the noise of a seed; its halves by cost; a
synthetic objective with what real ones have (returns that diminish, an interaction, noise), and one where larger nets
score worse. A way of searching sees noisy scores. It is judged by the true ones: after how many trials it has trained a
net as good as the best of 200 random ones, and by how much the net that it would hand back after 20, 40 and 60 trials
is worse than that. Writes search_bench.csv and search_bench.md beside itself.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from search_table import MAX_GFLOPS, MIN_GFLOPS, TABLE, drawn_nets, table_pricer
from search_ways import MOST, WAYS, Way, drawn
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LinearRegression

from lmnet.builder.benchmark import describe_machine
from lmnet.builder.spec import load_spec
from lmnet.search.limits import Limits
from lmnet.search.pricing import Candidate, Pricer
from lmnet.search.space import Space

HERE = Path(__file__).parent
NAME = "search_bench"
RANDOM = 200
BUDGETS = (20, 40, 60)
Score = Callable[[Candidate], float]


@dataclass(frozen=True)
class Objective:
    """Something to search.

    Args:
        name: for the tables.
        pricer: of its space and limits.
        true: scores of nets without noise.
        noise: deviation of a seed.
    """

    name: str
    pricer: Pricer
    true: Callable[[list[Candidate]], list[float]]
    noise: float

    def seen(self, one: Candidate, seed: int) -> float:
        """Return the score of one training."""
        return self.true([one])[0] + random.Random(f"{seed}/{one.hash}").gauss(0, self.noise)


def windows_of(values: dict) -> float:
    """Return what the synthetic objectives give for windows."""
    return sum(share * min(size, 7) / 7 for share, size in zip((0.02, 0.03, 0.05, 0.08), values["window"], strict=True))


def synthetic(pricer: Pricer) -> Score:
    """Return an objective with what real ones have: returns that diminish, and an interaction."""

    def score(one: Candidate) -> float:
        values = pricer.space.values(one.point)
        capacity = math.log1p(20 * one.gmacs / pricer.limits.max_gflops) / math.log(21)
        widest = -(((values["width"] - 18) / 18) ** 2) * 0.15
        coarse = 0.03 if values["window"][3] == 9 and values["window"][0] <= 5 else 0.0
        return 0.3 * capacity + widest + windows_of(values) + coarse

    return score


def misleading(pricer: Pricer) -> Score:
    """Return an objective where multiply-accumulates mislead: the larger a net the worse, and windows decide."""
    return lambda one: windows_of(pricer.space.values(one.point)) - 0.1 * math.log(one.gmacs)


def each(score: Score) -> Callable[[list[Candidate]], list[float]]:
    """Return a score of one net as one of several."""
    return lambda nets: [score(one) for one in nets]


@dataclass
class Trained:
    """The table: every trained net's mean score, and what they say of others.

    Args:
        nets: of the table.
        scores: mean over seeds.
        noise: deviation of a seed.
    """

    nets: list[Candidate]
    scores: np.ndarray
    noise: float

    @classmethod
    def read(cls, pricer: Pricer) -> Trained:
        """Read the table."""
        rows, drawn_for_it = read_table(), {one.hash: one for one in drawn_nets(pricer)}
        scores = [statistics.mean(float(row["dice"]) for row in each) for each in rows.values()]
        return cls([drawn_for_it[hash_] for hash_ in rows], np.array(scores), seed_noise(rows))

    def features(self, nets: list[Candidate]) -> np.ndarray:
        """Return log-costs and knobs."""
        return np.array([[math.log(one.gmacs), math.log(one.params), *one.point] for one in nets])

    def model(self, picked: list[int]) -> Callable[[list[Candidate]], np.ndarray]:
        """Return a model of the scores: a line in the logarithms of the costs, and trees for what it leaves."""
        x, y = self.features([self.nets[index] for index in picked]), self.scores[picked]
        line = LinearRegression().fit(x[:, :2], y)
        trees = ExtraTreesRegressor(100, min_samples_leaf=3, max_features=0.5, random_state=0, n_jobs=1)
        trees.fit(x, y - line.predict(x[:, :2]))

        def predict(nets: list[Candidate]) -> np.ndarray:
            new = self.features(nets)
            return line.predict(new[:, :2]) + trees.predict(new)

        return predict

    def check(self) -> float:
        """Return the rank correlation of scores with what the model of the other nets says, in ten parts."""
        said = np.empty(len(self.nets))
        for part in range(10):
            mine = list(range(part, len(self.nets), 10))
            others = [index for index in range(len(self.nets)) if index % 10 != part]
            said[mine] = self.model(others)([self.nets[index] for index in mine])
        return float(spearmanr(said, self.scores)[0])


def read_table() -> dict[str, list[dict[str, str]]]:
    """Return the table's rows by net."""
    rows: dict[str, list[dict[str, str]]] = {}
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["hash"], []).append(row)
    return rows


def seed_noise(rows: dict[str, list[dict[str, str]]], column: str = "dice") -> float:
    """Return the deviation of a seed, from the nets that were trained twice."""
    twice = [[float(row[column]) for row in each] for each in rows.values() if len(each) > 1]
    return math.sqrt(statistics.mean(map(statistics.variance, twice)))


def objectives() -> list[Objective]:
    """Return the objectives."""
    space = table_pricer().space
    trained = Trained.read(table_pricer())
    said = trained.model(list(range(len(trained.nets))))
    known: dict[str, float] = {}

    def score(nets: list[Candidate]) -> list[float]:
        new = {one.hash: one for one in nets if one.hash not in known}
        if new:
            known.update(zip(new, said(list(new.values())).tolist(), strict=True))
        return [known[one.hash] for one in nets]

    middle = math.sqrt(MIN_GFLOPS * MAX_GFLOPS)
    parts = {
        "trained nets": Limits(min_gflops=MIN_GFLOPS, max_gflops=MAX_GFLOPS),
        "their cheaper half": Limits(min_gflops=MIN_GFLOPS, max_gflops=middle),
        "their dearer half": Limits(min_gflops=middle, max_gflops=MAX_GFLOPS),
    }
    wide = Pricer(Space(load_spec("unet_lft")), Limits(max_gflops=8))
    return [
        *(Objective(name, Pricer(space, limits), score, trained.noise) for name, limits in parts.items()),
        Objective("synthetic", wide, each(synthetic(wide)), 0.005),
        Objective("synthetic, larger is worse", wide, each(misleading(wide)), 0.005),
    ]


@dataclass(frozen=True)
class Course:
    """What a way of searching came to.

    Args:
        trials: until it had trained a net as good as the best of 200 random ones; 61 where it had not in 60.
        regrets: by how much the net of the highest seen score is worse than that one, after 20, 40 and 60 trials.
        cpu_ms: of one proposal.
    """

    trials: int
    regrets: list[float]
    cpu_ms: float


def follow(way: Way, objective: Objective, seed: int) -> Course:
    """Return how a way of searching fares."""
    rng = random.Random(f"target/{seed}")
    target = max(objective.true([one for one, _ in zip(drawn(objective.pricer, rng), range(RANDOM), strict=False)]))
    course, given = way(objective.pricer, seed), None
    reached, handed, seen, spent, regrets = MOST + 1, 0.0, -math.inf, 0.0, []
    for place in range(1, MOST + 1):
        began = time.process_time()
        try:
            one = course.send(given) if given is not None else next(course)
        except (StopIteration, RuntimeError):
            break
        spent += time.process_time() - began
        given, true = objective.seen(one, seed), objective.true([one])[0]
        if true >= target:
            reached = min(reached, place)
        if given > seen:
            seen, handed = given, true
        if place in BUDGETS:
            regrets.append(target - handed)
    regrets += [target - handed] * (len(BUDGETS) - len(regrets))
    return Course(reached, regrets, 1000 * spent / place)


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


def partial(x: list[float], y: list[float], given: list[float]) -> float:
    """Return the rank correlation of x and y, what both share with a third taken away."""
    xy, xz, yz = (float(spearmanr(*pair)[0]) for pair in ((x, y), (x, given), (y, given)))
    return (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))


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
                course = follow(WAYS[name], objective, seed)
                regrets = {f"regret_{n}": round(r, 5) for n, r in zip(BUDGETS, course.regrets, strict=True)}
                row = {"objective": objective.name, "way": name, "seed": seed, "trials": course.trials, **regrets}
                rows.append({**row, "cpu_ms": round(course.cpu_ms, 2)})
            mine = rows[-args.repeats :]
            median, regret = (statistics.median(row[key] for row in mine) for key in ("trials", "regret_40"))
            print(f"{objective.name}, {name}: median {median} trials, regret after 40 {regret:.4f}", flush=True)
    with (HERE / f"{NAME}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (HERE / f"{NAME}.md").write_text(render(rows, args.repeats), encoding="utf-8")


def render(rows: list[dict[str, object]], repeats: int) -> str:
    """Return the page: medians with quartiles, and the correlations."""
    names = list(dict.fromkeys(row["objective"] for row in rows))
    trained, table = Trained.read(table_pricer()), read_table()
    means = statistics.stdev(trained.scores.tolist())
    lines = [
        "# Ways of searching, compared",
        "",
        f"Written by `python benchmarks/search_bench.py --repeats {repeats}`. {describe_machine()}. {repeats} repeats.",
        "",
        f"The table (`search_table.py`) has {len(table)} nets, {sum(len(each) > 1 for each in table.values())} of them "
        f"with two seeds. Deviation of the nets' scores {means:.4f}, of a seed {trained.noise:.4f}: a ratio of "
        f"{means / trained.noise:.1f}. The model of the table ranks nets that it has not seen with a Spearman "
        f"correlation of {trained.check():.2f} (ten parts).",
        "",
        "## Trials until a net is as good as the best of 200 random ones",
        "",
        f'Median [quartiles]; {MOST + 1} stands for "not within {MOST}". CPU ms are of one proposal, pricing included.',
        "",
        *grid(rows, names, "trials", "{:.0f}"),
        "",
        "## Regret",
        "",
        "By how much the net of the highest seen score, after 40 trials, is truly worse than the best of 200 random "
        "ones (below 0: better). Median [quartiles], in points of Dice (0.01).",
        "",
        *grid(rows, names, "regret_40", "{:.2f}", 100),
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
    ]
    return "\n".join(lines)


def grid(rows: list[dict[str, object]], names: list[str], key: str, form: str, scale: float = 1) -> list[str]:
    """Return a table of ways and objectives."""
    lines = [f"| way | {' | '.join(names)} | CPU ms |", f"|---|{'---|' * (len(names) + 1)}"]
    for way in dict.fromkeys(row["way"] for row in rows):
        mine, cells = [row for row in rows if row["way"] == way], []
        for name in names:
            found = [scale * row[key] for row in mine if row["objective"] == name]
            low, middle, high = (form.format(each) for each in statistics.quantiles(found, n=4))
            cells.append(f"{middle} [{low}, {high}]")
        lines.append(f"| {way} | {' | '.join(cells)} | {statistics.mean(row['cpu_ms'] for row in mine):.0f} |")
    return lines


if __name__ == "__main__":
    main()
