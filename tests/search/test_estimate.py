"""Latency is measured for nets that may meet its limit; others are known from the measured ones."""

import math
import random

import pytest

from lmnet.search.nets.estimate import LEAST, Estimator
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.nets.space import Space
from lmnet.search.nets.survey import survey


class Machine:
    """A machine whose times depend on the layers more than on GMACs, with the noise of a measurement."""

    def __init__(self, noise):
        self.noise, self.times = noise, {}

    def true_ms(self, spec):
        values = spec.layout.vars
        return 1.0 + 0.5 * sum(values["depth"]) * len(values["kernels"]) + 0.05 * values["width"]

    def __call__(self, cost, spec):
        values = str(spec.layout.vars)
        assert values not in self.times  # each net once
        self.times[values] = self.true_ms(spec) * math.exp(random.Random(values).gauss(0, self.noise))
        return self.times[values]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("limit", [3.0, 6.0])
def test_nets_that_surely_miss_the_limit_are_not_measured_and_no_other_is_left_out(small, noise, limit):
    space, machine = Space(small), Machine(noise)
    pricer, rng = Pricer(space, Limits(max_latency_ms=limit), machine), random.Random(0)
    points = [space.sample(rng) for _ in range(400)]

    priced = [pricer.price(point) for point in points]

    known = {str(pricer.spec(one.point).layout.vars) for one in priced}
    unmeasured = [one for one in priced if str(pricer.spec(one.point).layout.vars) not in machine.times]
    assert all(not one.is_feasible and one.latency_ms > limit for one in unmeasured)
    assert all(machine.true_ms(pricer.spec(one.point)) > limit for one in unmeasured)
    over = [one for one in priced if machine.true_ms(pricer.spec(one.point)) > limit]
    if noise < 0.3:
        assert len(unmeasured) > 0.3 * len(over)
        assert len(machine.times) < 0.9 * len(known)
    assert all(one.latency_ms in machine.times.values() for one in priced if one.is_feasible)


def test_the_starting_net_is_measured(small):
    space, machine = Space(small), Machine(0.0)
    pricer = Pricer(space, Limits(max_latency_ms=2.4), machine)
    found = survey(pricer)
    assert found.start.latency_ms == machine.true_ms(pricer.spec(space.start)) == 2.4


def test_with_few_measured_nets_there_is_no_estimate():
    estimator = Estimator()
    for place in range(LEAST):
        assert estimator.interval([1.0, 2.0], [0.5]) is None
        estimator.add([1.0 + place, 2.0], [place / LEAST], 3.0 + place)
    low, high = estimator.interval([4.0, 2.0], [0.25])
    assert 4.0 < low < 6.0 < high < 9.0
    far = estimator.interval([400.0, 2.0], [0.25])
    assert far[1] / far[0] > 1.2 * high / low  # less is known far away
