"""Nodes whose block is a variable: what is planned, hashed, written, overridden, searched."""

import json
import random

import jsonschema
import pytest
import torch
import yaml

import lmnet
from lmnet.builder.models import build_model
from lmnet.builder.planner import Planner, plan_spec
from lmnet.builder.problems import SpecError
from lmnet.builder.schema import json_schema
from lmnet.builder.search_space import read_knobs
from lmnet.builder.spec import parse_spec
from lmnet.commands.build import main
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.nets.space import Space

TEXT = """
schema: lmnet/1
name: small
input: {size: [32, 32]}
vars:
  cell: multi_kernel
  width: 4
nodes:
  stem: {block: downsample, from: input, out_channels: "${width}"}
  enc:
    block: "${cell}"
    from: stem
    out_channels: "${width}"
    options:
      multi_kernel: {kernels: [1, 3], expand_ratio: 2}
      large_kernel: {kernel_size: 5}
      axial_depthwise: {norm_layer: batchnorm2d}
  head: {block: segmentation_head, from: enc, scale: 2}
outputs: {logits: head}
search:
  cell: {choices: [multi_kernel, large_kernel, axial_depthwise, identity]}
  width: {choices: [4, 8]}
"""
FIXED = {
    "multi_kernel": "block: multi_kernel, out_channels: 4, kernels: [1, 3], expand_ratio: 2",
    "large_kernel": "block: large_kernel, out_channels: 4, kernel_size: 5",
    "axial_depthwise": "block: axial_depthwise, norm_layer: batchnorm2d",
    "identity": "block: identity",
}


def with_cell(cell):
    return parse_spec(TEXT).override({"cell": cell})


def with_block(fields):
    """The same net with the block written out."""
    head, _, rest = TEXT.partition("  enc:\n")
    return parse_spec(head + f"  enc: {{from: stem, {fields}}}\n" + rest[rest.index("  head:") :].split("search:")[0])


@pytest.mark.parametrize("cell", FIXED)
def test_a_chosen_block_is_the_net_with_that_block_written_out(cell):
    chosen, fixed = plan_spec(with_cell(cell)), plan_spec(with_block(FIXED[cell]))
    assert chosen.hash == fixed.hash
    assert (chosen.macs, chosen.params) == (fixed.macs, fixed.params)
    assert chosen.nodes[1].block == cell
    model = build_model(with_cell(cell))
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    assert plan_spec(parse_spec(with_cell(cell).dump())).hash == chosen.hash


def added(text, node, *, new_source=""):
    """The spec with one node more behind ``head``, which ``outputs`` or ``aux`` may name."""
    return text.replace("outputs:", f"  {node}\noutputs:").replace("{logits: head}", new_source or "{logits: head}")


def test_an_identity_is_the_net_without_that_node():
    text = TEXT.replace("from: enc,", "from: stem,")
    without = plan_spec(parse_spec(text[: text.index("  enc:")] + text[text.index("  head:") :].split("search:")[0]))
    assert plan_spec(with_cell("identity")).hash == without.hash
    twice = TEXT.replace("  head:", "  more: {block: identity, from: enc}\n  head:").replace(
        "from: enc,", "from: more,"
    )
    assert plan_spec(parse_spec(twice)).hash == plan_spec(parse_spec(TEXT)).hash
    assert plan_spec(parse_spec(twice).override({"cell": "identity"})).hash == without.hash
    last = parse_spec(added(TEXT, "last: {block: identity, from: head}", new_source="{logits: last}"))
    assert plan_spec(last).hash == plan_spec(parse_spec(TEXT)).hash


def test_an_identity_is_passed_over_in_the_hash_of_losses_of_their_own_too():
    aux = added(TEXT, "deep: {block: segmentation_head, from: enc}").replace("search:", "aux: {deep: 0.4}\nsearch:")
    passed = added(aux, "same: {block: identity, from: deep}").replace("{deep: 0.4}", "{same: 0.4}")
    assert plan_spec(parse_spec(aux)).hash == plan_spec(parse_spec(passed)).hash
    assert plan_spec(parse_spec(aux)).hash != plan_spec(parse_spec(TEXT)).hash


