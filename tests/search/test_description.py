"""What a net is, in numbers that all families share."""

import numpy as np
import pytest

from lmnet.blocks.registry import REGISTRY
from lmnet.builder.planner import Planner
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.search.nets.description import COLUMNS, KIND_OF, KINDS, STRIDES, describe
from lmnet.search.nets.families import FamiliesPricer, make_space
from lmnet.search.nets.limits import Limits

NET = """\
schema: lmnet/1
name: net
input: {channels: 3, size: [64, 64]}
vars: {num_classes: 2, width: 8, window: 5, kernels: [3], depth: 1, ratio: 2.0}
nodes:
  stem: {block: downsample, from: input, out_channels: "${width}", stride: 4}
  mix:  {block: multi_branch_stage, from: stem, out_channels: "${width}", depth: "${depth}", kernels: "${kernels}", expand_ratio: "${ratio}"}
  look: {block: lft, from: mix, window: "${window}", num_heads: 2}
  head: {block: segmentation_head, from: look, scale: 4, num_classes: "${num_classes}"}
outputs: {logits: head}
"""  # noqa: E501


def described(text=NET, values=None, **options):
    plan = Planner(parse_spec(text)).plan(values)
    return dict(zip(COLUMNS, describe(plan, **options).tolist(), strict=True))


def changed(values):
    """Return the names of the numbers that a value changes."""
    before, after = described(), described(values=values)
    return {name for name in COLUMNS if before[name] != after[name]}


def test_shares_by_stride_and_by_kind_sum_to_one():
    found = described()

    for what in ("macs", "params"):
        assert sum(found[f"{what}_stride_{stride}"] for stride in STRIDES) == pytest.approx(1)
        assert sum(found[f"{what}_{kind}"] for kind in KINDS) == pytest.approx(1)
    assert found["macs_window"] > 0
    assert found["macs_encoder"] == found["encoder"] == 0


def test_numbers_are_those_of_the_plan():
    plan = Planner(parse_spec(NET)).plan()
    found = described()

    assert found["log_macs"] == pytest.approx(np.log2(plan.deploy_macs / 64**2))
    assert found["log_params"] == pytest.approx(np.log2(plan.deploy_params))
    assert found["log_pixels"] == 12
    assert found["path"] == pytest.approx(np.log2(1 + 4))
    assert found["width_stride_4"] == pytest.approx(np.log2(9))
    assert found["window_stride_4"] == pytest.approx(np.log2(5))
    assert found["kernel_stride_4"] == pytest.approx(np.log2(3))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"window": 7}, {"window_stride_4", "reach", "macs_window"}),
        ({"kernels": [7]}, {"kernel_stride_4", "macs_depthwise", "params_depthwise"}),
        ({"depth": 3}, {"path", "depth_stride_4", "macs_depthwise"}),
        ({"width": 16}, {"width_stride_4", "narrow_stride_4", "log_macs", "log_params", "log_peak"}),
        ({"ratio": 3.0}, {"expansion", "macs_depthwise"}),
        ({"input.size": [128, 128]}, {"log_pixels"}),
    ],
    ids=["window", "kernel", "depth", "width", "expansion", "size"],
)
def test_a_change_shows_in_its_own_numbers(values, names):
    assert changed(values) >= names


def test_names_in_the_file_do_not_count():
    other = NET.replace("width", "breadth").replace("mix", "blend").replace("name: net", "name: other")

    assert described(other) == described()


def test_an_encoder_and_its_weights_are_told():
    plan = Planner(load_spec("lraspp_mobilenetv3_small")).plan()
    random, pretrained = describe(plan), describe(plan, is_pretrained=True)

    assert random[COLUMNS.index("encoder")] == 1
    assert random[COLUMNS.index("macs_encoder")] > 0.5
    assert [COLUMNS[place] for place in np.flatnonzero(random != pretrained)] == ["pretrained"]


def test_kinds_name_blocks_that_exist_each_once():
    assert set(KIND_OF) <= set(REGISTRY.names())
    assert len(KIND_OF) == sum(map(len, KINDS.values()))


def test_a_net_of_several_families_is_described_as_in_its_own(deep, plain):
    pricer = FamiliesPricer(make_space([deep, plain]), Limits())
    pricer.each[1].is_pretrained = True

    assert (
        pricer.describe((0, *pricer.each[0].space.start)).tolist()
        == pricer.each[0].describe(pricer.each[0].space.start).tolist()
    )
    assert pricer.describe((1, *pricer.each[1].space.start))[COLUMNS.index("pretrained")] == 0  # it has no encoder
