"""Limits, prices and the survey before trial 0."""

import random
import sys

import pytest

from lmnet.builder.cost import count_params
from lmnet.builder.models import build_model, deploy
from lmnet.builder.spec import parse_spec
from lmnet.search import run
from lmnet.search.nets.limits import LIMITS, Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.nets.space import Space
from lmnet.search.nets.survey import repaired, survey
from lmnet.search.train.latency import LatencyMeter, machine_name
from tests.search.objectives import width_score


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_memory_mib": -1}, "max_memory_mib must be above 0, got max_memory_mib=-1"),
        ({"max_gflops": 0}, "search: max_gflops must be above 0, got max_gflops=0"),
        ({"max_params": float("nan")}, "max_params must be above 0, got max_params=nan"),
        ({"max_gflops": 1, "min_gflops": 2}, "min_gflops must be at most max_gflops, got min_gflops=2, max_gflops=1"),
    ],
)
def test_a_wrong_limit_is_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limits)


def test_an_unknown_limit_comes_with_the_nearest():
    with pytest.raises(TypeError, match=r"there is no limit max_gflop\. Did you mean max_gflops\?"):
        Limits(max_gflop=1)


def test_every_limit_bounds_its_cost(small):
    space = Space(small)
    points = list(space.all_points())
    for limit in LIMITS:
        pricer = Pricer(space, Limits(), lambda name, spec: 1.0)
        if limit.cost == "latency_ms":
            continue  # measured: see below
        costs = sorted(pricer.price(point).costs[limit.cost] for point in points)
        middle = costs[len(costs) // 2]
        bounded = Pricer(space, Limits(**{limit.name: middle}))
        for point in points:
            candidate = bounded.price(point)
            assert candidate.is_feasible == (limit.sign * candidate.costs[limit.cost] <= limit.sign * middle)


def test_memory_is_the_planned_peak_of_activations(small):
    pricer = Pricer(Space(small), Limits(max_memory_mib=0.6))
    candidate = pricer.price(pricer.space.start)
    assert candidate.costs["memory_mib"] == build_model(small).plan.peak_bytes / 2**20
    result = run(small, objective=width_score, max_memory_mib=0.6, trials=4, dry_run=True)
    assert 0 < result.overview.survey.feasible_share < 1


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
        (
            {"max_gflops": 1e-6},
            r"no net meets max_gflops=1e-06; the lowest .* is 0\.\d+ GMACs\. Widen search\.width below 4",
        ),
        ({"min_gflops": 50}, r"min_gflops=50; the highest .* is 0\.\d+ GMACs\. Widen search\.width above 32"),
        (
            {"max_memory_mib": 0.01},
            r"max_memory_mib=0\.01; .* is [\d.]+ MiB of memory\. Widen search\.\w+ below",
        ),
        ({"max_params": 9}, r"max_params=9; the lowest .* is \d+ parameters\. Widen search\.\w+ below"),
        (
            {"max_params": 700, "min_gflops": 0.03},
            r"no net was found that meets all limits \(min_gflo",
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

    def latency(name, spec):
        asked.append((name, spec))
        return 10.0

    space = Space(small)
    assert Pricer(space, Limits(max_gflops=1e-4, max_latency_ms=5), latency).price(space.start).latency_ms is None
    assert asked == []
    candidate = Pricer(space, Limits(max_latency_ms=5), latency).price(space.start)
    assert candidate.violations == {"max_latency_ms": 1.0}
    assert not candidate.is_feasible


def test_latency_is_measured_in_the_runtime_that_was_asked_for(small, monkeypatch):
    assert LatencyMeter("cpu", "onnxruntime")("latency_ms", small) > 0
    assert machine_name("cpu", "onnxruntime") == machine_name("cpu").replace("threads)", "threads, onnxruntime)")
    with pytest.raises(ValueError, match="search: runtime must be one of torch, onnxruntime, openvino, got runtime='t"):
        LatencyMeter("cpu", "tensorrt")
    with pytest.raises(ValueError, match="CPU only, and device=cuda:0 is given. Give --device cpu or"):
        LatencyMeter("cuda:0", "onnxruntime")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"openvino is not installed.*pip install 'lmnet\[openvino\]'"):
        LatencyMeter("cpu", "openvino")


def test_the_knob_is_widened_at_its_cheaper_end(small):
    """A net with a larger stride costs less, so the limit is met above the stride's last value."""
    text = small.dump().split("search:")[0].replace("width: 8", "width: 8\n  stride: 2")
    text = text.replace("activation: post", "activation: post, stride: '${stride}'").replace(
        "scale: 2", "scale: '${stride}'"
    )
    spec = parse_spec(text + "search: {stride: {choices: [2, 4, 8]}}\n")
    with pytest.raises(ValueError, match=r"Widen search\.stride above 8, or change the limit\."):
        survey(Pricer(Space(spec), Limits(max_gflops=1e-6)))
    kinds = parse_spec(small.dump().split("search:")[0] + "search: {kernels: {choices: [[3], [5, 3]]}}\n")
    with pytest.raises(ValueError, match=r"Give search\.kernels other values than \[\[3\], \[5, 3\]\], or change"):
        survey(Pricer(Space(kinds), Limits(max_gflops=1e-6)))