def test_the_hash_ignores_options_of_blocks_that_are_not_chosen():
    other = TEXT.replace("kernel_size: 5", "kernel_size: 9")
    assert plan_spec(parse_spec(other)).hash == plan_spec(parse_spec(TEXT)).hash
    chosen = [plan_spec(parse_spec(text).override({"cell": "large_kernel"})).hash for text in (other, TEXT)]
    assert chosen[0] != chosen[1]


def test_a_choice_whose_channels_differ_at_a_point_is_refused_there():
    text = TEXT.replace('from: stem\n    out_channels: "${width}"', "from: stem\n    out_channels: 4")
    planner = Planner(parse_spec(text))
    assert planner.plan({"cell": "identity", "width": 4}).nodes[1].block == "identity"
    assert planner.plan({"cell": "large_kernel", "width": 8}).nodes[1].out_shapes == ((4, 16, 16),)
    with pytest.raises(SpecError, match="identity has no option out_channels and gives 8 channels, got out_channels=4"):
        planner.plan({"cell": "identity", "width": 8})
    with pytest.raises(SpecError, match="out_channels must be a whole number, got out_channels=4.5"):
        Planner(parse_spec(TEXT.replace("width: 4", "width: 4.5", 1))).plan({"cell": "identity"})
    with pytest.raises(SpecError, match=r"block must be one of multi_kernel, .*, got gft\. Take one"):
        planner.plan({"cell": "gft"})


@pytest.mark.parametrize(
    ("variables", "block", "search", "names"),
    [
        ("cells: [lft, identity]", "${cells[1]}", "cells: {each: [lft, identity]}", ["lft", "identity"]),
        ("cells: [lft, identity]", "${cells[1]}", "cells: {each: {choices: [identity, lft]}}", ["identity", "lft"]),
        ("cells: [lft, identity]", "${cells[1]}", '"cells[1]": {choices: [identity, pool]}', ["identity", "pool"]),
        ("cells: [lft, identity]", "${cells[1]}", '"cells[0]": {choices: [lft, pool]}', ["identity"]),
        ("cells: [lft, gft]", "${ cells[0] }", "cells: {choices: [[lft, gft], [gft, gft]]}", ["lft", "gft"]),
        ("cell: lft\n  cells: ['${cell}', gft]", "${cells[0]}", "cell: {choices: [lft, gft]}", ["lft", "gft"]),
        ("cell: lft\n  same: '${cell}'", "${same}", "cell: {choices: [lft, gft]}", ["lft", "gft"]),
        ("cells: [lft, gft]\n  same: '${cells}'", "${same[1]}", "cells: {each: [lft, gft]}", ["lft", "gft"]),
        ("cell: lft", "${cell}", "width: {choices: [4, 8]}", ["lft"]),
    ],
)
def test_the_choices_are_those_of_the_variable_in_search(variables, block, search, names):
    start, _, rest = TEXT.partition("  cell: multi_kernel\n")
    nodes, _, _ = rest.partition("  enc:\n")
    text = f"{start}  {variables}\n{nodes}  enc: {{block: '{block}', from: stem}}\n"
    text += (
        f"  head: {{block: segmentation_head, from: enc, scale: 2}}\noutputs: {{logits: head}}\nsearch:\n  {search}\n"
    )
    planner = Planner(parse_spec(text))
    assert list(planner.wiring.nodes[1].blocks) == names
    planner.plan()


def test_without_search_the_blocks_with_options_are_the_choices_and_set_takes_any():
    spec = parse_spec(TEXT.split("search:")[0])
    assert list(Planner(spec).wiring.nodes[1].blocks) == ["multi_kernel", "large_kernel", "axial_depthwise"]
    assert plan_spec(spec.override({"cell": "shift_mlp"})).nodes[1].block == "shift_mlp"
    assert plan_spec(spec.override({"cell": "large_kernel"})).nodes[1].options["kernel_size"] == 5


