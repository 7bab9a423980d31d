"""Hypothesis over the zoo: every sample of every space builds, keeps its bounds and survives its dump."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmnet
from lmnet.builder.layout import INPUT_SIZE
from lmnet.builder.models import build_model
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import parse_spec
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.nets.space import Space


def check(name, seed, *, build):
    pricer = Pricer(Space(lmnet.load_spec(name)), Limits())
    point = pricer.space.sample(random.Random(seed))
    candidate = pricer.price(point)
    assert candidate.problem is None
    values = pricer.space.values(point)
    for knob, index in zip(pricer.space.knobs, point, strict=True):
        value = values[knob.variable] if knob.index is None else values[knob.variable][knob.index]
        value = value[0] if knob.variable == INPUT_SIZE else value
        assert value == knob.values[index]
        if knob.is_ordered:
            assert min(knob.values) <= value <= max(knob.values)
    hash_, _, side = candidate.hash.partition("@")
    assert plan_spec(parse_spec(pricer.spec(point).dump())).hash == hash_
    assert side == (str(pricer.spec(point).layout.input.size[0]) if pricer.space.moves_size else "")
    if build:
        model = build_model(pricer.spec(point))
        assert model.hash == hash_
        assert sum(parameter.numel() for parameter in model.parameters()) == model.plan.params


@pytest.mark.parametrize("name", lmnet.list_models())
@settings(max_examples=3, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_a_sample_of_a_zoo_space_keeps_its_bounds_and_its_hash(name, seed):
    check(name, seed, build=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", lmnet.list_models())
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_sample_of_a_zoo_space_builds(name, seed):
    check(name, seed, build=True)
