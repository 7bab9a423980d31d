"""The plan of search_table.py: which nets of which families are trained on which data, and in which order."""

from __future__ import annotations

import csv
import functools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmnet.builder.layout import INPUT_SIZE
from lmnet.builder.spec import load_spec
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Candidate, Pricer
from lmnet.search.nets.space import Space

HERE = Path(__file__).parent
SPEC = "lmnet_xs"
KVASIR, LGG, BUSI = "Kvasir-SEG", "kaggle_3m", "Dataset_BUSI_with_GT"
DATA_SETS = (KVASIR, LGG, BUSI)
"""Names of the folders."""
MIN_GFLOPS, MAX_GFLOPS = 0.05, 0.3
RANGES = {
    SPEC: (MIN_GFLOPS, MAX_GFLOPS),
    "unext_s": (0.03, 0.35),
    "mixed_cells": (0.03, 0.2),
    "lraspp_mobilenetv3_small": (0.02, 0.5),
    "egeunet": (0.048, 0.15),
    "mkunet_t": (0.012, 0.12),
    "efficientnet_lite0_lm_xs": (0.037, 0.068),
    "ulite": (0.25, 0.85),
}
"""Families, and between which GMACs at the size of their spec their nets lie."""
NETS, SECOND_SEED_EVERY, SECOND_SEEDS_SOON = 200, 3, 30
OTHER_NETS, OTHER_DATA_NETS, OTHER_SECOND_SEED_EVERY = 40, 60, 4
"""Nets of each other family; nets of lmnet_xs on other data; and of all these, every fourth has a second seed."""
FIRST_FAMILIES = ("unext_s", "mixed_cells", "lraspp_mobilenetv3_small", "egeunet", "mkunet_t")
FIRST_NETS, FIRST_DATA_NETS = 16, 40
"""What is trained first: some nets of these families, and of lmnet_xs on other data."""
FEW = 500
"""Largest space whose points are all priced."""
FULL_NETS, FULL_SEEDS = 24, (2, 3)


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        family: zoo name of the family.
        data: folder of the data set.
        net: the net.
        seed: random seed.
    """

    family: str
    data: str
    net: Candidate
    seed: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells a row of the table from the others."""
        return self.family, self.data, self.net.hash, self.seed

    @property
    def values(self) -> dict:
        """The variables of the family's spec."""
        return table_pricer(self.family).space.values(self.net.point)


class OneSize(Space):
    """A space without the size of the image, as all nets of the table are trained at one size."""

    def __init__(self, spec) -> None:
        super().__init__(spec)
        self.knobs = tuple(knob for knob in self.knobs if knob.variable != INPUT_SIZE)
        self.distributions = {knob.name: self.distributions[knob.name] for knob in self.knobs}
        self._own.pop(INPUT_SIZE, None)


@functools.cache
def table_pricer(family: str = SPEC) -> Pricer:
    """Return the prices of a family's space in the table."""
    low, high = RANGES[family]
    return Pricer(OneSize(load_spec(family)), Limits(min_gflops=low, max_gflops=high))


def net_near(pricer: Pricer, gmacs: float, rng: random.Random) -> Candidate:
    """Return a random net that costs what is wanted, within 5 %: knobs are turned as long as that brings it nearer."""

    def gap(one: Candidate) -> float:
        return abs(math.log(one.gmacs / gmacs)) if one.gmacs else math.inf

    here, tries = pricer.plan(pricer.space.sample(rng)), 0
    for _ in range(20_000):
        if gap(here) <= 0.05:
            break
        moved, tries = pricer.plan(pricer.space.mutated(here.point, rng, rng.randint(1, 2))), tries + 1
        if gap(moved) < gap(here):
            here = moved
        elif tries > 500:  # no knob is left that brings it nearer
            here, tries = pricer.plan(pricer.space.sample(rng)), 0
    return here


