"""The samplers that a search can use beside its own, all of them Optuna's."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

SAMPLERS = ("model", "tpe", "gp", "nsga2", "random")
"""model is the search's own, see ``feasible_pool``."""
STARTUP = 8
"""Finished trials before a model is used; the candidates until then are sampled evenly."""


def make_sampler(name: str, *, seed: int, finished: Callable[[], int]) -> BaseSampler:
    """Return a sampler.

    Args:
        name: model, tpe, gp, nsga2 or random; for model, which asks none, random.
        seed: of its draws.
        finished: tells how many trials have a score. TPE's own count takes in infeasible trials, of which there may be
            many, and would call most of the scored ones good.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SAMPLERS:
        raise ValueError(
            f"search: sampler must be one of {', '.join(SAMPLERS)}, got sampler={name!r}. Use {SAMPLERS[0]}."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "tpe":
            sampler = TPESampler(
                seed=seed, n_startup_trials=STARTUP, n_ei_candidates=48, multivariate=True, constant_liar=True
            )
            sampler._gamma = lambda count: min(25, -(-finished() // 5))  # as an argument it is deprecated
            return sampler
        if name == "gp":
            return GPSampler(seed=seed, n_startup_trials=STARTUP, deterministic_objective=False)
        if name == "nsga2":
            return NSGAIISampler(seed=seed, population_size=2 * STARTUP)
    return RandomSampler(seed=seed)
