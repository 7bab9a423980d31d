"""Blocks of the field's nets for tests/test_field.py: (net, case) → how ours is built, and their keys to ours."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from lmnet.blocks import ConvNormAct, DoubleConv, LargeKernelStage, NormAct, Resize
from lmnet.blocks.axial import AxialDepthwise
from lmnet.blocks.cascaded_fields import CascadedFields
from lmnet.blocks.fusible import FusibleConv, SeriesActivation
from lmnet.blocks.gated_attention import (
    AttentionBridge,
    DilatedGatedAttention,
    ExternalAttention,
    GatedAttentionUnit,
)
from lmnet.blocks.hadamard import GroupBridge, HadamardAttention
from lmnet.blocks.inverted_residual import InvertedResidual
from lmnet.blocks.local_global import GlobalAttention, LocalAggregation
from lmnet.blocks.rolling_mlp import RollingMlp
from lmnet.builder.importers import egeunet, lvunet, malunet, mobile_uvit, rolling_unet, simpleunet, tinyunet, ulite
from lmnet.builder.importers.family import by_rules
from lmnet.builder.models import build_model
from lmnet.builder.spec import Spec, load_spec
from lmnet.builder.strict_yaml import Document


class Through(nn.Module):
    """A module through which the inputs go in another way than its forward."""

    def __init__(self, module, call):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *inputs):
        return self.call(self.module, *inputs)


def inside(rules):
    """Return the translation of a module that stands under the name ``module``."""
    return lambda state: {f"module.{key}": value for key, value in by_rules(rules)(state).items()}


def part_of(prefix, rules):
    """Return the translation of a part of a net, whose keys are the net's after ``prefix``, to parts named as nodes."""
    return lambda state: inside(rules)({prefix + key: value for key, value in state.items()})


def parts(call, **modules):
    """Return the builder of several nodes that run as ``call`` says."""
    return lambda: Through(nn.ModuleDict(modules), lambda nodes, *inputs: call(*nodes.values(), *inputs))


def small_simpleunet():
    """SimpleUNet of three levels and other widths, cut out of the zoo's spec."""
    spec = load_spec("simpleunet16")
    data = copy.deepcopy(spec.document.data)
    data.pop("expect"), data.pop("search")
    nodes = data["nodes"]
    for name in [name for name in nodes if name[-1] in "34" or name == "pool2"]:
        del nodes[name]
    widths = {"enc0": 8, "enc1": 12, "enc2": 16, "bottom": 8, "skip1": 6, "dec1": 6, "skip0": 4, "dec0": 4}
    for name, width in widths.items():
        nodes[name]["out_channels"] = width
    nodes["bottom"]["from"], nodes["up1"]["from"] = "enc2", "bottom"
    del nodes["skip2"], nodes["up2"], nodes["join2"], nodes["dec2"]
    data["vars"] = {"num_classes": 2}
    return build_model(Spec.of(Document("small", data, {}, {})))


def point(in_channels, out_channels, **options):
    return ConvNormAct(in_channels, out_channels=out_channels, kernel_size=1, **options)


def encoded(skip, widen, x):
    x = skip(x)
    return F.gelu(F.max_pool2d(widen(x), 2)), x


def bottom(squeeze, far1, far2, far3, mix, x):
    x = squeeze(x)
    return F.gelu(mix(torch.cat([x, far1(x), far2(x), far3(x)], dim=1)))


def decoded(thin, axial, mix, x, skip):
    return mix(axial(thin(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))))


def joined(mix, x, skip):
    return mix(torch.cat([F.interpolate(x, scale_factor=2.0, mode="bicubic"), skip], dim=1))


def merged(block):
    block.eval().reparameterize()
    return block


