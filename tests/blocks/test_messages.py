"""Every error of the blocks: where, the rule, what was got, the next step."""

import re

import pytest
import torch

from lmnet.blocks import (
    Add,
    AttentionGate,
    CascadedFields,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    ConvNormAct,
    CrossScaleFusion,
    DilatedGatedAttention,
    DoubleConv,
    Downsample,
    FusibleConv,
    FusionDecoder,
    GlobalFeatureTransformer,
    GroupBridge,
    GroupedFusion,
    HadamardAttention,
    InvertedResidual,
    LargeKernelStage,
    LocalFeatureTransformer,
    MultiBranchConv,
    MultiBranchStage,
    MultiKernelConv,
    Multiply,
    NeighborhoodAttention2d,
    NormAct,
    PyramidPool,
    Resize,
    SegmentationHead,
    TimmEncoder,
    Upsample,
)

WRONG_OPTIONS = [
    (
        lambda: LargeKernelStage(6, out_channels=6, depth=65),
        "large_kernel: depth must be at most 64, got depth=65. Use several nodes for more.",
    ),
    (
        lambda: HadamardAttention(6, out_channels=4),
        "hadamard_attention: in_channels must be a multiple of 4, got in_channels=6. Use 8.",
    ),
    (
        lambda: GroupBridge([8, 6, 1]),
        "group_bridge: dilations must be as many as divide the skip's channels, got 4 for 6 channels. Use [1].",
    ),
    (
        lambda: DilatedGatedAttention(6, out_channels=4),
        "dilated_gated_attention: dilations must be as many as divide in_channels, got 4 for in_channels=6. Use [1].",
    ),
    (
        lambda: CascadedFields(6, out_channels=20),
        "cascaded_fields: out_channels must be a multiple of 2 * num_fields, got out_channels=20, num_fields=8. "
        "Use 32 channels.",
    ),
    (
        lambda: FusibleConv(6, out_channels=4, slope=1.5),
        "fusible: slope must be 0 to 1, got slope=1.5. Use 0 for a plain ReLU.",
    ),
    (
        lambda: InvertedResidual(6, out_channels=4, hidden_channels=8, squeeze_channels=-1),
        "inverted_residual: squeeze_channels must be 0 or more, got -1. Use 0 for none.",
    ),
    (
        lambda: NormAct(6, norm_layer="groupnorm", norm_groups=4),
        "norm_act: norm_groups must divide the channels, got norm_groups=4, channels=6. Use norm_groups=1.",
    ),
    (
        lambda: ConvNormAct(6, out_channels=6, norm_groups=4),
        "conv_norm_act: norm_groups are for norm_layer=groupnorm, got batchnorm2d. Leave norm_groups out.",
    ),
    (
        lambda: Multiply([6, 4]),
        "multiply: inputs must have equal channels or 1, got 6, 4. Give them one width.",
    ),
    (
        lambda: Resize(6, mode="nearest", align_corners=True),
        "resize: mode nearest has no corners to align, got align_corners=True. Leave it out.",
    ),
    (
        lambda: ChannelShuffle(6, groups=4),
        "channel_shuffle: groups must divide in_channels, got groups=4, in_channels=6. Use groups=1.",
    ),
    (
        lambda: ChannelSplit(6, parts=[2, 2]),
        "channel_split: parts must add up to in_channels, got parts=[2, 2], in_channels=6. Change one of them by +2.",
    ),
    (
        lambda: AttentionGate([6, 4]),
        "attention_gate: inputs must have equal, even channels, got 6, 4. Give them one even width.",
    ),
    (
        lambda: GroupedFusion([6, 4]),
        "grouped_fusion: inputs must have equal channels, got 6, 4. Give them one width.",
    ),
    (
        lambda: MultiKernelConv(6, out_channels=6, kernels=[]),
        "multi_kernel: kernels must hold 1 to 16 sides, got 0. Use [1, 3, 5].",
    ),
    # what every block shares, see blocks/checks.py
    (
        lambda: Downsample(0, out_channels=4),
        "downsample: in_channels must be above 0, got in_channels=0. Use 1 or more.",
    ),
    (
        lambda: Downsample(3, out_channels=-4),
        "downsample: out_channels must be above 0, got out_channels=-4. Use 1 or more.",
    ),
    (
        lambda: ConvNormAct(3, out_channels=4, kernel_size=4),
        "conv_norm_act: kernel_size must be odd and above 0, got kernel_size=4. Use 5.",
    ),
    (
        lambda: NeighborhoodAttention2d(4, num_heads=1, window=0),
        "neighborhood_attention: window must be odd and above 0, got window=0. Use 1.",
    ),
    (
        lambda: LocalFeatureTransformer(4, window=-3),
        "lft: window must be odd and above 0, got window=-3. Use 1.",
    ),
    (
        lambda: LocalFeatureTransformer(4, drop_rate=1.0),
        "lft: drop_rate must be in [0, 1), got drop_rate=1.0. Use 0 for none.",
    ),
    (
        lambda: GlobalFeatureTransformer(4, drop_rate=-0.1),
        "gft: drop_rate must be in [0, 1), got drop_rate=-0.1. Use 0 for none.",
    ),
    (
        lambda: LocalFeatureTransformer(98, num_heads=12),
        "lft: num_heads must divide in_channels, got num_heads=12, in_channels=98. "
        "Use 14 heads, or 96 or 108 channels.",
    ),
    (
        lambda: GlobalFeatureTransformer(3, num_heads=8),
        "gft: num_heads must divide in_channels, got num_heads=8, in_channels=3. Use 3 heads, or 8 channels.",
    ),
    (
        lambda: NeighborhoodAttention2d(4, num_heads=0),
        "neighborhood_attention: num_heads must be above 0, got num_heads=0. Use 1 or more.",
    ),
    (
        lambda: Upsample(3, out_channels=4, mode="bilinaer"),
        "upsample: mode must be one of bilinear, transposed, pixel_shuffle, got mode='bilinaer'. "
        "Did you mean bilinear?",
    ),
    (
        lambda: Downsample(3, out_channels=4, activation="relu6"),
        "downsample: activation must be one of none, pre, post, got activation='relu6'. Use none.",
    ),
    (
        lambda: ConvNormAct(3, out_channels=4, act_layer="swoosh"),
        "conv_norm_act: act_layer must be one of timm's, got act_layer='swoosh'. Try gelu or relu.",
    ),
    (
        lambda: ConvNormAct(3, out_channels=4, act_layer=""),
        "conv_norm_act: act_layer must be one of timm's, got act_layer=''. Try gelu or relu.",
    ),
    (
        lambda: DoubleConv(3, out_channels=4, norm_layer="bachnorm"),
        "conv_norm_act: norm_layer must be one of timm's, got norm_layer='bachnorm'. Try batchnorm2d or groupnorm.",
    ),
    (
        lambda: DoubleConv(3, out_channels=4, norm_layer=""),
        "conv_norm_act: norm_layer must be one of timm's, got norm_layer=''. Try batchnorm2d or groupnorm.",
    ),
    # each block's own
    (
        lambda: ConvNormAct(6, out_channels=8, groups=4),
        "conv_norm_act: groups must divide in_channels and out_channels, got groups=4, in_channels=6, out_channels=8. "
        "Use groups=1.",
    ),
    (
        lambda: CrossScaleFusion([], out_channels=4, scales=[]),
        "cross_scale_fusion: needs at least 1 inputs, got 0. List more names in from.",
    ),
    (
        lambda: CrossScaleFusion([4, 0], out_channels=4, scales=[1, 0.5]),
        "cross_scale_fusion: in_channels must be above 0, got in_channels=0. Use 1 or more.",
    ),
    (
        lambda: CrossScaleFusion([4, 8], out_channels=4, scales=[1]),
        "cross_scale_fusion: scales must have one entry an input, got 1 for 2 inputs. List 2.",
    ),
    (
        lambda: CrossScaleFusion([4, 8], out_channels=4, scales=[1, 0.5], activation=["pre"]),
        "cross_scale_fusion: activation must have one entry an input, got 1 for 2 inputs. List 2.",
    ),
    (
        lambda: CrossScaleFusion([4, 8], out_channels=4, scales=[1, 0.5], activation=["pre", "past"]),
        "cross_scale_fusion: activation must be one of none, pre, post, got activation='past'. Did you mean post?",
    ),
    (
        lambda: CrossScaleFusion([4, 8], out_channels=4, scales=[1, 0.3]),
        "cross_scale_fusion: scales must be whole numbers or one over whole numbers, got scale=0.3. "
        "Use 2 for an input of twice the output's size, 0.5 for one of half.",
    ),
    (
        lambda: CrossScaleFusion([4, 8], out_channels=4, scales=[1, 1e-9]),
        "cross_scale_fusion: scales must be whole numbers or one over whole numbers, got scale=1e-09. "
        "Use 2 for an input of twice the output's size, 0.5 for one of half.",
    ),
    (
        lambda: CrossScaleFusion([4, 8], out_channels=4, scales=[1, -0.5]),
        "cross_scale_fusion: scale must be above 0, got scale=-0.5. Use 1 or more.",
    ),
    (
        lambda: FusionDecoder([4]),
        "fusion_decoder: needs exactly 2 inputs, got 1. List 2 names in from.",
    ),
    (
        lambda: GlobalFeatureTransformer(4, depth=65),
        "gft: depth must be from 0 to 64, got depth=65. Use 1; several nodes for more.",
    ),
    (
        lambda: LocalFeatureTransformer(4, window=[]),
        "lft: window must hold one side or more, got window=[]. Use 7.",
    ),
    (
        lambda: Add([4]),
        "add: needs at least 2 inputs, got 1. List more names in from.",
    ),
    (
        lambda: Add([4, 6, 4]),
        "add: inputs must have equal channels, got 4, 6, 4. Give them one width, or use concat.",
    ),
    (
        lambda: Concat([4]),
        "concat: needs at least 2 inputs, got 1. List more names in from.",
    ),
    (
        lambda: PyramidPool([4]),
        "pyramid_pool: needs at least 2 inputs, got 1. List more names in from.",
    ),
    (
        lambda: MultiBranchConv(3, out_channels=4, kernels=[]),
        "multi_branch: kernels must hold one kernel or more, got kernels=[]. Use [3].",
    ),
    (
        lambda: MultiBranchConv(3, out_channels=4, kernels=[[3, 1, 3]]),
        "multi_branch: a kernel must be a side or [height, width], got kernel=[3, 1, 3]. Use [3, 1].",
    ),
    (
        lambda: MultiBranchConv(3, out_channels=4, kernels=[3, [1, 2]]),
        "multi_branch: kernel_width must be odd and above 0, got kernel_width=2. Use 3.",
    ),
    (
        lambda: MultiBranchConv(3, out_channels=4, expand_ratio=0),
        "multi_branch: expand_ratio must be above 0, got expand_ratio=0. Use 1 or more.",
    ),
    (
        lambda: MultiBranchConv(3, out_channels=4, squeeze_ratio=0),
        "multi_branch: squeeze_ratio must be above 0, got squeeze_ratio=0. Use 1 or more.",
    ),
    (
        lambda: MultiBranchStage(3, out_channels=4, depth=0),
        "multi_branch_stage: depth must be above 0, got depth=0. Use 1 or more.",
    ),
    (
        lambda: MultiBranchStage(3, out_channels=4, depth=65),
        "multi_branch_stage: depth must be at most 40 with 4 kernels, got depth=65. Use several nodes.",
    ),
    (
        lambda: SegmentationHead(3, kernel_size=2),
        "segmentation_head: kernel_size must be odd and above 0, got kernel_size=2. Use 3.",
    ),
    (
        lambda: TimmEncoder(3, model="resnet81"),
        "timm_encoder: model must be one of timm's, got model='resnet81'. Did you mean ",
    ),
    (
        lambda: TimmEncoder(3, model="!"),
        "timm_encoder: model must be one of timm's, got model='!'. timm.list_models() lists them.",
    ),
    (
        lambda: TimmEncoder(3, model="mobilenetv4_conv_small_035", out_indices=[9]),
        "timm_encoder: model must give the feature maps asked for, got model='mobilenetv4_conv_small_035', "
        "out_indices=[9] (",
    ),
]

