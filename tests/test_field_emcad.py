"""EMCAD computes what its authors' code computes: decoder, heads and blocks, on maps instead of an encoder."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import lmnet
from lmnet.blocks import REGISTRY, AttentionGate, Example, MultiKernelConv, SeparableUpsample
from lmnet.builder.importers import emcad, family_of
from lmnet.builder.importers.family import by_rules
from lmnet.builder.models import build_model
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec, parse_spec
from tests.test_field import TOLERANCE, golden, largest_difference, weights_of

NAME = "emcad_decoder_b0"


class Maps(nn.Module):
    """Stands for an encoder: the maps that are given stand beside the image."""

    maps: list[torch.Tensor]

    def forward(self, image):
        return self.maps


def on_maps(model, call):
    """Return a function of four maps that runs the net on them."""
    backbone = model.backbone = Maps()

    def run(*maps):
        backbone.maps = list(maps)
        height, width = maps[0].shape[2:]
        return call(torch.zeros(1, 3, 4 * height, 4 * width))

    return run


def test_decoder_and_heads_are_the_authors():
    case = golden(NAME)["cases"]["net"]
    state = weights_of(case)
    family = family_of(state)
    assert family is not None
    model = lmnet.create_model("emcad_b0", num_classes=1).eval()
    found = model.load_state_dict(family.translate(state), strict=False)
    assert not found.unexpected_keys
    assert all(key.startswith("backbone.") for key in found.missing_keys)

    def call(image):
        logits, aux = model.forward_with_aux(image)
        return [*(x for _, x in aux), logits]

    assert largest_difference(on_maps(model, call), case, NAME) <= TOLERANCE


def test_the_decoder_alone_is_the_authors(monkeypatch):
    case = golden(NAME)["cases"]["decoder_only"]

    class FourMaps(nn.Module):
        def __init__(self, in_channels: int) -> None:
            super().__init__()
            self.pool = nn.ModuleList(nn.Conv2d(in_channels, 8 * (i + 1), 1, stride=4 * 2**i) for i in range(4))

        def forward(self, x):
            return [pool(x) for pool in self.pool]

    example = Example({}, ((3, 64, 64),), ((8, 16, 16), (16, 8, 8), (24, 4, 4), (32, 2, 2)))
    monkeypatch.setitem(REGISTRY._classes, "four_maps", FourMaps)
    monkeypatch.setitem(REGISTRY._examples, "four_maps", example)
    text = load_spec("emcad_b0").override({"widths": [8, 16, 24, 32]}).dump()
    start = text.index("  backbone: {")
    end = text.index("  channels4: {")
    text = text[:start] + "  backbone: {block: four_maps, from: input}\n" + text[end:]
    text = text.replace("{logits: head1}", "{logits: head1, d4: dec4, d3: dec3, d2: dec2, d1: dec1}")
    model = build_model(parse_spec(text)).eval()
    state = {f"decoder.{key}": value for key, value in weights_of(case).items()}
    assert not model.load_state_dict(by_rules(emcad.RULES)(state), strict=False).unexpected_keys
    call = on_maps(model, lambda image: [model(image)[f"d{level}"] for level in (4, 3, 2, 1)])
    assert largest_difference(call, case, NAME) <= TOLERANCE


@pytest.mark.parametrize(
    ("case", "build", "rules"),
    [
        ("mscb_c16_c16_relu", lambda: MultiKernelConv(16, out_channels=16, act_layer="relu"), emcad.BLOCK),
        ("eucb_c16_c8", lambda: SeparableUpsample(16, out_channels=8), emcad.UP),
        ("lgag_c16", lambda: AttentionGate([16, 16]), emcad.GATE),
    ],
)
def test_block_is_the_authors(case, build, rules):
    found = golden(NAME)["cases"][case]
    module = build().eval()
    module.load_state_dict(by_rules(rules)(weights_of(found)))
    assert largest_difference(module, found, case) <= TOLERANCE


def test_net_has_its_authors_parameters_and_macs():
    reference = golden(NAME)
    plan = plan_spec(load_spec("emcad_b0").override({"num_classes": 1}))
    spatial = 3 * 98  # one spatial attention a level, theirs is one in all
    heads = sum(width + 1 for width in (64, 160, 256))  # of the losses, which no cost of ours counts
    grey = reference["whole_net_grey_stem_params_unused_for_rgb"]
    assert plan.params == reference["whole_net_params"] - grey + spatial - heads
    assert sum(node.cost.params for node in plan.aux_nodes) == heads
    head_macs = sum(node.cost.macs for node in plan.aux_nodes)
    assert plan.macs == reference["whole_net_macs_256"] - head_macs


def test_a_whole_checkpoint_of_the_authors_is_read():
    reference = golden(NAME)
    shapes = {f"backbone.{key}": shape for key, shape in reference["encoder_state"].items()}
    shapes |= reference["cases"]["net"]["state"] | {"conv.0.weight": [3, 1, 1, 1]}
    state = {key: torch.zeros(shape) for key, shape in shapes.items()}
    model = lmnet.create_model("emcad_b0", num_classes=1)
    model.load_state_dict(family_of(state).translate(state))


def test_the_reference_is_the_kept_part():
    source = Path(__file__).parents[2] / "shared" / "reference" / "field" / f"{NAME}.json"
    if not source.is_file():
        pytest.skip("the reference is not beside the project")
    assert golden(NAME)["cases"]["net"]["state"] == json.loads(source.read_text())["cases"]["net"]["state"]
