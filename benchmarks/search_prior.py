"""What the table of trained nets tells of nets, families and data sets that it has not seen: is there a prior to ship?

    python benchmarks/search_prior.py [--table FILE ...]

Reads the rows of search_table.py and writes search_prior.md beside itself. The model is the one of ``--prior``: a ridge
regression on descriptions of nets (``lmnet.search.nets.description``). The nets of a family on a data set are one
lesson, as their scores do not compare with others'. Left out are in turn all lessons of a data set, and of a family. A
prior is shipped if the rank correlation of the left-out scores with the predictions, given the logarithm of GMACs, is
0.4 or more in both, and if it saves trials in search_bench.py.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from search_table import SHORT
from table_plan import DATA_SETS, KVASIR, RANGES, SPEC, read_rows, row_values, table_pricer

from lmnet.search.nets.description import describe
from lmnet.search.propose.prior import Lesson, fit_prior, given_costs

HERE = Path(__file__).parent
ENOUGH = 10
"""Fewest nets of a lesson that is scored: rank correlations of fewer say nothing."""
GATE, PARTS, REPEATS = 0.4, 10, 1000


@dataclass(frozen=True)
class Group:
    """The nets of a family on a data set.

    Args:
        family: zoo name.
        data: folder of the data set.
        lesson: descriptions and mean scores over seeds.
        costs: logarithms of GMACs.
    """

    family: str
    data: str
    lesson: Lesson
    costs: np.ndarray

    def part(self, picked: np.ndarray) -> Lesson:
        """Return the lesson of some of the nets."""
        return Lesson(self.lesson.descriptions[picked], self.lesson.scores[picked], self.lesson.name)


def read_groups(tables: list[Path]) -> list[Group]:
    """Return the groups of all rows; a net's score is the mean over its seeds."""
    found: dict[tuple[str, str], dict[str, list[dict[str, str]]]] = {}
    for table in tables:
        for row in read_rows(table):
            found.setdefault((row["family"], row["data"]), {}).setdefault(row["hash"], []).append(row)
    groups = []
    for (family, data), nets in found.items():
        pricer, rows = table_pricer(family), [each[0] for each in nets.values()]
        descriptions = np.array([describe(pricer.planner.plan(row_values(row))) for row in rows])
        scores = np.array([statistics.mean(float(row["dice"]) for row in each) for each in nets.values()])
        costs = np.log([float(row["gmacs"]) for row in rows])
        groups.append(Group(family, data, Lesson(descriptions, scores, f"{family} on {data}"), costs))
    return groups


def left_out(groups: list[Group], key: Callable[[Group], str], name: str) -> list[tuple[Group, np.ndarray]]:
    """Return the groups of a name with the predictions that all other groups make; those with enough nets."""
    others = [each.lesson for each in groups if key(each) != name]
    mine = [each for each in groups if key(each) == name and len(each.costs) >= ENOUGH]
    if not mine or not any(each.is_usable for each in others):
        return []
    prior = fit_prior(others)
    return [(each, prior.expected(each.lesson.descriptions)) for each in mine]


def in_parts(group: Group) -> np.ndarray:
    """Return the predictions for each tenth of a group's nets that the others make."""
    place = np.random.default_rng(0).permutation(len(group.costs)) % PARTS
    predicted = np.empty(len(place))
    for part in range(PARTS):
        others = group.part(place != part)
        prior = fit_prior([others])
        mine = prior.expected(group.lesson.descriptions[place == part])
        predicted[place == part] = mine - prior.expected(others.descriptions).mean()  # only differences count
    return predicted


def correlation(found: list[tuple[Group, np.ndarray]]) -> str:
    """Return the mean over groups of the rank correlation given GMACs, with its interval by bootstrap over nets."""
    rng = np.random.default_rng(0)

    def mean(picks: list[np.ndarray]) -> float:
        each = [
            given_costs(predicted[pick], group.lesson.scores[pick], group.costs[pick])
            for (group, predicted), pick in zip(found, picks, strict=True)
        ]
        weights = [len(pick) for pick, value in zip(picks, each, strict=True) if not math.isnan(value)]
        known = [value for value in each if not math.isnan(value)]
        return float(np.average(known, weights=weights)) if known else math.nan

    counts = [len(group.costs) for group, _ in found]
    low, high = np.nanpercentile(
        [mean([rng.integers(count, size=count) for count in counts]) for _ in range(REPEATS)], [2.5, 97.5]
    )
    return f"{mean([np.arange(count) for count in counts]):.2f} [{low:.2f}, {high:.2f}]"


def rows_of(groups: list[Group], key: Callable[[Group], str], names: list[str]) -> list[str]:
    """Return a line of the page for each data set or family that is left out."""
    lines = []
    for name in names:
        found = left_out(groups, key, name)
        nets = sum(len(each.costs) for each in groups if key(each) == name)
        lines.append(f"| {name} | {nets} | {correlation(found) if found else 'too few rows'} |")
    return lines


def render(groups: list[Group]) -> str:
    """Return the page."""
    own = next(each for each in groups if (each.family, each.data) == (SPEC, KVASIR))
    by_data = rows_of(groups, lambda each: each.data, list(DATA_SETS))
    by_family = rows_of(groups, lambda each: each.family, list(RANGES))
    counts = [
        f"| {family} | {' | '.join(str(_nets(groups, family, data)) for data in DATA_SETS)} |" for family in RANGES
    ]
    is_open = any("too few rows" in line for line in (*by_data, *by_family))
    return "\n".join(
        [
            "# Is there a prior to ship?",
            "",
            "Written by `python benchmarks/search_prior.py` from the rows of `search_table.csv`. Rank correlations are "
            "given the logarithm of GMACs, 95 % intervals by bootstrap over nets. A prior is shipped if it has "
            f"{GATE} or more on data sets and on families that it has not seen, and saves trials in `search_bench.py`.",
            "",
            "**lmnet ships no prior.** "
            + (
                f"The table has too few rows for the question: groups of {ENOUGH} nets and more are scored. "
                "`search_table.py` continues it. " if is_open else ""
            )
            + "`--prior STUDY` learns from a search of your own by the same model.",
            "",
            "## Nets in the table",
            "",
            f"| family | {' | '.join(DATA_SETS)} |",
            f"|---|{'---|' * len(DATA_SETS)}",
            *counts,
            "",
            "## The same family and data",
            "",
            f"{SPEC} on {KVASIR}, each tenth of the nets predicted from the others: "
            f"{correlation([(own, in_parts(own))])}.",
            "",
            "## A data set left out",
            "",
            "| data set | nets | correlation |",
            "|---|---|---|",
            *by_data,
            "",
            "## A family left out",
            "",
            "| family | nets | correlation |",
            "|---|---|---|",
            *by_family,
            "",
        ]
    )  # fmt: skip


def _nets(groups: list[Group], family: str, data: str) -> int:
    return sum(len(each.costs) for each in groups if (each.family, each.data) == (family, data))


def main() -> None:
    """Evaluate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, nargs="+", default=[SHORT.table])
    args = parser.parse_args()
    text = render(read_groups(args.table))
    (HERE / "search_prior.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