def test_set_changes_the_block_and_options_of_one_choice(tmp_path, capsys):
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    options = ["--set", "cell=large_kernel", "--set", "nodes.enc.options.large_kernel.depth=2", "--json"]
    assert main([str(path), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = plan_spec(with_block("block: large_kernel, out_channels: 4, kernel_size: 5, depth: 2"))
    assert found["hash"] == expected.hash
    assert main([str(path), "--set", "cell=lage_kernel"]) == 2
    assert "block must be one of multi_kernel, large_kernel" in capsys.readouterr().err
    path.write_text(TEXT.replace("kernel_size: 5", "kernel_size: 4"))
    assert main([str(path)]) == 0  # the net that it is has no such kernel
    assert main([str(path), "--validate"]) == 2
    printed = capsys.readouterr().err
    assert "nodes.enc.options.large_kernel.kernel_size: large_kernel: kernel_size must be odd" in printed


def test_a_search_refuses_a_choice_that_does_not_fit_with_all_other_faults():
    text = TEXT.replace("kernel_size: 5", "kernel_size: 4").replace("{choices: [4, 8]}", "{low: 8, high: 4}")
    with pytest.raises(SpecError) as caught:
        read_knobs(parse_spec(text))
    assert [problem.path for problem in caught.value.problems] == [
        "nodes.enc.options.large_kernel.kernel_size",
        "search.width.low",
    ]


def test_a_found_net_whose_other_choices_do_not_fit_still_builds():
    text = TEXT.replace("axial_depthwise", "lft").replace("{norm_layer: batchnorm2d}", "{num_heads: 4}")
    text = text.replace("{choices: [4, 8]}", "{choices: [4, 6, 8]}")
    space = Space(parse_spec(text))
    pricer = Pricer(space, Limits())
    found = pricer.spec(space.point({"cell": "identity", "width": 6}))
    assert build_model(parse_spec(found.dump())).plan.nodes[1].block == "identity"
    assert "num_heads must divide" in str(pricer.price(space.point({"cell": "lft", "width": 6})).problem)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("large_kernel: {kernel_size: 5}", "large_kernel: {kernelsize: 5}"),
        ("large_kernel: {kernel_size: 5}", "large_kernle: {kernel_size: 5}"),
        ("large_kernel: {kernel_size: 5}", "large_kernel: {kernel_size: five}"),
        ('    out_channels: "${width}"', '    outchannels: "${width}"'),
    ],
)
def test_the_json_schema_knows_the_options_of_every_choice(old, new):
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(yaml.safe_load(TEXT)))
    assert list(validator.iter_errors(yaml.safe_load(TEXT.replace(old, new))))


def test_every_choice_of_mixed_cells_plans_and_runs():
    space = Space(lmnet.load_spec("mixed_cells"))
    pricer, rng = Pricer(space, Limits()), random.Random(0)
    points = [space.sample(rng) for _ in range(8)]
    assert not [one.problem for point in points if (one := pricer.plan(point)).problem]
    positions = [position for position, knob in enumerate(space.knobs) if knob.variable.endswith(("cells", "bottom"))]
    seen = set()
    for place in range(6):  # each choice of each cell once
        point = space.sample(rng)
        for position in positions:
            index = (place + position) % len(space.knobs[position].values)
            seen.add((position, index))
            point = space.moved(point, position, index)
        model = build_model(pricer.spec(point))
        assert model.hash == pricer.plan(point).hash
        assert model.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)
    assert len(seen) == sum(len(space.knobs[position].values) for position in positions)


def test_a_spec_may_be_written_back_with_its_choices():
    spec = parse_spec(TEXT)
    assert parse_spec(spec.dump()) == spec
