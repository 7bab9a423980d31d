import pytest
import torch

from lmnet.blocks import (
    ConvNormAct,
    CrossScaleFusion,
    DoubleConv,
    GlobalFeatureTransformer,
    LocalFeatureTransformer,
    MultiBranchConv,
)

BLOCKS = {
    "lft": lambda channels: LocalFeatureTransformer(channels, window=3, num_heads=4),
    "gft": lambda channels: GlobalFeatureTransformer(channels, num_heads=4),
    "multi_branch": lambda channels: MultiBranchConv(channels, out_channels=channels),
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_map_goes_in_and_a_map_comes_out(block):
    x = torch.rand(2, 8, 13, 10)
    assert block(8)(x).shape == x.shape


def test_maps_of_several_scales_are_fused():
    fuse = CrossScaleFusion([4, 8], out_channels=6, scales=[1, 0.5])
    assert fuse(torch.rand(1, 4, 16, 12), torch.rand(1, 8, 8, 6)).shape == (1, 6, 16, 12)


@pytest.mark.parametrize("block", ["lft", "gft"])
def test_heads_that_do_not_divide_give_one_line(block):
    with pytest.raises(
        ValueError, match=rf"^{block}: num_heads must divide in_channels, got num_heads=4.*Use \d+ heads"
    ):
        BLOCKS[block](10)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_map_without_batch_gives_one_line(block):
    with pytest.raises(ValueError, match=rf"^{block}: input must be \(N, 8, H, W\), got \(8, 6, 5\)\. Add the batch:"):
        BLOCKS[block](8)(torch.rand(8, 6, 5))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_channels_last_array_gives_one_line(block):
    with pytest.raises(
        ValueError, match=rf"^{block}: input must be .*got \(1, 6, 5, 8\)\. It looks like channels last:"
    ):
        BLOCKS[block](8)(torch.rand(1, 6, 5, 8))


def test_timms_names_of_norms_and_activations_are_taken():
    block = ConvNormAct(4, out_channels=8, norm_layer="groupnorm1", act_layer="silu")
    assert (
        DoubleConv(4, out_channels=8, norm_layer="batchnorm2d", act_layer="relu")(torch.rand(2, 4, 8, 8)).shape[1] == 8
    )
    assert type(block.act).__name__ == "SiLU"
