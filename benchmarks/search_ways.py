"""Ways of searching that search_bench.py compares: simple rules, and lmnet-search itself."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator

import numpy as np
from table_plan import MAX_GFLOPS, MIN_GFLOPS, net_near, table_pricer

from lmnet.search.nets.pricing import Candidate, Pricer, finish
from lmnet.search.nets.survey import repaired
from lmnet.search.propose.pool import Observation
from lmnet.search.propose.sampler import make_sampler

MOST = 60
"""So many trials at most."""
POOL, POOLS = 1000, 10
"""The simple rules choose from one of so many pools of so many random nets; a half by cost has half of them."""
Way = Callable[[Pricer, int], Iterator[Candidate | None]]
"""Yields nets to train; ``send`` gives the score of each."""


@functools.cache
def even_nets(seed: int) -> list[Candidate]:
    """Return random nets within the table's limits, evenly in the logarithm of their costs."""
    pricer, rng, found = table_pricer(), random.Random(f"pool/{seed}"), dict[str, Candidate]()
    while len(found) < POOL:
        one = net_near(pricer, MIN_GFLOPS * (MAX_GFLOPS / MIN_GFLOPS) ** rng.random(), rng)
        if one.is_feasible:
            found.setdefault(one.hash, one)
    return list(found.values())


@functools.cache
def pool_of(pricer: Pricer, seed: int) -> list[Candidate]:
    """Return random nets within the limits, from which the simple rules choose; there are POOLS such pools.

    Of the table's space those of ``even_nets``; of others, which have only an upper limit, evenly over the space.
    """
    if seed >= POOLS:
        return pool_of(pricer, seed % POOLS)
    if pricer.limits.min_gflops is not None:
        nets = [pricer.price(one.point) for one in even_nets(seed)]
        return [one for one in nets if one.is_feasible]
    rng, found, missed = random.Random(f"pool/{seed}"), dict[str, Candidate](), 0
    while len(found) < POOL and missed < 20_000:
        one = pricer.price(pricer.space.sample(rng))
        missed = 0 if one.is_feasible and one.hash not in found else missed + 1
        if one.is_feasible:
            found.setdefault(one.hash, one)
    return list(found.values())


def drawn(pricer: Pricer, rng: random.Random, seed: int) -> Iterator[Candidate]:
    """Yield random feasible nets of a repeat's pool, none twice."""
    nets = pool_of(pricer, seed)
    yield from rng.sample(nets, len(nets))


def at_random(pricer: Pricer, seed: int) -> Iterator[Candidate]:
    """Yield random feasible nets."""
    for one in drawn(pricer, random.Random(f"random/{seed}"), seed):  # noqa: UP028 - the score is not passed on
        yield one


def largest_first(pricer: Pricer, seed: int) -> Iterator[Candidate]:
    """Yield the pool's nets, the largest first."""
    for one in sorted(pool_of(pricer, seed), key=lambda one: -one.gmacs):  # noqa: UP028 - a list has no send
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
    start, known = drawn(pricer, rng, seed), dict[str, tuple[float, Candidate]]()
    for place in range(MOST):
        one = (
            next(start) if place < 5 else neighbour(pricer, max(known.values(), key=lambda e: e[0])[1], set(known), rng)
        )
        known[one.hash] = ((yield one), one)


def evolution(pricer: Pricer, seed: int) -> Iterator[Candidate | None]:
    """Yield what regularised evolution does (Real et al. 2019): of 5 of the youngest 12, the best is changed."""
    rng = random.Random(f"evolution/{seed}")
    start, seen, young = drawn(pricer, rng, seed), set[str](), list[tuple[float, Candidate]]()
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
        [one for one, _ in zip(drawn(pricer, rng, seed), range(300), strict=False)],
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


def lmnet_search(name: str) -> Way:
    """Return what ``lmnet-search`` does with one worker and a sampler."""

    def way(pricer: Pricer, seed: int) -> Iterator[Candidate | None]:
        observed = list[Observation]()
        sampler = make_sampler(name, pricer, seed=seed, session=0)
        while (one := finish(sampler.choose(lambda: (observed, {each.hash for each, _ in observed})))) is not None:
            observed.append((one, (yield one)))

    return way


WAYS: dict[str, Way] = {
    "lmnet-search": lmnet_search("model"),
    "random": at_random,
    "largest first": largest_first,
    "local search": local_search,
    "ridge regression": ridge,
    "evolution": evolution,
    "Optuna TPE": lmnet_search("tpe"),
}
