"""A fused convolution is the convolution and its activation, in every mode."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lmnet.blocks import Upsample
from lmnet.blocks.fused_conv import FusedConv2d, activation_name

ACTS = {"none": nn.Identity(), "relu": nn.ReLU(), "hardswish": nn.Hardswish(), "gelu": nn.GELU()}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", [{}, {"groups": 4}, {"stride": 2}, {"bias": False}, {"dilation": 2}])
@pytest.mark.parametrize("name", ACTS)
def test_it_equals_convolution_and_activation(name, options, memory_format):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3, padding=1, **options)
    fused, x = FusedConv2d(conv, name), torch.randn(2, 4, 9, 11).to(memory_format=memory_format)
    assert fused.state_dict().keys() == conv.state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(fused(x), ACTS[name](conv(x)))


def test_it_adds_a_map():
    conv, x, plus = nn.Conv2d(4, 8, 1), torch.randn(2, 4, 9, 11), torch.randn(2, 8, 9, 11)
    with torch.inference_mode():
        torch.testing.assert_close(FusedConv2d(conv)(x, plus=plus), conv(x) + plus)


def test_gradients_flow():
    conv, x = nn.Conv2d(4, 8, 1), torch.randn(2, 4, 9, 11, requires_grad=True)
    FusedConv2d(conv, "gelu")(x).sum().backward()
    assert x.grad is not None


def test_half_types_are_left_to_torch():
    conv, x = nn.Conv2d(4, 8, 1), torch.randn(2, 4, 9, 11)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert FusedConv2d(conv, "gelu")(x).dtype is torch.bfloat16


@pytest.mark.parametrize("groups", [1, 4])
def test_torch_counts_its_operations(groups):
    conv, x = nn.Conv2d(4, 8, 3, padding=1, groups=groups), torch.randn(2, 4, 9, 11)
    counts = []
    for run in (lambda: conv(x), lambda: FusedConv2d(conv, "gelu")(x), lambda: FusedConv2d(conv)(x, plus=conv(x))):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        counts.append(counter.get_total_flops())
    assert counts == [counts[0], counts[0], 2 * counts[0]]


def test_activations_it_does_not_know_stay_outside():
    assert [activation_name(act) for act in ACTS.values()] == list(ACTS)
    assert activation_name(nn.GELU("tanh")) is None
    assert activation_name(nn.SiLU()) is None


@pytest.mark.parametrize("mode", ["pixel_shuffle", "bilinear", "transposed"])
def test_upsampling_folds_its_norm_in_every_mode(mode):
    torch.manual_seed(0)
    block, x = Upsample(6, out_channels=4, mode=mode, activation="post"), torch.randn(2, 6, 5, 7)
    block.norm.running_mean.normal_()
    block.norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(block.norm.weight)
    with torch.no_grad():
        expected = block.eval()(x)
        block.fold_norm()
        assert not [child for child in block.modules() if isinstance(child, nn.BatchNorm2d)]
        torch.testing.assert_close(block(x), expected)
