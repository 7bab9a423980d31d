"""The default proposals of a search, as a sampler for any Optuna study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from lmnet.builder.spec import Spec, load_spec
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer, finish
from lmnet.search.nets.space import Space
from lmnet.search.propose.pool import FeasiblePool, Observation


class FeasibleSampler(BaseSampler):
    """Proposes nets of a spec's space that meet every limit, none twice.

    ::

        sampler = FeasibleSampler("lmnet_xs", Limits(max_gflops=0.2))
        study = optuna.create_study(direction="maximize", sampler=sampler)

        def objective(trial: optuna.Trial) -> float:
            model = build_model(sampler.suggest(trial))  # from lmnet.builder.models
            return score(model)  # your training

    A Gaussian process over costs and knobs, which expects more of larger nets, chooses among some hundreds of nets.
    Other parameters of a trial, which are not knobs of the space, are sampled at random.

    Args:
        space: a zoo name, a spec's file, a spec, or its space.
        limits: limits on the costs of a net; not on latency, which has to be measured.
        seed: random seed of the proposals.

    Raises:
        ValueError: a limit is on a cost that has to be measured.
    """

    def __init__(self, space: str | Path | Spec | Space, limits: Limits, *, seed: int = 0) -> None:
        if limits.measured:
            raise ValueError(
                "FeasibleSampler: max_latency_ms is measured on a built net, and this sampler only computes costs. Use "
                "lmnet.search.run for a limit on latency."
            )
        if not isinstance(space, Space):
            space = Space(space if isinstance(space, Spec) else load_spec(space))
        self.space = space
        self._pricer = Pricer(space, limits)
        self._pool = FeasiblePool(self._pricer, seed=seed)
        self._others = RandomSampler(seed=seed)
        self._given: dict[int, str] = {}

    def suggest(self, trial: Trial) -> Spec:
        """Ask a trial for every knob of the space and return the net's spec."""
        params = {name: _suggest(trial, name, kind) for name, kind in self.space.distributions.items()}
        return self._pricer.spec(self.space.point(params))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the distributions of the knobs, which are proposed together; Optuna calls this."""
        return dict(self.space.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the knobs of a net that meets every limit and is in no trial; Optuna calls this.

        Raises:
            ValueError: no such net is left, or the study has several directions.
        """
        if len(study.directions) != 1:
            raise ValueError(
                f"FeasibleSampler: the study has {len(study.directions)} directions, and only one is possible. Give "
                "costs as limits."
            )
        sign = -1 if study.direction == StudyDirection.MINIMIZE else 1
        observed, taken = list[Observation](), set(self._given.values())
        for each in study.get_trials(deepcopy=False):
            if each.params.keys() >= self.space.distributions.keys():
                one = self._pricer.plan(self.space.point(each.params))
                taken.add(one.hash)
                if each.state == TrialState.COMPLETE and not one.problem:
                    observed.append((one, sign * float(each.value or 0.0)))
        found = finish(self._pool.choose(lambda: (observed, taken)))
        if found is None:
            raise ValueError(
                f"FeasibleSampler: no new net is left within the limits; {len(taken)} are used already. Widen the "
                "ranges in search, or the limits."
            )
        self._given[trial.number] = found.hash
        return self.space.params(found.point)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value for a parameter that is not a knob; Optuna calls this."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)


def _suggest(trial: Trial, name: str, kind: BaseDistribution) -> Any:
    if isinstance(kind, CategoricalDistribution):
        return trial.suggest_categorical(name, kind.choices)
    if isinstance(kind, IntDistribution):
        return trial.suggest_int(name, kind.low, kind.high, step=kind.step)
    assert isinstance(kind, FloatDistribution)
    return trial.suggest_float(name, kind.low, kind.high, step=kind.step)
