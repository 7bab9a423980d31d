"""Hypothesis: random valid graphs build and cost what torch counts; mutated specs end in a plan or a SpecError."""

import contextlib
import copy
import string

import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from lmnet.builder.models import build_model
from lmnet.builder.planner import Planner
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.builder.zoo import list_models, zoo_path

CALM = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def valid_graphs(draw):
    """A graph on maps of three scales: every new node takes maps that fit, and a fusion at the end takes them all."""
    maps = [("input", 3, 1)]
    nodes = {}
    for index in range(draw(st.integers(1, 6))):
        name, channels, scale = draw(st.sampled_from(maps))
        width = draw(st.sampled_from([4, 8, 12]))
        heads = draw(st.sampled_from([heads for heads in (1, 2, 3, 4) if channels % heads == 0]))
        choices = {
            "conv_norm_act": ({"out_channels": width, "activation": draw(st.sampled_from(["none", "pre", "post"]))}, 1),
            "multi_branch": ({"out_channels": width, "kernels": draw(st.sampled_from([[3], [5, [1, 3]]]))}, 1),
            "double_conv": ({"out_channels": width}, 1),
            "lft": ({"num_heads": heads, "window": draw(st.sampled_from([3, [3, 5]]))}, 1),
        }
        if scale > 1:
            choices["gft"] = ({"num_heads": heads, "out_channels": width}, 1)
        if scale < 4:
            choices["downsample"] = ({"out_channels": width}, 2)
        block = draw(st.sampled_from(sorted(choices)))
        options, stride = choices[block]
        nodes[f"node{index}"] = {"block": block, "from": name, **options}
        out = channels if block == "lft" else options["out_channels"]
        maps.append((f"node{index}", out, scale * stride))
    made = maps[1:]
    upsample = draw(st.sampled_from(["bilinear", "transposed", "pixel_shuffle"]))
    nodes["fuse"] = {
        "block": "cross_scale_fusion",
        "from": [name for name, _, _ in made],
        "out_channels": 6,
        "scales": [1 / scale for _, _, scale in made],
        "upsample": upsample,
    }
    nodes["head"] = {"block": "segmentation_head", "from": "fuse"}
    return {
        "schema": "lmnet/1",
        "name": "random",
        "input": {"size": [32, 48]},
        "nodes": nodes,
        "outputs": {"logits": "head"},
    }


@CALM
@given(valid_graphs())
def test_random_graphs_build_dump_and_cost_what_torch_counts(data):
    spec = parse_spec(yaml.safe_dump(data, sort_keys=False))
    plan = Planner(spec).plan()
    again = parse_spec(spec.dump())
    assert again == spec
    assert Planner(again).plan().hash == plan.hash

    model = build_model(spec).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert model(torch.zeros(1, 3, 32, 48)).shape == (1, 2, 32, 48)
    by_operation = counter.get_flop_counts()["Global"]
    fused = sum(
        2 * 2 * node.in_shapes[0][0] * (node.in_shapes[0][1] * node.in_shapes[0][2]) ** 2
        for node in plan.nodes
        if node.block == "gft"
    )
    seen = sum(value for operation, value in by_operation.items() if "scaled_dot_product" in str(operation))
    by_matrix = any("bmm" in str(operation) for operation in by_operation)  # then the products were counted unfused
    missing = 0 if seen or by_matrix else fused
    assert counter.get_total_flops() + missing == 2 * plan.macs


@CALM
@given(valid_graphs())
def test_the_cost_of_a_graph_is_the_sum_of_its_nodes(data):
    plan = Planner(parse_spec(yaml.safe_dump(data, sort_keys=False))).plan()
    model = build_model(plan.spec)
    for node in plan.nodes:
        params = sum(parameter.numel() for parameter in model.get_submodule(node.name).parameters())
        assert params == node.cost.params
    assert plan.params == sum(parameter.numel() for parameter in model.parameters())


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(),
    st.text(string.printable, max_size=12),
    st.sampled_from(["input", "enc0", "lft", "${width}", "${width[0]}", "${1 // 0}", "multi_branch", "[1, 2]"]),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def outcome(text):
    """Plan a text; a SpecError is fine, anything else is raised."""
    with contextlib.suppress(SpecError):
        Planner(parse_spec(text)).plan()


@CALM
@given(st.data())
def test_a_mutated_spec_ends_in_a_plan_or_a_spec_error(data):
    spec = copy.deepcopy(load_spec(data.draw(st.sampled_from(["unet", "lmnet_xxs"]))).document.data)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in places(spec) if path]))
        target = spec
        for part in path[:-1]:
            target = target[part]
        if data.draw(st.booleans()) and isinstance(target, dict):
            del target[path[-1]]
        else:
            target[path[-1]] = data.draw(ANYTHING)
    outcome(yaml.safe_dump(spec, sort_keys=False))


@CALM
@given(st.sampled_from(list_models()), st.integers(0, 4000), st.integers(0, 12), st.text(max_size=8))
def test_a_spec_with_a_cut_and_an_insertion_ends_in_a_plan_or_a_spec_error(name, start, length, inserted):
    text = zoo_path(name).read_text()
    outcome(text[:start] + inserted + text[start + length :])