WRONG_INPUTS = [
    (Downsample(6, out_channels=4), [(6, 8, 8)], "input must be (N, 6, H, W), got (6, 8, 8). Add the batch: "),
    (
        Downsample(6, out_channels=4),
        [(2, 8, 8, 6)],
        "input must be (N, 6, H, W), got (2, 8, 8, 6). It looks like channels last: x.permute(0, 3, 1, 2).",
    ),
    (
        Downsample(6, out_channels=4),
        [(2, 5, 8, 8)],
        "downsample: input must be (N, 6, H, W), got (2, 5, 8, 8). Build the block with in_channels=5.",
    ),
    (Downsample(6, out_channels=4), [(2, 6)], "input must be (N, 6, H, W), got (2, 6). Pass one feature map."),
    (Concat([4, 6]), [(1, 4, 8, 8)], "concat: takes 2 inputs, got 1. Pass one map an input."),
    (
        Add([4, 4, 4]),
        [(1, 4, 8, 8), (1, 4, 8, 8), (1, 4, 8, 9)],
        "add: inputs must have one size, got 8x8 (input 0) and 8x9 (input 2). "
        "Pad the image to a multiple of the net's stride.",
    ),
    (
        Concat([4, 6]),
        [(1, 4, 8, 8), (1, 6, 4, 4)],
        "concat: inputs must have one size, got 8x8 (input 0) and 4x4 (input 1). "
        "Upsample input 1 by 2, or downsample input 0 by 2.",
    ),
    (
        Concat([4, 6]),
        [(1, 4, 2, 4), (1, 6, 6, 12)],
        "concat: inputs must have one size, got 2x4 (input 0) and 6x12 (input 1). "
        "Upsample input 0 by 3, or downsample input 1 by 3.",
    ),
    (
        CrossScaleFusion([4, 8], out_channels=4, scales=[1, 0.5]),
        [(1, 4, 9, 8), (1, 8, 4, 4)],
        "cross_scale_fusion after scaling: inputs must have one size, got 9x8 (input 0) and 8x8 (input 1). "
        "Pad the image to a multiple of the net's stride.",
    ),
    (
        FusionDecoder([8, 4], depth=1),
        [(1, 8, 4, 4), (1, 4, 8, 9)],
        "fusion_decoder after upsampling: inputs must have one size, got 8x8 (input 0) and 8x9 (input 1). "
        "Pad the image to a multiple of the net's stride.",
    ),
    (
        PyramidPool([4, 8]),
        [(1, 4, 8, 8), (1, 8, 8, 9)],
        "pyramid_pool: the last input must be the smallest, got 8x9 behind 8x8 (input 0). List the smallest map last.",
    ),
]


@pytest.mark.parametrize(("build", "message"), WRONG_OPTIONS, ids=[message[:70] for _, message in WRONG_OPTIONS])
def test_wrong_option_is_refused_with_the_next_step(build, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        build()


@pytest.mark.parametrize(
    ("block", "shapes", "message"), WRONG_INPUTS, ids=[message[:70] for _, _, message in WRONG_INPUTS]
)
def test_wrong_input_is_refused_with_the_next_step(block, shapes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        block(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("model", ["resnet10t", "vit_tiny_patch16_224"])
def test_timm_encoder_names_what_timm_said_of_a_wrong_index(model):
    with pytest.raises(ValueError, match=rf"got model='{model}', out_indices=\[40\] \(\w+: .*\)\. Leave out_indices"):
        TimmEncoder(3, model=model, out_indices=[40])


def test_reparameterize_wants_eval_mode():
    with pytest.raises(RuntimeError, match=r"multi_branch: reparameterize needs eval mode, got training=True\. Call"):
        MultiBranchConv(3, out_channels=4).reparameterize()
