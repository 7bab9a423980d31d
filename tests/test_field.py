"""Published nets of the field compute what their authors' code computes, and cost as much.

Golden values: outputs of the authors' code for weights and inputs that anyone can make again, as
../shared/reference/field/README.md describes. tests/data/field holds a part of each: samples of every output.
`python tests/make_field_data.py` makes it again.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.utils.model import reparameterize_model
from torch import nn

import lmnet
from lmnet.blocks import (
    AttentionGate,
    ChannelAttention,
    ConvNormAct,
    GroupedFusion,
    LargeKernelStage,
    MultiKernelConv,
    Resize,
    SpatialAttention,
)
from lmnet.blocks.shift_mlp import ShiftedMlp, ShiftMlpStage
from lmnet.builder.importers import cmunext, family_of, mkunet, unext
from lmnet.builder.importers.family import by_rules
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from tests.field_blocks import MORE_BLOCKS, Through, inside
from tests.test_golden import golden_weights

FIELD = Path(__file__).parent / "data" / "field"
TOLERANCE = 1e-5
"""Largest difference of an output, relative to its largest absolute value."""


CLASSES = {"simpleunet16": 2, "simpleunet32": 2}
"""Classes of the authors' net, if it is not one."""


def nets():
    """Zoo name → parameters and MACs at 256x256 that our net has beyond the authors' (with one class)."""
    found = dict.fromkeys(["unext", "unext_s", "cmunext", "cmunext_s"], (0, 0))
    found |= dict.fromkeys(["ulite", "egeunet", "malunet", "lvunet", "tinyunet", "mobile_uvit"], (0, 0))
    found |= dict.fromkeys(CLASSES, (0, 0))
    found["rolling_unet_s"] = (-1024, 0)  # layer norms that nobody uses are left out
    # MK-UNet: one spatial attention (98 weights) a level, not one in all; the heads that nobody uses are left out
    for name, unused_params, unused_macs in [
        ("mkunet_t", 31, 114_688),
        ("mkunet_s", 59, 229_376),
        ("mkunet", 115, 458_752),
        ("mkunet_m", 227, 917_504),
        ("mkunet_l", 451, 1_835_008),
    ]:
        found[name] = (4 * 98 - unused_params, -unused_macs)
    return found


NETS = nets()


def with_masks(model, image):
    """Return EGE-UNet's outputs in its authors' order, as probabilities at full size: deep masks, then the net's."""
    masks, size = [], image.shape[2:]
    hooks = [
        getattr(model, f"mask{i}").register_forward_hook(lambda *given: masks.append(given[2])) for i in range(1, 6)
    ]
    logits = model(image)
    for hook in hooks:
        hook.remove()
    masks = [nn.functional.interpolate(mask, size=size, mode="bilinear", align_corners=True) for mask in masks]
    return [torch.sigmoid(x) for x in (*masks, logits)]


AFTER = {"malunet": torch.sigmoid}
"""What the authors have behind the logits, by net."""
CALLS = {"egeunet": with_masks}
"""How a net is called, where it has several outputs."""


def without_last_norm(stage):
    stage.norm = nn.Identity()
    return stage


def on_maps(module, x):
    """Run a module on (N, H, W, C) on a map."""
    return module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


BLOCKS = {
    ("unext", "shifted_block_c32"): (lambda: without_last_norm(ShiftMlpStage(32)), by_rules(unext.BLOCK)),
    ("unext", "shifted_mlp_c32"): (lambda: Through(ShiftedMlp(32, 32), on_maps), inside(unext.MLP)),
    ("unext", "shifted_mlp_c33"): (lambda: Through(ShiftedMlp(33, 33), on_maps), inside(unext.MLP)),
    ("unext", "patch_embed_c16_c32"): (
        lambda: ConvNormAct(16, out_channels=32, stride=2, norm_layer="layernorm2d", norm_eps=1e-5, act_layer="none"),
        by_rules([(r"proj\.", "conv.")]),
    ),
    ("cmunext_s", "block_c8_c16_d2_k7"): (
        lambda: LargeKernelStage(8, out_channels=16, depth=2, kernel_size=7),
        by_rules(cmunext.BLOCK),
    ),
    ("cmunext_s", "up_conv_c16_c8"): (
        lambda: nn.Sequential(Resize(16), ConvNormAct(16, out_channels=8, act_layer="relu")),
        lambda state: {f"1.{key}": value for key, value in by_rules(cmunext.UP)(state).items()},
    ),
    ("cmunext_s", "fusion_conv_c16_c8"): (
        lambda: Through(GroupedFusion([8, 8]), lambda fuse, both: fuse(*both.chunk(2, dim=1))),
        inside(cmunext.FUSION),
    ),
    ("mkunet", "mkir_c8_c12"): (lambda: MultiKernelConv(8, out_channels=12), by_rules(mkunet.BLOCK)),
    ("mkunet", "mkir_c8_c8"): (lambda: MultiKernelConv(8, out_channels=8), by_rules(mkunet.BLOCK)),
    ("mkunet", "gag_c16"): (lambda: AttentionGate([16, 16]), by_rules(mkunet.GATE)),
    ("mkunet", "channel_attention_c32_r16"): (
        lambda: Through(ChannelAttention(32), lambda block, x: block.weights(x)),
        inside(mkunet.CHANNELS),
    ),
    ("mkunet", "spatial_attention"): (
        lambda: Through(SpatialAttention(8), lambda block, x: block.weights(x)),
        inside([]),
    ),
}
BLOCKS |= MORE_BLOCKS


