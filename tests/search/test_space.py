"""The search section of a spec: what is refused, and points as Optuna and the builder see them."""

import random
import re

import pytest

import lmnet
from lmnet.builder.problems import SpecError
from lmnet.builder.search_space import read_knobs
from lmnet.builder.spec import parse_spec
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.nets.space import Space
from tests.search.conftest import SMALL


def with_search(text):
    return parse_spec(SMALL.split("search:")[0] + "search:\n  " + text + "\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "widht: {low: 1, high: 2}",
            r":16:3: search\.widht: search must name variables, got widht\. Did you mean width",
        ),
        ("width: {low: 8, high: 4}", r"search\.width\.low: low must be at most high, got low=8, high=4\. Swap them"),
        ("width: {low: 4, high: 9, step: 2}", r"high must be whole steps above low, got low=4.* Use high: 8"),
        ("width: {low: 4, high: 8, step: 0}", r"search\.width\.step: step must be above 0, got step=0"),
        ("width: {low: 4}", r"search\.width: a range needs low and high, or choices, got low=4"),
        ("width: {low: 4, high: 5000}", r"a range must have at most 1000 values, got 4997\. Raise step"),
        ("width: {low: 0.5, high: 1.5, step: 0.5}", r"a whole variable needs whole bounds, got low=0\.5"),
        ("width: {choices: [4, 4]}", r"search\.width\.choices\[1\]: 4 is listed twice"),
        ("width: {choices: [4, a]}", r"choices\[1\]: a choice must be of the variable's kind, got 'a' for 8"),
        ("width: {choices: [4], low: 2}", r"search\.width\.low: choices must stand alone, got low beside them"),
        ("width: {each: [4]}", r"each needs a list variable, got width=8\. Write low and high"),
        ("depth: {each: [1], low: 1}", r"each must stand alone, got low beside it"),
        ("depth: {low: 1, high: 2}", r"a range needs a variable that is a number, got \[1, 1\]"),
        ("depth: {each: {each: [1]}}", r"each must hold choices or a range, got each inside each"),
        (
            "depth[2]: {choices: [1, 2]}",
            r"search\.depth\[2\]: an item must be one of the list's, got depth\[2\] of depth\[0\] to depth\[1\]",
        ),
        ("depth[x]: {choices: [1, 2]}", r"an item must be one of the list's, got depth\[x\]"),
        ("width[0]: {choices: [1, 2]}", r"an item must be one of the list's, got width\[0\] of no list: width=8"),
        ("depth[0]: {each: [1, 2]}", r"each is for a whole list, got it for depth\[0\]\. Write its low"),
        ("depth[0]: {low: 2, high: 1}", r"search\.depth\[0\]\.low: low must be at most high, got low=2"),
        (
            "depth: {each: [1, 2]}\n  depth[1]: {choices: [1, 2]}",
            r":17:13: search\.depth\[1\]: depth\[1\] has two keys in search\. Remove one",
        ),
        ("depth: {each: [1, 1]}", r"search\.depth\.each\[1\]: 1 is listed twice"),
    ],
)
def test_a_wrong_range_is_refused_with_its_place(text, message):
    with pytest.raises(SpecError, match=message):
        read_knobs(with_search(text))


def test_a_range_of_fractions_needs_a_step():
    text = SMALL.replace("num_classes: 2\n", "num_classes: 2\n  ratio: 1.5\n", 1).split("search:")[0]
    with pytest.raises(SpecError, match=r"a range of fractions needs a step, got low=0\.5, high=1\.5\. Write step"):
        read_knobs(parse_spec(text + "search:\n  ratio: {low: 0.5, high: 1.5}\n"))


def test_all_wrong_ranges_are_told_at_once():
    with pytest.raises(SpecError) as caught:
        read_knobs(with_search("width: {low: 8, high: 4}\n  depth: {low: 1, high: 2}"))
    assert len(caught.value.problems) == 2


def test_a_spec_without_search_is_refused():
    with pytest.raises(ValueError, match="search: small has no search section. Add search"):
        Space(parse_spec(SMALL.split("search:")[0]))


def test_one_item_of_a_list_may_have_a_range_of_its_own():
    space = Space(with_search("depth[1]: {low: 1, high: 3}\n  width: {choices: [4, 8]}"))
    assert [knob.name for knob in space.knobs] == ["depth[1]", "width"]
    assert space.values((2, 0)) == {"depth": [1, 3], "width": 4}
    assert space.params((2, 0)) == {"depth[1]": 3, "width": 4}
    assert space.point({"depth[1]": 3, "width": 4}) == (2, 0)
    assert space.start == (0, 1)


def test_the_size_of_the_image_may_be_a_knob(small):
    space = Space(with_search("input.size: {low: 32, high: 96, step: 32}"))
    pricer = Pricer(space, Limits())
    assert space.moves_size
    assert not Space(small).moves_size
    nets = [pricer.price((index,)) for index in range(3)]
    assert [net.hash.partition("@")[2] for net in nets] == ["32", "64", "96"]
    assert len({net.hash.partition("@")[0] for net in nets}) == 1
    assert nets[1].gmacs == pytest.approx(4 * nets[0].gmacs, rel=0.02)
    assert pricer.spec((2,)).layout.input.size == [96, 96]


@pytest.mark.parametrize(
    ("size", "text", "message"),
    [
        (
            "[64, 32]",
            "{choices: [64]}",
            r"search\.input\.size: input\.size is the side of a square in search, got 64x32 as the",
        ),
        ("[64, 64]", "{choices: [64, 8]}", r"a side must be from 32 to 16384 pixels, got 8\. Write a whole number"),
        ("[64, 64]", "{low: 1.5, high: 64, step: 0.5}", r"a side must be from 32 to 16384 pixels, got 1\.5"),
    ],
)
def test_a_size_that_no_input_has_is_refused(size, text, message):
    spec = with_search(f"input.size: {text}").dump()
    with pytest.raises(SpecError, match=message):
        read_knobs(parse_spec(re.sub(r"size: \[.*?\]", f"size: {size}", spec)))


def test_points_survive_the_way_through_optuna(small):
    space = Space(small)
    rng = random.Random(0)
    for _ in range(50):
        point = space.sample(rng)
        params = space.params(point)
        for name, distribution in space.distributions.items():
            assert distribution._contains(distribution.to_internal_repr(params[name]))
        assert space.point(params) == point


def test_the_start_is_the_specs_own_net(small):
    space = Space(small)
    assert space.values(space.start) == {"width": 8, "depth": [1, 1], "kernels": [3]}
    assert small.override(space.values(space.start)) == small.override({"width": 8})
    assert Space(with_search("width: {choices: [4, 6]}")).start is None


@pytest.mark.parametrize("name", lmnet.list_models())
def test_every_zoo_entry_has_a_space_around_its_own_net(name):
    space = Space(lmnet.load_spec(name))
    assert space.size > 1
    assert space.start is not None
