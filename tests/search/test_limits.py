"""Limits, prices and the survey before trial 0."""

import random

import pytest

from lmnet.builder.cost import count_params
from lmnet.builder.models import build_model, deploy
from lmnet.search.limits import Limits
from lmnet.search.pricing import Pricer
from lmnet.search.space import Space
from lmnet.search.space_survey import repaired, survey


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_gflops": 0}, "search: max_gflops must be above 0, got max_gflops=0"),
        ({"max_params": float("nan")}, "max_params must be above 0, got max_params=nan"),
        ({"max_gflops": 1, "min_gflops": 2}, "min_gflops must be at most max_gflops, got min_gflops=2, max_gflops=1"),
    ],
)
def test_a_wrong_limit_is_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limits)


def test_a_price_is_the_built_nets(small):
    pricer = Pricer(Space(small), Limits())
    point = pricer.space.sample(random.Random(3))
    candidate = pricer.price(point)
    model = build_model(pricer.spec(point))
    assert (candidate.hash, candidate.gmacs) == (model.hash, model.plan.deploy_macs / 1e9)
    assert candidate.params == count_params(deploy(model))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_gflops": 1e-6}, r"max_gflops=1e-06 and 0\.\d+ for the cheapest net\. Widen search\.width below 4"),
        ({"min_gflops": 50}, r"min_gflops=50 and 0\.\d+ for the dearest net\. Widen search\.width above 32"),
        ({"max_params": 9}, r"max_params=9 and \d+ for the smallest net\. Widen search\.\w+ below"),
        (
            {"max_params": 700, "min_gflops": 0.03},
            r"the limits must be within the space's reach together, got min_gflo",
        ),
    ],
)
def test_an_unreachable_limit_names_the_knob_to_widen(small, limits, message):
    with pytest.raises(ValueError, match=message):
        survey(Pricer(Space(small), Limits(**limits)))


def test_the_survey_finds_the_ends_of_the_space(small):
    pricer = Pricer(Space(small), Limits(max_gflops=0.004))
    found = survey(pricer)
    every = [pricer.price(point) for point in pricer.space.all_points()]
    assert found.cheapest.gmacs == min(one.gmacs for one in every)
    assert found.dearest.gmacs == max(one.gmacs for one in every)
    share = sum(one.is_feasible for one in every) / len(every)
    assert found.feasible_share == pytest.approx(share, abs=0.25)


def test_an_infeasible_point_is_moved_into_the_limits(small):
    pricer = Pricer(Space(small), Limits(max_gflops=0.004, min_gflops=0.003))
    rng = random.Random(0)
    moved = [repaired(pricer, pricer.space.sample(rng), rng) for _ in range(20)]
    assert sum(one is not None and one.is_feasible for one in moved) >= 18


def test_latency_is_measured_only_where_the_other_limits_are_met(small):
    asked = []

    def latency(spec):
        asked.append(spec)
        return 10.0

    space = Space(small)
    assert Pricer(space, Limits(max_gflops=1e-4, max_latency_ms=5), latency).price(space.start).latency_ms is None
    assert asked == []
    candidate = Pricer(space, Limits(max_latency_ms=5), latency).price(space.start)
    assert candidate.violations == {"max_latency_ms": 1.0}
    assert not candidate.is_feasible
