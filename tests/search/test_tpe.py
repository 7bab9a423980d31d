"""The sampler tpe: what it knows of nets in training."""

import math
import random

from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer, finish
from lmnet.search.nets.space import Space
from lmnet.search.propose.sampler import Tpe
from lmnet.search.run_search import run
from tests.search.objectives import width_score


def distance(space, first, second):
    lasts = [len(knob.values) - 1 for knob in space.knobs]
    return math.dist(*([index / last for index, last in zip(point, lasts, strict=True)] for point in (first, second)))


def test_a_net_in_training_is_not_proposed_again_and_others_are_further_away(small):
    """The same sampler with the same scores, which are highest at one end of the space, with and without that net."""
    pricer = Pricer(Space(small), Limits(max_gflops=0.01))
    space, near, far = pricer.space, 0.0, 0.0
    for seed in range(6):
        rng = random.Random(seed)
        observed = [(pricer.plan(point), float(sum(point))) for point in (space.sample(rng) for _ in range(20))]
        taken = {one.hash for one, _ in observed}

        def look(observed=observed, taken=taken):
            return observed, taken

        first = finish(Tpe(pricer, seed=seed).choose(look))
        taken.add(first.hash)
        without = finish(Tpe(pricer, seed=seed).choose(look))
        known = finish(Tpe(pricer, seed=seed, pending=lambda point=first.point: [point] * 4).choose(look))
        assert first.hash not in (without.hash, known.hash)
        near += distance(space, first.point, without.point)
        far += distance(space, first.point, known.point)

    assert far > near


def test_a_search_tells_the_sampler_which_nets_are_in_training(small, tmp_path, monkeypatch):
    seen, make = [], Tpe._study

    def noted(sampler, observed):
        seen.append((len(observed), len(sampler._pending())))
        return make(sampler, observed)

    monkeypatch.setattr(Tpe, "_study", noted)
    options = {"objective": width_score, "max_gflops": 0.004, "trials": 9, "sampler": "tpe", "out": tmp_path}

    run(small, batch=3, **options)

    assert seen == [(0, 1), (0, 2), (3, 0), (3, 1), (3, 2), (6, 0), (6, 1), (6, 2)]
