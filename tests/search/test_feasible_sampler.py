"""Proposals of the feasible pool, alone and as a sampler of any Optuna study."""

import itertools
import random
import time

import optuna
import pytest

from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.search import FeasibleSampler, Limits, Pricer, Space
from lmnet.search.nets.pricing import finish
from lmnet.search.propose.pool import POOL_SIZE, STAGES, FeasiblePool

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
    grown = [pricer.plan(finish(pool._grow(one, 12, random.Random(seed), is_larger=sign > 0))) for seed in range(10)]
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


def counted(choice):
    """Return the net that is chosen, and the number of steps."""
    count = 0
    while True:
        try:
            next(choice)
        except StopIteration as end:
            return end.value, count
        count += 1


def test_the_first_choices_do_not_wait_for_the_whole_pool(small):
    """Counted in nets whose cost was computed, whatever the machine knows of their nodes."""
    pricer = Pricer(Space(small), Limits(max_gflops=0.004))
    pool, observed, steps = FeasiblePool(pricer, seed=0), [], []
    for _ in range(7):
        one, count = counted(pool.choose(lambda: (observed, {one.hash for one, _ in observed})))
        observed.append((one, score_of(one)))
        steps.append(count)

    filling, later = steps[: len(STAGES)], steps[len(STAGES) :]
    assert filling[0] < sum(filling) / 12
    assert filling[1] < sum(filling) / 4
    assert max(later) < 100 < 4000 < sum(filling)


@pytest.mark.parametrize("is_random", [False, True])
def test_proposals_do_not_depend_on_how_far_the_pool_was_filled_between_them(small, is_random):
    """Between two choices the pool is filled as long as the workers are busy: by more nets on a quicker machine."""

    def proposed(quickness):
        pricer = Pricer(Space(small), Limits(max_gflops=0.004))
        pool, observed = FeasiblePool(pricer, seed=0, is_random=is_random), []

        def look():
            return observed, {one.hash for one, _ in observed}

        for _ in range(12):
            one = finish(pool.choose(look))
            observed.append((one, score_of(one)))
            for _ in itertools.islice(pool.fill(look), quickness):
                pass
        return [one.hash for one, _ in observed]

    assert proposed(0) == proposed(300) == proposed(10**6)


def test_a_choice_that_was_interrupted_is_made_again(small):
    pricer = Pricer(Space(small), Limits(max_gflops=0.004))
    pool, plan = FeasiblePool(pricer, seed=0), pricer.plan

    def interrupted(point):
        raise KeyboardInterrupt

    pricer.plan = interrupted
    with pytest.raises(KeyboardInterrupt):
        finish(pool.choose(lambda: ([], ())))
    pricer.plan = plan

    assert finish(pool.choose(lambda: ([], ()))).is_feasible