FUSIBLE = by_rules(lvunet.FUSIBLE)
MORE_BLOCKS = {
    ("ulite", "axial_dw_c8_k7"): (lambda: AxialDepthwise(8), by_rules(ulite.AXIAL)),
    ("ulite", "encoder_block_c8_c16"): (
        parts(encoded, skip1=AxialDepthwise(8, norm_layer="batchnorm2d"), widen1=point(8, 16, activation="none")),
        part_of("e1.", ulite.RULES),
    ),
    ("ulite", "bottleneck_c32"): (
        parts(
            bottom,
            squeeze=point(32, 8, activation="none"),
            **{f"far{step}": AxialDepthwise(8, kernel_size=3, dilation=step) for step in (1, 2, 3)},
            bottom=point(32, 32, activation="pre", act_layer="none"),
        ),
        part_of("b5.", ulite.RULES),
    ),
    ("ulite", "decoder_block_c16_c8"): (
        parts(
            decoded, thin1=point(24, 8, act_layer="none"), axial1=AxialDepthwise(8), dec1=point(8, 8, norm_layer="none")
        ),
        part_of("d1.", ulite.RULES),
    ),
    ("egeunet", "ghpa_c24_c32"): (lambda: HadamardAttention(24, out_channels=32), by_rules(egeunet.BLOCK)),
    ("egeunet", "ghpa_c16_c8"): (lambda: HadamardAttention(16, out_channels=8), by_rules(egeunet.BLOCK)),
    ("egeunet", "gab_h24_l16"): (lambda: GroupBridge([24, 16, 1]), by_rules(egeunet.BRIDGE)),
    ("egeunet", "layer_norm_channels"): (
        lambda: NormAct(16, norm_layer="layernorm2d", norm_eps=1e-6, act_layer="none"),
        by_rules([("", "norm.")]),
    ),
    ("malunet", "ea_c16"): (lambda: ExternalAttention(16), by_rules(malunet.MEMORY)),
    ("malunet", "dga_c24_c32"): (lambda: DilatedGatedAttention(24, out_channels=32), by_rules(malunet.GATED)),
    ("malunet", "gau_c16_c24"): (lambda: GatedAttentionUnit(16, 24), by_rules(malunet.GATED_UNIT)),
    ("malunet", "sc_att_bridge"): (lambda: AttentionBridge([8, 16, 24, 32, 48]), by_rules(malunet.BRIDGE)),
    ("lvunet", "activation_c8_n1"): (lambda: SeriesActivation(8), by_rules(lvunet.ACTIVATION)),
    ("lvunet", "block_c12_c16_s2"): (lambda: FusibleConv(12, out_channels=16, resize="down"), FUSIBLE),
    ("lvunet", "up_block_c16_c12_f2"): (lambda: FusibleConv(16, out_channels=12, resize="up"), FUSIBLE),
    ("lvunet", "up_block_act_learn_06"): (lambda: FusibleConv(16, out_channels=12, resize="up", slope=0.6), FUSIBLE),
    ("lvunet", "mnv3_ir_3"): (
        lambda: InvertedResidual(24, out_channels=24, hidden_channels=72, norm_eps=1e-3),
        by_rules(lvunet.WIDENED),
    ),
    ("lvunet", "mnv3_ir_se_5"): (
        lambda: InvertedResidual(
            40, out_channels=40, hidden_channels=120, kernel_size=5, squeeze_channels=32, norm_eps=1e-3
        ),
        by_rules(lvunet.WIDENED),
    ),
    ("lvunet_deploy", "up_block_deploy_c16_c12"): (
        lambda: merged(FusibleConv(16, out_channels=12, resize="up", slope=1)),
        FUSIBLE,
    ),
    ("tinyunet", "cmrf_c16_c32"): (lambda: CascadedFields(16, out_channels=32), by_rules(tinyunet.BLOCK)),
    ("tinyunet", "cmrf_c32_c32"): (lambda: CascadedFields(32, out_channels=32), by_rules(tinyunet.BLOCK)),
    ("tinyunet", "decoder_c96_c32"): (
        parts(joined, dec0=CascadedFields(96, out_channels=32)),
        part_of("decoder1.", tinyunet.RULES),
    ),
    ("simpleunet16", "small_net_w8"): (small_simpleunet, by_rules(simpleunet.rules(2))),
    ("simpleunet16", "single_conv_c8_c16"): (
        lambda: ConvNormAct(8, out_channels=16, bias=False, act_layer="relu"),
        by_rules(simpleunet.UNIT),
    ),
    ("rolling_unet_s", "lo2_c16"): (lambda: RollingMlp(16), by_rules(rolling_unet.MLP)),
    ("rolling_unet_s", "fi_block_c8_c16"): (
        lambda: ConvNormAct(8, out_channels=16, activation="between", norm_layer="layernorm2d", norm_eps=1e-5),
        by_rules(rolling_unet.EMBED),
    ),
    ("rolling_unet_s", "double_conv_c8_c16"): (
        lambda: DoubleConv(8, out_channels=16),
        by_rules(rolling_unet.DOUBLE),
    ),
    ("rolling_unet_s", "d_double_conv_c16_c8"): (
        parts(
            lambda mix, thin, x: thin(mix(x)),
            mix0=ConvNormAct(16, out_channels=16, act_layer="relu"),
            dec0=ConvNormAct(16, out_channels=8, act_layer="relu"),
        ),
        part_of("decoder1.", rolling_unet.RULES),
    ),
    ("mobile_uvit", "conv_utr_c8_c16_d1_k7"): (
        lambda: LargeKernelStage(8, out_channels=16, has_residual=True),
        by_rules(mobile_uvit.STAGE),
    ),
    ("mobile_uvit", "local_agg_c16"): (lambda: LocalAggregation(16), by_rules(mobile_uvit.LOCAL)),
    ("mobile_uvit", "self_attn_c16_h4_sr2"): (lambda: GlobalAttention(16, 4, 2), by_rules(mobile_uvit.GLOBAL)),
    ("mobile_uvit", "self_attn_c16_h4_sr1"): (lambda: GlobalAttention(16, 4, 1), by_rules(mobile_uvit.GLOBAL)),
    ("mobile_uvit", "up_conv_c16_c8"): (
        lambda: nn.Sequential(Resize(16, align_corners=True), ConvNormAct(16, out_channels=8, act_layer="relu")),
        lambda state: {f"1.{key}": value for key, value in by_rules(mobile_uvit.UP)(state).items()},
    ),
}
