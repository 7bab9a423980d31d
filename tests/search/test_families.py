"""Several families in one search: their space, their costs, and what is proposed."""

import itertools
import random
import resource
import statistics
import time

import numpy as np
import pytest

from lmnet.builder.spec import parse_spec
from lmnet.search.nets.families import FamiliesPricer, make_pricer, make_space
from lmnet.search.nets.given import ZOO, read_specs
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer, finish
from lmnet.search.nets.space import Space
from lmnet.search.nets.survey import survey
from lmnet.search.propose.pool import FeasiblePool
from lmnet.search.propose.surrogate import fit_surrogate
from tests.search.families import PLAIN


def families(*specs, **limits):
    space = make_space(specs)
    return make_pricer(space, Limits(**limits))


def test_one_spec_is_a_space_as_before_and_several_are_families(deep, plain):
    assert type(make_space([deep])) is Space
    assert type(make_pricer(make_space([deep]), Limits())) is Pricer
    assert isinstance(families(deep, plain), FamiliesPricer)
    with pytest.raises(ValueError, match="search: no spec is given"):
        make_space([])


def test_a_point_of_families_becomes_parameters_and_back(deep, plain):
    space, rng = make_space([deep, plain]), random.Random(0)
    points = [space.sample(rng) for _ in range(60)]
    assert {space.family_of(point) for point in points} == {0, 1}
    for point in points:
        params = space.params(point)
        assert space.point(params) == point
        assert params.keys() == space.distributions_at(point).keys()
        assert all(name == "family" or name.startswith(f"{params['family']}.") for name in params)
        moved = space.mutated(point, rng, 2)
        assert moved[0] == point[0]
        assert sum(one != other for one, other in zip(point, moved, strict=True)) == 2
    assert space.size == sum(one.size for one in space.families)
    assert space.starts == [(place, *one.start) for place, one in enumerate(space.families)]


def test_a_net_costs_in_families_what_it_costs_alone(deep, plain):
    both, rng = families(deep, plain, max_gflops=0.001), random.Random(1)
    for _ in range(6):
        point = both.space.sample(rng)
        alone = Pricer(both.space.families[point[0]], both.limits)
        one, other = both.price(point), alone.price(point[1:])
        assert (one.point, one.hash, one.costs, one.violations) == (point, other.hash, other.costs, other.violations)
        assert both.spec(point) == alone.spec(point[1:])


def test_nets_are_told_apart_by_size_in_every_family_if_one_varies_it(deep, plain):
    sized = parse_spec(PLAIN + "  input.size: {choices: [32, 64]}\n")
    both = families(deep, sized)
    assert both.space.moves_size
    assert {both.plan(start).hash.partition("@")[2] for start in both.space.starts} == {"64", "32"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN.replace("name: plain", "name: deep"), "two families have the name deep. Leave one out, or change the"),
        (
            PLAIN.replace("channels: 3", "channels: 1"),
            r"the families differ in the number of input channels: deep 3, plain 1\. .*=N",
        ),
        (
            PLAIN.replace("num_classes: 2", "num_classes: 4"),
            r"the families differ in the number of classes: deep 2, plain 4\. ",
        ),
    ],
)
def test_families_that_do_not_go_together_are_refused(deep, text, message):
    with pytest.raises(ValueError, match=message):
        make_space([deep, parse_spec(text)])


def test_the_survey_leaves_out_a_family_that_cannot_meet_the_limits(deep, plain, wide):
    pricer = families(deep, plain, wide, max_gflops=5e-5)

    found = survey(pricer)

    assert list(found.families) == ["plain", "wide"]
    assert pricer.space.left_out.keys() == found.left_out.keys() == {"deep"}
    assert found.left_out["deep"].startswith("no net meets max_gflops=5e-05; the lowest that was found in this space")
    assert found.size == pricer.space.size == sum(one.size for one in found.families.values())
    assert pricer.plan(found.cheapest.point).hash == found.cheapest.hash
    assert pricer.plan(found.dearest.point).hash == found.dearest.hash
    assert {pricer.space.sample(random.Random(seed))[0] for seed in range(20)} == {1, 2}
    assert [point[0] for point in pricer.space.starts] == [1, 2]
    assert pricer.space.point(pricer.space.params((0, 1, 2, 3, 0))) == (0, 1, 2, 3, 0)  # trials of before are read


def test_limits_that_no_family_meets_are_refused(deep, plain):
    with pytest.raises(ValueError, match=r"no family has a net within the limits, max_gflops=1e-06\. deep: .* plain: "):
        survey(families(deep, plain, max_gflops=1e-6))


def proposals(pricer, count, *, seed=0, score):
    pool, observed = FeasiblePool(pricer, seed=seed), []
    known = set()
    for _ in range(count):
        one = finish(pool.choose(lambda: (observed, known)))
        known.add(one.hash)
        observed.append((one, score(one)))
    return [one for one, _ in observed]


