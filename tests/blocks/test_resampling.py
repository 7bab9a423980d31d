"""Sizes and values of down- and upsampling, pooling and fusion against plain torch."""

import pytest
import torch
import torch.nn.functional as F

from lmnet.blocks import CrossScaleFusion, Downsample, PyramidPool, SegmentationHead, Upsample
from lmnet.blocks.cross_scale_fusion import whole_factor
from lmnet.blocks.pyramid_pool import pooling_matrix
from lmnet.blocks.resample import UPSAMPLE_MODES


@pytest.mark.parametrize(("length", "out_length"), [(8, 8), (8, 4), (7, 3), (13, 5), (5, 1), (3, 2), (10, 7)])
def test_pooling_matrix_is_adaptive_average_pooling(length, out_length):
    x = torch.randn(2, 3, length, 9)
    rows, columns = pooling_matrix(length, out_length, x), pooling_matrix(9, 4, x)
    torch.testing.assert_close(rows @ x @ columns.T, F.adaptive_avg_pool2d(x, (out_length, 4)))


@pytest.mark.parametrize("sizes", [((16, 24), (4, 6)), ((17, 23), (5, 4)), ((9, 9), (9, 9)), ((7, 5), (1, 1))])
def test_pyramid_pool_is_adaptive_average_pooling_to_the_last(sizes):
    maps = [torch.randn(1, 3, *sizes[0]), torch.randn(1, 5, *sizes[1])]
    want = torch.cat([F.adaptive_avg_pool2d(maps[0], sizes[1]), maps[1]], dim=1)
    torch.testing.assert_close(PyramidPool([3, 5])(*maps), want)


@pytest.mark.parametrize("sizes", [((16, 24), (4, 6)), ((17, 23), (5, 4))])
def test_exported_pyramid_pool_gives_the_same(sizes):
    maps = (torch.randn(1, 3, *sizes[0]), torch.randn(1, 5, *sizes[1]))
    exported = torch.export.export(PyramidPool([3, 5]), maps, strict=False).module()
    torch.testing.assert_close(exported(*maps), PyramidPool([3, 5])(*maps))


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("size", [(16, 24), (15, 13), (1, 2)])
def test_downsampled_size_is_rounded_up(stride, size):
    out = Downsample(3, out_channels=4, stride=stride)(torch.randn(1, 3, *size))
    assert out.shape == (1, 4, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 6, 7, 8])
def test_downsampling_leaves_no_gap_between_its_steps(stride):
    x = torch.randn(1, 1, 4 * stride, 4 * stride, requires_grad=True)
    block = Downsample(1, out_channels=1, stride=stride)
    torch.nn.init.ones_(block.conv.conv.weight)
    block(x).sum().backward()
    seen = 3 * stride + 1  # from the first step's centre to the last one's
    assert (x.grad[..., :seen, :seen] > 0).all()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", UPSAMPLE_MODES)
@pytest.mark.parametrize("activation", ["none", "pre", "post"])
def test_upsampled_size_is_the_multiple(mode, scale, activation):
    block = Upsample(3, out_channels=5, scale=scale, mode=mode, activation=activation).eval()
    assert block(torch.randn(1, 3, 4, 7)).shape == (1, 5, 4 * scale, 7 * scale)


def test_bilinear_upsampling_aligns_corners_before_its_convolution():
    block, x = Upsample(3, out_channels=5), torch.randn(2, 3, 4, 7)
    want = block.conv(F.interpolate(x, size=(8, 14), mode="bilinear", align_corners=True))
    torch.testing.assert_close(block(x), want)


def test_activation_stands_before_or_after_the_upsampling():
    x = torch.randn(2, 3, 4, 7)
    for activation in ("pre", "post"):
        block = Upsample(3, out_channels=5, mode="transposed", activation=activation).eval()
        assert block.norm.num_features == (3 if activation == "pre" else 5)
        pre = activation == "pre"
        want = block.conv(F.gelu(block.norm(x))) if pre else F.gelu(block.norm(block.conv(x)))
        torch.testing.assert_close(block(x), want)


def test_head_upsamples_its_logits_without_aligned_corners():
    head, x = SegmentationHead(3, num_classes=4, scale=4), torch.randn(1, 3, 5, 6)
    want = F.interpolate(head.conv(x), size=(20, 24), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head(x), want)


@pytest.mark.parametrize(
    ("scale", "factor", "finer"), [(1, 1, True), (2, 2, True), (8, 8, True), (0.5, 2, False), (1 / 3, 3, False)]
)
def test_scale_is_read_as_a_whole_factor(scale, factor, finer):
    assert whole_factor(scale) == (factor, finer)


@pytest.mark.parametrize("scale", [0.3, 1.5, 2.1, 0.51, 2.0**20, 2.0**-20])
def test_scale_that_is_no_whole_factor_is_refused(scale):
    with pytest.raises(ValueError, match="scales must be whole numbers or one over whole numbers"):
        whole_factor(scale)


@pytest.mark.parametrize("upsample", UPSAMPLE_MODES)
@pytest.mark.parametrize("scales", [[1], [4, 0.25], [2, 1, 0.5, 0.25], [1, 1]])
def test_fusion_takes_any_number_of_inputs_at_any_whole_factors(scales, upsample):
    block = CrossScaleFusion([3] * len(scales), out_channels=4, scales=scales, upsample=upsample, activation="pre")
    maps = [torch.randn(2, 3, int(8 * scale), int(12 * scale)) for scale in scales]
    assert block(*maps).shape == (2, 4, 8, 12)


def test_fusion_concatenates_its_inputs_in_their_order():
    block = CrossScaleFusion([3, 5], out_channels=4, scales=[2, 1]).eval()
    finer, same = torch.randn(1, 3, 8, 8), torch.randn(1, 5, 4, 4)
    want = block.mix(torch.cat([block.resize[0](finer), block.resize[1](same)], dim=1))
    torch.testing.assert_close(block(finer, same), want)