def drawn_nets(pricer: Pricer) -> list[Candidate]:
    """Return a family's nets: the start, then others at costs of which every beginning covers the whole range."""
    family = pricer.space.spec.name
    rng = random.Random("search table" if family == SPEC else f"search table/{family}")
    low, high = RANGES[family]
    nets = {one.hash: one for one in [pricer.plan(pricer.space.start)]}
    few = [one for one in map(pricer.plan, pricer.space.few_points(FEW)) if one.is_feasible]
    for place in range(1, 20 * NETS):
        if len(nets) >= (NETS if family == SPEC else OTHER_NETS):
            break
        share = place * 0.6180339887 % 1  # the golden ratio's multiples are spread evenly, however many
        wanted = low * (high / low) ** share
        if few:
            few = [one for one in few if one.hash not in nets]
            one = min(few, key=lambda one: abs(math.log(one.gmacs / wanted)), default=None)
            if one is None:
                break
        else:
            one = net_near(pricer, wanted, rng)
        if one.is_feasible:
            nets.setdefault(one.hash, one)
    return list(nets.values())


def trainings(nets: list[Candidate]) -> list[tuple[Candidate, int]]:
    """Return every net of lmnet_xs on Kvasir-SEG with its seeds: 0 for all, 1 for every third, the later at the end."""
    twice = nets[::SECOND_SEED_EVERY]
    soon, late = twice[:SECOND_SEEDS_SOON], twice[SECOND_SEEDS_SOON:]
    jobs = []
    for net in nets:
        jobs.append((net, 0))
        if net in soon:
            jobs.append((net, 1))
    return [*jobs, *((net, 1) for net in late)]


def full_trainings(nets: list[Candidate]) -> list[tuple[Candidate, int]]:
    """Return the first of the nets that have two seeds in the table, with other seeds."""
    return [(net, seed) for net in nets[::SECOND_SEED_EVERY][:FULL_NETS] for seed in FULL_SEEDS]


def planned(families: list[str], data_sets: list[str]) -> list[Job]:
    """Return all trainings in their order; every beginning covers families, data sets and costs evenly.

    First come some nets of all that is new: lmnet_xs on LGG beside the other families on Kvasir-SEG, then these on LGG.
    """
    timed = list[tuple[float, Job]]()
    for family in families:
        nets = drawn_nets(table_pricer(family))
        for data in data_sets:
            if (family, data) == (SPEC, KVASIR):
                timed += [(place / NETS, Job(family, data, *one)) for place, one in enumerate(trainings(nets))]
            else:
                timed += _others(family, data, nets[: OTHER_DATA_NETS if family == SPEC else OTHER_NETS])
    return [job for _, job in sorted(timed, key=lambda each: each[0])]


def _others(family: str, data: str, nets: list[Candidate]) -> Iterator[tuple[float, Job]]:
    """Yield the trainings of a family on a data set, each with its time in the plan."""
    first, begin = 0, 2.0
    if (family == SPEC and data == LGG) or (family in FIRST_FAMILIES and data == KVASIR):
        first, begin = FIRST_DATA_NETS if family == SPEC else FIRST_NETS, 0.0
    elif family in FIRST_FAMILIES and data == LGG:
        first, begin = FIRST_NETS, 1.0
    for place, net in enumerate(nets):
        time = begin + place / first if place < first else 2 + (place - first) / (len(nets) - first)
        yield time, Job(family, data, net, 0)
        if place % OTHER_SECOND_SEED_EVERY == 0:
            yield max(2.0, time), Job(family, data, net, 1)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return a table's rows, the oldest first; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def row_key(row: dict[str, str]) -> tuple[str, str, str, int]:
    """Return the key of a row, as ``Job.key``."""
    return row["family"], row["data"], row["hash"], int(row["seed"])


def row_values(row: dict[str, str]) -> dict:
    """Return the variables of a row's net."""
    return json.loads(row["values"])