def test_proposals_over_three_families_are_feasible_and_new(deep, plain, wide):
    pricer = families(deep, plain, wide, max_gflops=0.0004, min_gflops=0.0001)

    found = proposals(pricer, 30, score=lambda one: one.gmacs)

    assert len({one.hash for one in found}) == 30
    assert all(one.is_feasible and 0.0001 <= one.gmacs <= 0.0004 for one in found)
    assert {one.point[0] for one in found} == {0, 1, 2}


@pytest.mark.slow
def test_ten_thousand_proposals_over_the_families_of_the_zoo():
    """None is infeasible or comes twice, memory stays flat, and one takes less than 50 ms in the median."""
    pricer = families(*read_specs(ZOO), max_gflops=0.3)
    survey(pricer)
    times, peaks, places = [], [], set()
    for seed in range(50):
        pool, observed, known = FeasiblePool(pricer, seed=seed), [], set()
        for _ in range(200):
            began = time.process_time()
            one = finish(pool.choose(lambda: (observed, known)))  # noqa: B023
            times.append(time.process_time() - began)
            assert one.is_feasible
            assert one.gmacs <= 0.3
            assert one.hash not in known
            known.add(one.hash)
            observed.append((one, one.gmacs - 1e-8 * one.params))
            places.add(one.point[0])
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert len(places) == len(pricer.space.open)
    print(f"median {1000 * statistics.median(times):.1f} ms; peak memory {peaks[9]:.0f} MiB, later {peaks[-1]:.0f} MiB")
    assert statistics.median(times) < 0.05
    assert peaks[-1] < 1.1 * peaks[9]


@pytest.mark.parametrize("better", [0, 1])
def test_the_search_turns_to_the_family_that_scores_better(deep, plain, better):
    pricer = families(deep, plain, max_gflops=0.001)

    found = proposals(pricer, 40, score=lambda one: 1.0 * (one.point[0] == better) + one.gmacs)

    assert sum(one.point[0] == better for one in found[10:]) >= 24


def test_all_nets_of_small_families_are_proposed(plain):
    few = parse_spec(PLAIN.replace("high: 20", "high: 4"))
    other = parse_spec(few.dump().replace("name: plain", "name: other").replace("kernel_size: 5", "kernel_size: 3"))
    pricer = families(few, other)
    pool, known = FeasiblePool(pricer, seed=0), set()
    while (one := finish(pool.choose(lambda: ([], known)))) is not None:
        known.add(one.hash)
    assert known == {one.hash for one in map(pricer.plan, pricer.space.all_points())}


def test_with_one_family_the_surrogate_says_the_same_whether_it_is_named_or_not():
    rng = np.random.default_rng(0)
    costs, knobs, scores = np.exp(rng.normal(0, 1, (30, 2))), rng.random((30, 3)), rng.random(30)
    plain = fit_surrogate(costs, knobs, scores, reference=costs)
    assert plain.kernel.family == 0
    assert plain.centres == {}
    order = np.argsort(plain.mean(costs, knobs))
    one = np.zeros(30)
    named = fit_surrogate(costs, knobs, scores, reference=costs, families=one, reference_families=one)
    assert np.corrcoef(named.mean(costs, knobs, one), plain.mean(costs, knobs))[0, 1] > 0.98
    assert len(order) == 30


def test_a_familys_offset_is_learned_and_cost_counts_inside_it():
    """The cheaper family scores better, and inside each larger nets do."""
    rng = np.random.default_rng(1)
    families_ = np.repeat([0.0, 1.0], 20)
    costs = np.exp(rng.normal(0, 0.5, (40, 2))) * np.where(families_ == 0, 1.0, 20.0)[:, None]
    knobs = rng.random((40, 3))
    scores = np.log(costs[:, 0]) - 6 * families_
    model = fit_surrogate(costs, knobs, scores, reference=costs, families=families_, reference_families=families_)
    assert model.slope > 0
    means = model.mean(costs, knobs, families_)
    assert means[families_ == 0].min() > means[families_ == 1].max()
    for family in (0.0, 1.0):
        rows = families_ == family
        assert np.corrcoef(means[rows], np.log(costs[rows, 0]))[0, 1] > 0.9


def test_every_pair_of_families_keeps_the_kernel_positive():
    rng = np.random.default_rng(2)
    costs, knobs = np.exp(rng.normal(0, 1, (60, 2))), rng.random((60, 4))
    for count in (2, 5, 30):
        of = rng.integers(0, count, 60).astype(float)
        for used, seed in itertools.product((0, 1, 7, 60), range(3)):
            model = fit_surrogate(
                costs[:used], knobs[:used], rng.random(used), reference=costs, families=of[:used], reference_families=of
            )
            assert np.isfinite(model.sample(costs, knobs, np.random.default_rng(seed), of)).all()
