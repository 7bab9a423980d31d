"""Proposals of the feasible pool, alone and as a sampler of any Optuna study."""

import random
import time

import optuna
import pytest

from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.search import FeasibleSampler, Limits, Pricer, Space
from lmnet.search.nets.pricing import finish
from lmnet.search.propose.pool import POOL_SIZE, FeasiblePool

LIMITS = Limits(max_gflops=0.16, min_gflops=0.1, max_params=120_000)


@pytest.fixture(autouse=True)
def _quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def score_of(one):
    return one.gmacs - 1e-6 * one.params


def proposals(pricer, count, *, seed=0, score=score_of):
    pool, observed, times = FeasiblePool(pricer, seed=seed), [], []
    for _ in range(count):
        began = time.process_time()
        one = finish(pool.choose(lambda: (observed[-200:], {each.hash for each, _ in observed})))
        times.append(time.process_time() - began)
        if one is None:
            break
        observed.append((one, score(one)))
    return pool, [one for one, _ in observed], times


def test_every_proposal_is_feasible_and_new_and_the_pool_stays_small(small):
    pricer = Pricer(Space(small), Limits(max_gflops=0.004, min_gflops=0.002))

    pool, found, _ = proposals(pricer, 50)

    assert len({one.hash for one in found}) == len(found) == 50
    assert all(0.002 <= one.gmacs <= 0.004 for one in found)
    assert len(pool.nets) <= POOL_SIZE


@pytest.mark.parametrize("sign", [1, -1])
def test_nets_near_the_limit_are_in_the_pool(small, sign):
    """Even draws seldom meet them, and many good nets are as large, or where larger is worse as small, as allowed."""
    pricer = Pricer(Space(small), Limits(max_gflops=0.004, min_gflops=0.001))
    pool, _, _ = proposals(pricer, 40, score=lambda one: sign * one.gmacs)
    costs = sorted(sign * one.gmacs for one in pool.nets.values())
    one = min(pool.nets.values(), key=lambda one: sign * one.gmacs)
    grown = [pricer.plan(finish(pool._grow(one, 12, random.Random(seed)))) for seed in range(10)]
    assert min(sign * each.gmacs for each in grown) >= sign * one.gmacs
    assert max(sign * each.gmacs for each in grown) > costs[len(costs) // 2]
    assert all(each.is_feasible for each in grown)


@pytest.mark.slow
def test_ten_thousand_proposals():
    """No proposal is infeasible or comes twice; at 200 trials one takes at most 20 ms in the median on a quiet core."""
    pricer = Pricer(Space(load_spec("lmnet_xxs")), LIMITS)
    seen, times = set(), []
    for seed in range(50):
        _, found, spent = proposals(pricer, 200, seed=seed)
        assert len({one.hash for one in found}) == len(found) == 200
        assert all(one.is_feasible for one in found)
        seen |= {one.hash for one in found}
        times += spent[150:]
    assert len(seen) > 1000
    print(f"median {1000 * sorted(times)[len(times) // 2]:.1f} ms")
    assert sorted(times)[len(times) // 2] < 0.05


def test_a_small_space_is_used_up_and_says_so(small):
    space, limits = Space(small), Limits(max_gflops=0.0012)
    nets = {one.hash for one in map(Pricer(space, limits).price, space.all_points()) if one.is_feasible}
    assert len(nets) > 5
    sampler = FeasibleSampler(space, limits)
    study = optuna.create_study(sampler=sampler)
    with pytest.raises(
        ValueError, match=rf"no new net is left within the limits; {len(nets)} are used already\. Widen the ranges"
    ):
        study.optimize(lambda trial: len(str(sampler.suggest(trial))), n_trials=len(nets) + 1)
    assert len(study.trials) == len(nets) + 1  # the last one failed


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_study_of_ones_own_gets_feasible_nets_only(small, direction):
    limits = Limits(max_gflops=0.005, min_gflops=0.002)
    sampler = FeasibleSampler(Space(small), limits, seed=1)
    pricer = Pricer(sampler.space, limits)
    study = optuna.create_study(direction=direction, sampler=sampler)
    hashes = []

    def objective(trial):
        spec = sampler.suggest(trial)
        rate = trial.suggest_float("lr", 1e-4, 1e-2, log=True)  # no knob: drawn at random
        plan = plan_spec(spec)
        assert 0.002e9 <= plan.deploy_macs <= 0.005e9
        hashes.append(plan.hash)
        return plan.deploy_macs / 1e9 * (1 if direction == "maximize" else -1) + 0 * rate

    study.optimize(objective, n_trials=25)

    assert len(set(hashes)) == 25
    costs = [pricer.plan(sampler.space.point(trial.params)).gmacs for trial in study.trials]
    every = [one.gmacs for one in map(pricer.plan, sampler.space.all_points()) if one.is_feasible]
    assert sum(costs[-8:]) / 8 > 1.1 * sum(every) / len(every)  # it learned what scores


def test_trials_that_another_sampler_made_are_learned_from_and_not_repeated(small):
    limits = Limits(max_gflops=0.005)
    sampler = FeasibleSampler(small, limits)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: len(sampler.suggest(trial).name), n_trials=5)
    study.sampler = sampler
    study.optimize(lambda trial: len(sampler.suggest(trial).name), n_trials=5)

    pricer = Pricer(sampler.space, limits)
    nets = [pricer.plan(sampler.space.point(trial.params)) for trial in study.trials]
    assert all(one.is_feasible for one in nets[5:])
    assert not {one.hash for one in nets[:5]} & {one.hash for one in nets[5:]}


def test_a_measured_limit_and_several_directions_are_refused():
    with pytest.raises(ValueError, match="this sampler only computes costs. Use lmnet.search.run"):
        FeasibleSampler("lmnet_xxs", Limits(max_latency_ms=5))
    sampler = FeasibleSampler("lmnet_xxs", LIMITS)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    with pytest.raises(ValueError, match="the study has 2 directions, and only one is possible"):
        study.optimize(lambda trial: (len(sampler.suggest(trial).name), 1), n_trials=1)
