"""What search_bench.py searches: a model of the trained nets of search_table.py, its halves, and synthetic scores."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from search_table import SHORT, Plan
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LinearRegression
from table_plan import KVASIR, MAX_GFLOPS, MIN_GFLOPS, SPEC, drawn_nets, read_rows, table_pricer

from lmnet.builder.spec import load_spec
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Candidate, Pricer
from lmnet.search.nets.space import Space

WITHOUT_KERNELS = 45
"""So many first rows of the table took longer, without compiled kernels."""
Score = Callable[[Candidate], float]


@dataclass(frozen=True)
class Objective:
    """Something to search.

    Args:
        name: for the tables.
        pricer: of its space and limits.
        true: scores of nets without noise.
        noise: deviation of a seed.
        train_s: CPU seconds of a net's training; None where nothing is trained.
    """

    name: str
    pricer: Pricer
    true: Callable[[list[Candidate]], list[float]]
    noise: float
    train_s: Callable[[Candidate], float] | None = None

    def seen(self, one: Candidate, seed: int | str) -> float:
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
        seconds: CPU seconds of a training by GMACs: what every net takes, and what a GMAC adds.
    """

    nets: list[Candidate]
    scores: np.ndarray
    noise: float
    seconds: tuple[float, float]

    @classmethod
    def read(cls, pricer: Pricer) -> Trained:
        """Read the table."""
        rows, drawn_for_it = read_table(), {one.hash: one for one in drawn_nets(pricer)}
        scores = [statistics.mean(float(row["dice"]) for row in each) for each in rows.values()]
        later = table_rows()[WITHOUT_KERNELS:]
        compiled = np.array([[float(row[key]) for key in ("gmacs", "train_s")] for row in later])
        rise, always = np.polyfit(*compiled.T, 1)
        nets = [drawn_for_it[hash_] for hash_ in rows]
        return cls(nets, np.array(scores), seed_noise(rows), (float(always), float(rise)))

    def train_s(self, one: Candidate) -> float:
        """Return the CPU seconds of a net's training."""
        return self.seconds[0] + self.seconds[1] * one.gmacs

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
            grown = [
                each.tree_.predict(new.astype(np.float32))[:, 0] for each in trees.estimators_
            ]  # quick for one net
            return line.predict(new[:, :2]) + np.mean(grown, axis=0)

        return predict

    def check(self) -> float:
        """Return the rank correlation of scores with what the model of the other nets says, in ten parts."""
        said = np.empty(len(self.nets))
        for part in range(10):
            mine = list(range(part, len(self.nets), 10))
            others = [index for index in range(len(self.nets)) if index % 10 != part]
            said[mine] = self.model(others)([self.nets[index] for index in mine])
        return float(spearmanr(said, self.scores)[0])


def table_rows(plan: Plan = SHORT) -> list[dict[str, str]]:
    """Return the rows of lmnet_xs on Kvasir-SEG, the oldest first."""
    return [row for row in read_rows(plan.table) if (row["family"], row["data"]) == (SPEC, KVASIR)]


def read_table(plan: Plan = SHORT) -> dict[str, list[dict[str, str]]]:
    """Return the table's rows by net."""
    rows: dict[str, list[dict[str, str]]] = {}
    for row in table_rows(plan):
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
        *(
            Objective(name, Pricer(space, limits), score, trained.noise, trained.train_s)
            for name, limits in parts.items()
        ),
        Objective("synthetic", wide, each(synthetic(wide)), 0.005),
        Objective("synthetic, larger is worse", wide, each(misleading(wide)), 0.005),
    ]