def golden(name):
    return json.loads(gzip.decompress((FIELD / f"{name}.json.gz").read_bytes()))


def weights_of(case):
    state = golden_weights(case["state"])
    for change in case.get("changes_to_recipe", []):
        state[change["key"]] = state[change["key"]] + change["add"]
    return state


def drawn(spec):
    shape = spec.get("draw", spec["shape"])
    values = np.random.RandomState(spec["seed"]).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(values[slice(*spec["samples"])] if "samples" in spec else values)


def largest_difference(module, case, name, after=None):
    """Return the largest difference to the authors' outputs over all runs, relative to their largest value."""
    worst = 0.0
    for run in case["runs"]:
        with torch.no_grad():
            outputs = module(*(drawn(each) for each in run["inputs"]))
        outputs = after(outputs) if after else outputs
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        assert len(outputs) == len(run["outputs"])
        for output, want in zip(outputs, run["outputs"], strict=True):
            assert list(output.shape) == want["shape"]
            step = want.get("stride", 1)
            flat = output[..., ::step, ::step].flatten()
            found = flat[:: max(1, flat.numel() // 256)].numpy()
            scale = max(abs(want["min"]), abs(want["max"]))
            worst = max(worst, float(np.abs(found - np.array(want["samples"], np.float32)).max()) / scale)
    return worst


@pytest.mark.parametrize("name", NETS)
def test_net_computes_what_its_authors_code_computes(name):
    case = golden(name)["cases"]["net"]
    state = weights_of(case)
    family = family_of(state)
    model = lmnet.create_model(name, num_classes=CLASSES.get(name, 1)).eval()
    model.load_state_dict(family.translate(state))
    model = Through(model, CALLS.get(name, nn.Module.__call__))
    assert largest_difference(model, case, name, AFTER.get(name)) <= TOLERANCE


@pytest.mark.parametrize("name", NETS)
def test_net_has_its_authors_parameters_and_macs(name):
    reference = golden(name)
    plan = plan_spec(load_spec(name).override({"num_classes": CLASSES.get(name, 1)}))
    more_params, more_macs = NETS[name]
    assert plan.params == reference["params"] + more_params
    assert plan.macs == reference["macs_256"] + more_macs


@pytest.mark.parametrize(("net", "case"), BLOCKS, ids=lambda value: value)
def test_block_computes_what_its_authors_block_computes(net, case):
    build, translate = BLOCKS[net, case]
    found = golden(net)["cases"][case]
    module = build().eval()
    module.load_state_dict(translate(weights_of(found)))
    assert largest_difference(module, found, case) <= TOLERANCE


def lvunet_of_slope_1():
    return lmnet.create_model("lvunet", num_classes=1, slope=1.0).eval()


def test_lvunet_in_its_authors_deploy_form_is_ours_of_slope_1_reparameterised():
    reference = golden("lvunet_deploy")
    plan = plan_spec(load_spec("lvunet").override({"num_classes": 1, "slope": 1.0}))
    assert (plan.deploy_params, plan.deploy_macs) == (reference["params"], reference["macs_256"])
    state = weights_of(reference["cases"]["net"])
    model = reparameterize_model(lvunet_of_slope_1())
    model.load_state_dict(family_of(state).translate(state))
    assert largest_difference(model, reference["cases"]["net"], "lvunet_deploy") <= TOLERANCE


@pytest.mark.parametrize("form", [nn.Module.eval, reparameterize_model])
def test_lvunet_of_slope_1_computes_what_its_authors_fused_net_computes(form):
    state = weights_of(golden("lvunet")["cases"]["net"])
    model = lvunet_of_slope_1()
    model.load_state_dict(family_of(state).translate(state))
    assert largest_difference(form(model), golden("lvunet_deploy")["cases"]["fused"], "fused") <= TOLERANCE


def test_every_block_of_the_kept_nets_is_tested():
    names = {(net, case) for net in NETS for case in golden(net)["cases"] if case != "net"}
    tested = {case for _, case in BLOCKS}  # some cases stand with two sizes of a net
    assert {(net, case) for net, case in names if case not in tested} == set()
