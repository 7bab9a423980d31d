import pytest
import torch
import torch.nn.functional as F
from timm.utils.model import reparameterize_model

from lmnet.blocks import FusionDecoder, MultiBranchConv, MultiBranchStage
from lmnet.blocks.multi_branch import DepthwiseBranch
from lmnet.blocks.testing import make_trained_looking

KERNELS = {
    "paper": [5, 3, [3, 1], [1, 3]],
    "one": [3],
    "pointwise": [1],
    "wide and high": [[1, 7], [5, 1]],
    "large": [9, [3, 5], 1],
}


def trained(block):
    return make_trained_looking(block).eval()


@pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("squeeze_ratio", [4, None])
def test_reparameterized_block_is_one_depthwise_convolution_and_equal(kernels, squeeze_ratio):
    block = trained(MultiBranchConv(6, out_channels=8, kernels=kernels, squeeze_ratio=squeeze_ratio))
    x = torch.randn(2, 6, 11, 14)
    with torch.no_grad():
        want = block(x)
        block.reparameterize()
        got = block(x)
    assert block.branches is None
    assert not [part for part in block.modules() if isinstance(part, DepthwiseBranch)]
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_fused_branch_equals_its_formula():
    """weight' = weight * gamma / sqrt(var + eps), bias' = beta - mean * gamma / sqrt(var + eps), zero-padded."""
    branch = trained(DepthwiseBranch(4, (3, 1)))
    weight, bias = branch.fused((5, 3))
    factor = branch.norm.weight / (branch.norm.running_var + branch.norm.eps).sqrt()
    want = torch.zeros(4, 1, 5, 3)
    want[:, :, 1:4, 1:2] = branch.conv.weight * factor[:, None, None, None]
    torch.testing.assert_close(weight, want)
    torch.testing.assert_close(bias, branch.norm.bias - branch.norm.running_mean * factor)


def test_timm_turns_every_block_of_a_net():
    net = torch.nn.Sequential(MultiBranchConv(3, out_channels=4), MultiBranchStage(4, out_channels=4, depth=2))
    turned = reparameterize_model(trained(net))
    assert not [part for part in turned.modules() if isinstance(part, DepthwiseBranch)]
    assert len([part for part in net.modules() if isinstance(part, DepthwiseBranch)]) == 12
    x = torch.randn(1, 3, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(turned(x), net(x))


def test_reparameterizing_twice_changes_nothing():
    block = trained(MultiBranchConv(3, out_channels=4))
    block.reparameterize()
    before = {key: value.clone() for key, value in block.state_dict().items()}
    block.reparameterize()
    assert before.keys() == block.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in block.state_dict().items())


def test_block_equals_the_sum_of_its_branches_written_out():
    block = trained(MultiBranchConv(3, out_channels=4, kernels=[3, [1, 3]], squeeze_ratio=None))
    x = torch.randn(2, 3, 7, 8)
    with torch.no_grad():
        hidden = F.hardswish(block.expand_norm(block.expand(x)))
        mixed = sum(branch.norm(branch.conv(hidden)) for branch in block.branches)
        want = block.project(F.gelu(mixed)) + block.shortcut(x)
        torch.testing.assert_close(block(x), want)


@pytest.mark.parametrize(("expand_ratio", "hidden"), [(2.0, 16), (1.5, 12), (0.3, 2), (0.01, 1)])
def test_hidden_channels_are_the_rounded_ratio_of_the_output(expand_ratio, hidden):
    assert MultiBranchConv(3, out_channels=8, expand_ratio=expand_ratio).expand.out_channels == hidden


def test_stage_widens_in_its_first_block():
    stage = MultiBranchStage(3, out_channels=8, depth=3)
    assert [(block.in_channels, block.out_channels) for block in stage] == [(3, 8), (8, 8), (8, 8)]


def test_decoder_adds_the_skip_to_the_upsampled_map():
    block = FusionDecoder([12, 6], depth=2, upsample="transposed", activation="pre").eval()
    deep, skip = torch.randn(1, 12, 4, 5), torch.randn(1, 6, 8, 10)
    with torch.no_grad():
        torch.testing.assert_close(block(deep, skip), block.stage(block.upsample(deep) + skip))
