"""What an error advises is tried: the advice is followed word for word, and the spec then plans."""

import re
from pathlib import Path

import pytest
import torch

import lmnet.blocks
from lmnet.builder.planner import plan_spec
from lmnet.builder.problems import SpecError
from lmnet.builder.search_space import read_knobs
from lmnet.builder.spec import parse_spec

SPEC = """\
schema: lmnet/1
name: small
input: {channels: 3, size: [64, 64]}
vars: {width: 8, cell: conv_norm_act}
nodes:
  stem: {block: downsample, from: input, out_channels: "${width}", stride: 4}
  low: {block: downsample, from: stem, out_channels: "${width}"}
  up: {block: upsample, from: low, out_channels: "${width}"}
  mix: {block: cross_scale_fusion, from: [stem, low], out_channels: "${width}", scales: [1, 0.5]}
  deep: {block: conv_norm_act, from: mix, out_channels: "${width}", kernel_size: 3}
  near: {block: lft, from: deep, window: 3, num_heads: 4}
  sum: {block: add, from: [near, up, stem]}
  encoder: {block: timm_encoder, from: input, model: resnet10t, out_indices: [1, 2]}
  side: {block: conv_norm_act, from: encoder.0, out_channels: "${width}"}
  both: {block: fusion_decoder, from: [low, sum], depth: 1}
  joined: {block: add, from: [both, side]}
  last: {block: "${cell}", from: joined, out_channels: "${width}", options: {conv_norm_act: {bias: false}}}
  head: {block: segmentation_head, from: last, num_classes: 2, scale: 4}
outputs: {logits: head}
search:
  width: {low: 8, high: 16, step: 4}
  cell: {choices: [conv_norm_act, identity, multi_kernel]}
"""

# file whose advice it is: what is changed, what the message advises, what follows from it
ADVICE = [
    ("checks.py", "window: 3", "window: 4", r"must be odd.*Use (\d+)\.", r"window: \1"),
    ("checks.py", "window: 3", "window: -2", r"must be odd.*Use (\d+)\.", r"window: \1"),
    ("checks.py", "num_heads: 4", "num_heads: 3", r"num_heads must divide.*Use (\d+) heads", r"num_heads: \1"),
    ("checks.py", "num_heads: 4", "num_heads: 3000", r"num_heads must divide.*Use (\d+) heads", r"num_heads: \1"),
    (
        "checks.py",
        'out_channels: "${width}", kernel_size: 3',
        "out_channels: 10, kernel_size: 3",
        r"num_heads must divide.*Use \d+ heads, or (\d+) or \d+ channels",
        r"out_channels: \1, kernel_size: 3",
    ),
    (
        "checks.py",
        "scales: [1, 0.5]",
        "scales: [1, 0.5], upsample: bilinea",
        r"upsample must be one of.*Did you mean (\w+)\?",
        r"scales: [1, 0.5], upsample: \1",
    ),
    (
        "checks.py",
        "scales: [1, 0.5]",
        "scales: [1, 0.5], upsample: zzz",
        r"upsample must be one of.*Use (\w+)\.",
        r"scales: [1, 0.5], upsample: \1",
    ),
    (
        "checks.py",
        "from: [near, up, stem]",
        "from: [near, up, low]",
        r"Upsample input (2) by 2",
        "from: [near, up, up]",
    ),
    ("cross_scale_fusion.py", "scales: [1, 0.5]", "scales: [1]", r"one entry an input.*List (2)\.", "scales: [1, 0.5]"),
    (
        "node_options.py",
        "options: {conv_norm_act: {bias: false}}",
        "bias: false",
        r"Write it in (options: \{conv_norm_act: \{bias): \.\.\.\}\}",
        r"\1: false}}",
    ),
    (
        "wiring.py",
        "options: {conv_norm_act: {bias: false}}",
        "options: [bias]",
        r"Write (options: \{)BLOCK: \{OPTION: VALUE\}\}",
        r"\1conv_norm_act: {bias: false}}",
    ),
    ("options.py", "num_heads: 4", "num_heads: 4.5", r"Use (\d+) or \d+\.", r"num_heads: \1"),
    ("options.py", "window: 3", "window: 2.5", r"Use \d+ or (\d+)\.", r"window: \1"),
    ("options.py", "window: 3", "window: '3'", "Leave the (quotes) out", "window: 3"),
    (
        "options.py",
        ', from: encoder.0, out_channels: "${width}"',
        ", from: encoder.0",
        r"needs out_channels.*Add (out_channels): \.\.\.",
        r", from: encoder.0, \1: 8",
    ),
    ("planner.py", "from: encoder.0", "from: encoder.7", r"Use (encoder\.\d) to", r"from: \1"),
    ("planner.py", "logits: head", "logits: head.3", r"Use (head\.0)\.", r"logits: \1"),
    ("planner.py", "scale: 4", "scale: 2", r"Give the segmentation_head scale: (\d+)\.", r"scale: \1"),
    ("planner.py", "scale: 4", "scale: 16", r"Give the segmentation_head scale: (\d+)\.", r"scale: \1"),
    ("search_space.py", "high: 16, step: 4", "high: 15, step: 4", r"Use high: (\d+)\.", r"high: \1, step: 4"),
    (
        "search_space.py",
        "{low: 8, high: 16, step: 4}",
        "{each: [1, 2], low: 8}",
        r"Write each: (\{low, high, step\})",
        "{low: 8, high: 16, step: 4}",  # each is for lists: what stays is the range
    ),
    ("layout.py", "outputs: {logits", "search: {logits", r"needs (outputs), got none. Add outputs: ", r"\1: {logits"),
    ("strict_yaml.py", "window: 3", "window: &w 3", r"got &w\. Use vars and \$\{(\.\.\.)\}", 'window: "${width - 5}"'),
    (
        "wiring.py",
        "vars: {width: 8,",
        "vars: {width: '8',",
        r"Write the number (\d+) without quotes",
        r"vars: {width: \1,",
    ),
    ("wiring.py", "from: encoder.0", "from: encoder.x", r"must be given by number.*Write (encoder\.0)\.", r"from: \1"),
    ("wiring.py", "logits: head", "logits: head.x", r"must be given by number.*Write (head\.0)\.", r"logits: \1"),
]


