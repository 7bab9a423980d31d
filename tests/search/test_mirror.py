"""What a sampler makes of what the mirror of the study is told."""

import random

import pytest

from lmnet.builder.spec import load_spec, parse_spec
from lmnet.search.propose.mirror import MirrorStudy
from lmnet.search.space import Space

SEARCH = """
search:
  stem_stride: {choices: [2, 4]}
  width: {low: 4, high: 12, step: 2}
  depth: {each: [1, 2, 3]}
  decoder_depth: {each: [1, 2]}
  window: {each: [3, 5, 7, 9]}
  expand_ratio: {choices: [1.0, 1.5, 2.0, 3.0]}
  kernels: {choices: [[3], [5, 3], [5, 3, [3, 1], [1, 3]], [7, 3, [3, 1], [1, 3]]]}
"""
"""One width for the whole net."""


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_refused_proposals_teach_the_sampler(sampler):
    """The wider the net the better its score, and the wide ones are infeasible: proposals turn to what is feasible."""
    space = Space(parse_spec(load_spec("lmnet_xxs").dump().split("\nsearch:")[0] + SEARCH))
    width = [knob.name for knob in space.knobs].index("width")
    rng = random.Random(0)
    mirror = MirrorStudy(space, sampler=sampler, seed=0, session=0)
    while len(mirror.scored) < 12:
        point = space.sample(rng)
        if point[width] <= 2:
            mirror.learn(point, float(point[width]), {"max_gflops": (point[width] - 2.5) / 2.5})
    refused = []
    for number in range(12):
        trial, point = mirror.ask()
        excess = {"max_gflops": (point[width] - 2.5) / 2.5}
        if point[width] > 2:
            mirror.refuse(trial, excess)
            refused.append(point)
        else:
            mirror.begin(str(number), point, excess, trial)
            mirror.finish(str(number), float(point[width]))
    assert len(set(refused)) == len(refused) <= 6
