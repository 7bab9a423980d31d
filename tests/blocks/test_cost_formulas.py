"""The closed forms in the blocks' docstrings are what the builder counts."""

import pytest

from lmnet.builder.cost import node_cost

H, W = 12, 20
PIXELS = H * W


def macs(block, options, *shapes):
    return node_cost(block, options, shapes).macs


@pytest.mark.parametrize(("groups", "kernel_size", "stride"), [(1, 3, 1), (2, 5, 2), (6, 1, 1), (1, 7, 4)])
def test_conv_norm_act(groups, kernel_size, stride):
    options = {"out_channels": 18, "groups": groups, "kernel_size": kernel_size, "stride": stride}
    out_pixels = -(-H // stride) * -(-W // stride)
    assert macs("conv_norm_act", options | {"dilation": 2}, (6, H, W)) == macs("conv_norm_act", options, (6, H, W))
    assert macs("conv_norm_act", options, (6, H, W)) == 6 // groups * 18 * kernel_size**2 * out_pixels


def test_double_conv():
    assert macs("double_conv", {"out_channels": 8}, (6, H, W)) == 9 * 8 * (6 + 8) * PIXELS


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (3, 3), (4, 5), (5, 5), (8, 9)])
def test_downsample(stride, kernel):
    out_pixels = -(-H // stride) * -(-W // stride)
    assert macs("downsample", {"out_channels": 8, "stride": stride}, (6, H, W)) == 6 * 8 * kernel**2 * out_pixels


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize(
    ("mode", "per_pixel"), [("bilinear", 9 * 6 * 8), ("transposed", 6 * 8), ("pixel_shuffle", 9 * 6 * 8)]
)
def test_upsample(mode, per_pixel, scale):
    options = {"out_channels": 8, "mode": mode, "scale": scale}
    assert macs("upsample", options, (6, H, W)) == per_pixel * scale**2 * PIXELS


@pytest.mark.parametrize("scales", [[1], [2, 1, 0.5], [3, 0.25], [1, 1, 1]])
def test_cross_scale_fusion(scales):
    shapes = [(3 + index, int(H * scale), int(W * scale)) for index, scale in enumerate(scales)]
    want = 9 * 8 * (sum(shape[0] for shape in shapes) + len(scales) * 8) * PIXELS
    assert macs("cross_scale_fusion", {"out_channels": 8, "scales": scales}, *shapes) == want


@pytest.mark.parametrize(("upsample", "kernel"), [("bilinear", 9), ("pixel_shuffle", 9), ("transposed", 1)])
def test_cross_scale_fusion_of_a_coarser_input(upsample, kernel):
    options = {"out_channels": 8, "scales": [0.5], "upsample": upsample}
    assert macs("cross_scale_fusion", options, (3, H // 2, W // 2)) == (kernel * 3 * 8 + 9 * 8 * 8) * PIXELS


def test_cross_scale_fusion_of_a_much_finer_input_has_its_larger_kernel():
    want = (25 * 3 * 8 + 9 * 8 * 8) * PIXELS
    assert macs("cross_scale_fusion", {"out_channels": 8, "scales": [4]}, (3, 4 * H, 4 * W)) == want


@pytest.mark.parametrize(("depth", "mlp_ratio"), [(1, 2.0), (3, 0.5), (2, 4.0)])
def test_gft(depth, mlp_ratio):
    channels, options = 12, {"num_heads": 4, "depth": depth, "mlp_ratio": mlp_ratio, "out_channels": 7}
    layer = 4 * channels**2 + 2 * PIXELS * channels + 2 * int(mlp_ratio * channels) * channels
    want = (9 * channels**2 + depth * layer + channels * 7) * PIXELS
    assert macs("gft", options, (channels, H, W)) == want


def test_gft_without_a_transformer():
    assert macs("gft", {"num_heads": 4, "depth": 0, "out_channels": 7}, (12, H, W)) == 12 * 7 * PIXELS


def test_lft_without_a_window():
    assert macs("lft", {"num_heads": 3, "window": 0}, (12, H, W)) == 0


@pytest.mark.parametrize("window", [3, 7, [3, 7], [5, 5, 9]])
def test_lft(window):
    channels, windows = 12, window if isinstance(window, list) else [window]
    attention = len(windows) * 4 * channels**2 + sum(2 * channels * side**2 for side in windows)
    want = (9 * channels**2 + attention + 2 * 2 * channels**2) * PIXELS
    assert macs("lft", {"num_heads": 3, "window": window}, (channels, H, W)) == want


@pytest.mark.parametrize(("window", "sides"), [(5, (5, 5)), (15, (12, 15)), (31, (12, 20))])
def test_neighborhood_attention_with_its_window_clamped_to_the_map(window, sides):
    want = (4 * 12**2 + 2 * 12 * sides[0] * sides[1]) * PIXELS
    assert macs("neighborhood_attention", {"num_heads": 3, "window": window}, (12, H, W)) == want


@pytest.mark.parametrize("squeeze_ratio", [4, 3, None])
@pytest.mark.parametrize(
    ("kernels", "areas", "largest"), [([5, 3, [3, 1], [1, 3]], 40, 25), ([[1, 7], [5, 1]], 12, 35), ([3], 9, 9)]
)
def test_multi_branch(kernels, areas, largest, squeeze_ratio):
    hidden, options = 16, {"out_channels": 8, "kernels": kernels, "squeeze_ratio": squeeze_ratio}
    squeeze = 0 if squeeze_ratio is None else 2 * hidden * (hidden // squeeze_ratio)
    cost = node_cost("multi_branch", options, [(6, H, W)])
    dense = hidden * (6 + 8) + 6 * 8
    assert cost.macs == (dense + hidden * areas) * PIXELS + squeeze
    assert cost.deploy_macs == (dense + hidden * largest) * PIXELS + squeeze


def test_multi_branch_stage_is_the_sum_of_its_blocks():
    first = macs("multi_branch", {"out_channels": 8}, (6, H, W))
    other = macs("multi_branch", {"out_channels": 8}, (8, H, W))
    assert macs("multi_branch_stage", {"out_channels": 8, "depth": 3}, (6, H, W)) == first + 2 * other


def test_fusion_decoder_is_the_sum_of_its_parts():
    upsample = macs("upsample", {"out_channels": 6}, (12, H, W))
    stage = macs("multi_branch_stage", {"out_channels": 6, "depth": 2}, (6, 2 * H, 2 * W))
    assert macs("fusion_decoder", {"depth": 2}, (12, H, W), (6, 2 * H, 2 * W)) == upsample + stage


@pytest.mark.parametrize("scale", [1, 4])
def test_segmentation_head(scale):
    options = {"num_classes": 5, "kernel_size": 3, "scale": scale}
    assert macs("segmentation_head", options, (6, H, W)) == 9 * 6 * 5 * PIXELS


@pytest.mark.parametrize(("depth", "mlp_ratio"), [(1, 1.0), (2, 1.5)])
def test_shift_mlp(depth, mlp_ratio):
    options, hidden = {"depth": depth, "mlp_ratio": mlp_ratio}, int(mlp_ratio * 12)
    assert macs("shift_mlp", options, (12, H, W)) == depth * hidden * (2 * 12 + 9) * PIXELS


@pytest.mark.parametrize(("depth", "kernel_size", "expand_ratio"), [(1, 7, 4), (3, 5, 2)])
def test_large_kernel(depth, kernel_size, expand_ratio):
    options = {"out_channels": 8, "depth": depth, "kernel_size": kernel_size, "expand_ratio": expand_ratio}
    unit = 6 * (kernel_size**2 + 2 * expand_ratio * 6)
    assert macs("large_kernel", options, (6, H, W)) == (depth * unit + 9 * 6 * 8) * PIXELS


def test_grouped_fusion():
    assert macs("grouped_fusion", {"expand_ratio": 3}, (6, H, W), (6, H, W)) == 6 * (18 * 6 + 3 * 3 * 6) * PIXELS


@pytest.mark.parametrize(("out_channels", "shortcut"), [(8, 6 * 8), (6, 0)])
def test_multi_kernel(out_channels, shortcut):
    options = {"out_channels": out_channels, "kernels": [1, 3, 5], "expand_ratio": 2}
    assert macs("multi_kernel", options, (6, H, W)) == (12 * (6 + out_channels + 35) + shortcut) * PIXELS


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_attention_gate(kernel_size):
    want = (2 * 6 * kernel_size**2 + 3) * PIXELS
    assert macs("attention_gate", {"kernel_size": kernel_size}, (6, H, W), (6, H, W)) == want


def test_channel_and_spatial_attention():
    assert macs("channel_attention", {"squeeze_ratio": 4}, (12, H, W)) == 4 * 12 * 3
    assert macs("spatial_attention", {"kernel_size": 5}, (12, H, W)) == 2 * 25 * PIXELS


def test_axial_depthwise():
    assert macs("axial_depthwise", {"kernel_size": 5, "dilation": 2}, (6, H, W)) == 2 * 5 * 6 * PIXELS


def test_hadamard_attention():
    quarter = 3
    want = (2 * quarter * (quarter + 9) + 12 * (9 + 8)) * PIXELS + quarter * (quarter + 3) * (H + W)
    assert macs("hadamard_attention", {"out_channels": 8}, (12, H, W)) == want


@pytest.mark.parametrize("dilations", [[1, 2], [1, 2, 5, 7]])
def test_group_bridge(dilations):
    wide = 2 * 8 + 3 * len(dilations)
    want = 10 * 8 * PIXELS // 4 + wide * (9 + 8) * PIXELS
    shapes = (10, H // 2, W // 2), (8, H, W), (3, H, W)
    assert macs("group_bridge", {"dilations": dilations}, *shapes) == want


def test_gated_and_external_attention():
    options = {"out_channels": 10}
    assert macs("dilated_gated_attention", options, (8, H, W)) == 8 * (52 + 3 * 8 + 2 * 10) * PIXELS
    assert macs("external_attention", {"memory_ratio": 3}, (8, H, W)) == 2 * (1 + 3) * 8**2 * PIXELS


def test_attention_bridge():
    want = 2 * 5**2 * (PIXELS + PIXELS // 4) + 14 * (3 + 14)
    assert macs("attention_bridge", {"kernel_size": 5}, (6, H, W), (8, H // 2, W // 2)) == want


@pytest.mark.parametrize("num_fields", [1, 4])
def test_cascaded_fields(num_fields):
    width = 16 // (2 * num_fields)
    want = (2 * width * 6 + 9 * width * (num_fields - 1) + num_fields * width * 16) * PIXELS
    assert macs("cascaded_fields", {"out_channels": 16, "num_fields": num_fields}, (6, H, W)) == want


@pytest.mark.parametrize(("resize", "area"), [("none", 1), ("down", 0.25), ("up", 4)])
def test_fusible(resize, area):
    options = {"out_channels": 8, "resize": resize, "slope": 1.0, "kernel_size": 5}
    cost = node_cost("fusible", options, [(6, H, W)])
    assert cost.macs == (6 * (6 + 8) + 25 * 8 * area) * PIXELS
    assert cost.deploy_macs == (6 * 8 + 25 * 8 * area) * PIXELS
    assert node_cost("fusible", options | {"slope": 0.5}, [(6, H, W)]).deploy_macs == cost.macs


@pytest.mark.parametrize("hidden", [6, 15])
def test_inverted_residual(hidden):
    options = {"out_channels": 8, "hidden_channels": hidden, "kernel_size": 5, "stride": 2, "squeeze_channels": 4}
    widened = 0 if hidden == 6 else 6 * hidden * PIXELS
    want = widened + hidden * (25 + 8) * PIXELS // 4 + 2 * hidden * 4
    assert macs("inverted_residual", options, (6, H, W)) == want


def test_rolling_mlp():
    assert macs("rolling_mlp", {}, (6, H, W)) == 9 * 6 * 7 * PIXELS


@pytest.mark.parametrize(("stride", "is_local"), [(1, True), (2, True), (3, False)])
def test_local_global(stride, is_local):
    options = {"num_heads": 2, "depth": 2, "stride": stride, "is_local": is_local, "kernel_size": 5, "mlp_ratio": 3}
    channels, chosen = 8, -(-H // stride) * -(-W // stride)
    unit = PIXELS * channels * (9 + channels + 6 * channels) + chosen * channels * (3 * channels + 2 * chosen)
    unit += chosen * channels * stride**2 if stride > 1 else 0
    unit += PIXELS * channels * (2 * 25 + 2 * channels + 18 * 3) if is_local else 0
    assert macs("local_global", options, (channels, H, W)) == 2 * unit


@pytest.mark.parametrize("block", ["identity", "norm_act", "pool", "resize"])
def test_what_has_no_products_is_free(block):
    assert macs(block, {}, (6, H, W)) == 0


@pytest.mark.parametrize("block", ["add", "multiply", "concat", "pyramid_pool"])
def test_joins_are_free(block):
    assert macs(block, {}, (6, H, W), (6, H, W)) == 0


@pytest.mark.parametrize(("num_classes", "embed_channels"), [(2, 16), (5, 8)])
def test_lraspp_head(num_classes, embed_channels):
    options = {"num_classes": num_classes, "embed_channels": embed_channels, "scale": 4}
    coarse = H // 4 * (W // 4)
    want = embed_channels * (7 * (coarse + 1) + num_classes * PIXELS) + 6 * num_classes * PIXELS
    assert macs("lraspp_head", options, (6, H, W), (7, H // 4, W // 4)) == want


def test_segformer_head():
    options = {"num_classes": 3, "embed_channels": 16, "scale": 2}
    shapes = [(6, H, W), (7, H // 2, W // 2), (9, H // 4, W // 4)]
    cost = node_cost("segformer_head", options, shapes)
    classify = 16 * 3 * PIXELS
    assert cost.macs == sum(16 * (c + 16) * h * w for c, h, w in shapes) + classify
    assert cost.deploy_macs == sum(16 * c * h * w for c, h, w in shapes) + classify


def test_fpn_head():
    options = {"num_classes": 3, "pyramid_channels": 10, "embed_channels": 16, "scale": 2}
    shapes = [(6, H, W), (7, H // 2, W // 2), (9, H // 4, W // 4)]
    cost = node_cost("fpn_head", options, shapes)
    pyramid = sum(10 * (c + 9 * 10 + 9 * 16) * h * w for c, h, w in shapes)
    steps = 9 * 16**2 * (H // 2) * (W // 2)  # the coarsest map's second one
    assert cost.macs == cost.deploy_macs == pyramid + steps + 16 * 3 * PIXELS


@pytest.mark.parametrize(("kernel_size", "scale"), [(3, 2), (5, 1)])
def test_separable_up(kernel_size, scale):
    options = {"out_channels": 8, "kernel_size": kernel_size, "scale": scale}
    assert macs("separable_up", options, (6, H, W)) == 6 * (kernel_size**2 + 8) * scale**2 * PIXELS