def planned(text):
    spec = parse_spec(text)
    plan_spec(spec)
    read_knobs(spec)


def test_the_spec_itself_plans():
    planned(SPEC)


@pytest.mark.parametrize(("right", "wrong", "advice", "followed"), [row[1:] for row in ADVICE])
def test_what_is_advised_helps(right, wrong, advice, followed):
    assert right in SPEC
    bad = SPEC.replace(right, wrong, 1)
    with pytest.raises(SpecError) as caught:
        planned(bad)
    found = re.search(advice, str(caught.value))
    assert found, caught.value

    planned(SPEC.replace(right, found.expand(followed), 1))


@pytest.mark.parametrize("text", ["from: stim", "block: lfft", "scal: 4", "logits: hed", "widht"])
def test_a_name_that_is_meant_is_the_right_one(text):
    rights = {
        "from: stim": "from: stem",
        "block: lfft": "block: lft",
        "scal: 4": "scale: 4",
        "logits: hed": "logits: head",
        "widht": "width",
    }
    right = rights[text]
    index = SPEC.rindex(right) if right in ("scale: 4", "logits: head") else SPEC.index(right)
    bad = SPEC[:index] + text + SPEC[index + len(right) :]
    if text == "widht":  # the first use, not the definition
        bad = SPEC.replace("${width}", "${widht}", 1)
    with pytest.raises(SpecError) as caught:
        planned(bad)

    meant = re.search(r"Did you mean (\w+)\?", str(caught.value))

    assert meant, caught.value
    assert meant[1] in right


def test_a_block_says_which_channels_it_should_have_been_built_for():
    x = torch.zeros(1, 7, 8, 8)
    with pytest.raises(ValueError, match="Build the block with") as caught:
        lmnet.blocks.ConvNormAct(3, out_channels=4)(x)
    advised = int(re.search(r"in_channels=(\d+)\.", str(caught.value))[1])

    lmnet.blocks.ConvNormAct(advised, out_channels=4)(x)


def test_a_block_of_two_inputs_says_how_many_names_to_list():
    with pytest.raises(SpecError) as caught:
        planned(SPEC.replace("from: [low, sum]", "from: [low, sum, stem]"))

    assert re.search(r"needs exactly (\d+) inputs", str(caught.value))[1] == "2"


def test_the_advice_for_a_rounded_override_helps():
    spec = parse_spec(SPEC)
    with pytest.raises(SpecError) as caught:
        spec.override({"width": 16.0})
    advised = int(re.search(r"Write (\d+)\.", str(caught.value))[1])

    plan_spec(spec.override({"width": advised}))


CHANNELS = {
    "cascaded_fields.py": lambda width: lmnet.blocks.CascadedFields(6, out_channels=width, num_fields=3),
    "hadamard.py": lambda width: lmnet.blocks.HadamardAttention(width, out_channels=8),
}


@pytest.mark.parametrize("file", CHANNELS)
def test_the_advised_number_of_channels_builds(file):
    with pytest.raises(ValueError, match="must be a multiple of") as caught:
        CHANNELS[file](7)

    CHANNELS[file](int(re.search(r"Use (\d+)", str(caught.value))[1]))


def test_the_advised_output_of_a_node_can_have_a_loss():
    text = SPEC.replace("search:", "aux: {encoder.5: 0.4}\nsearch:")
    with pytest.raises(SpecError) as caught:
        planned(text)
    advised = re.search(r"Use (encoder\.\d)\.", str(caught.value))[1]

    with pytest.raises(SpecError, match="channels|classes"):  # the output exists; it has no map a class
        planned(text.replace("encoder.5", advised))


def test_every_file_that_advises_a_value_has_its_rows():
    """An advice with a value in it, in blocks/ or builder/, is found by its form; new files join the table."""
    form = re.compile(r'(Use|Give|Write|List|Upsample|Add|Build the block with) [^"]*\{')
    roots = [Path(lmnet.blocks.__file__).parent, Path(parse_spec.__code__.co_filename).parent]
    files = {path.name for root in roots for path in root.glob("*.py") if form.search(path.read_text())}

    others = {"command_line.py", "find_model.py", "zoo.py", "zoo_table.py"}  # options and names of commands, no value
    assert files - others == {row[0] for row in ADVICE} | CHANNELS.keys() | {"aux_outputs.py"}
