"""The compiled sum of depthwise branches: what pure PyTorch gives, for any kernels, sizes and threads."""

import copy
import shutil

import pytest
import torch
from torch import nn

from lmnet.blocks import (
    MultiBranchConv,
    MultiKernelConv,
    branches_compiled,
    build_branch_kernel,
    build_kernels,
    multi_branch,
    neighborhood_compiled,
)
from lmnet.blocks.branches_compiled import branch_kernel, can_compute, load_kernel, sum_of_branches

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler")
CASES = [
    pytest.param(8, 9, 13, (5, 3, (3, 1), (1, 3)), id="the paper's kernels"),
    pytest.param(24, 40, 50, (5, 3, (3, 1), (1, 3)), id="several bands of rows"),
    pytest.param(12, 33, 20, (7, 3), id="channels that are no multiple of 8"),
    pytest.param(9, 5, 5, (9, 5, 1), id="kernels larger than the map"),
    pytest.param(16, 2, 3, (5, (1, 7)), id="a tiny map"),
]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(branches_compiled, "_is_default", False)


def block_of(channels, kernels):
    torch.manual_seed(0)
    block = MultiBranchConv(channels, out_channels=channels, expand_ratio=1.0, kernels=kernels)
    for branch in block.branches:
        nn.init.normal_(branch.norm.weight, 1, 0.3)
    return block.to(memory_format=torch.channels_last).train()


def trained(block, x):
    """Return the output, all gradients and the statistics after one pass, as float64."""
    x = x.clone().requires_grad_()
    out = block(x)
    weights = torch.linspace(0.1, 1, out[0].numel()).view(out.shape[1:])
    (out.square() * weights).sum().backward()
    maps = [out.detach(), x.grad, *(p.grad for p in block.parameters()), *block.buffers()]
    return [each.double() for each in maps]


@needs_compiler
@pytest.mark.parametrize(("channels", "height", "width", "kernels"), CASES)
def test_outputs_gradients_and_statistics_are_those_of_pure_pytorch(channels, height, width, kernels, monkeypatch):
    used = []
    monkeypatch.setattr(branches_compiled, "sum_of_branches", lambda *all: (used.append(1), sum_of_branches(*all))[1])
    block = block_of(channels, kernels)
    x = (2 * torch.randn(3, channels, height, width) + 1).contiguous(memory_format=torch.channels_last)
    exact = trained(copy.deepcopy(block).double(), x.double())
    pure = trained(copy.deepcopy(block), x)
    assert used == []
    with branch_kernel(True):
        found = trained(block, x)
    assert used == [1]
    for one, other, want in zip(found, pure, exact, strict=True):
        scale = want.abs().max().clamp(min=1e-6)
        error, usual = ((each - want).abs().max() / scale for each in (one, other))
        assert error <= max(1e-5, 3 * usual)


@needs_compiler
@pytest.mark.parametrize("act_layer", ["relu", "relu6"])
@pytest.mark.parametrize(("width", "height", "kernels"), [(4, 37, (1, 3, 5)), (6, 9, (3,)), (11, 16, (7, 1))])
def test_branches_with_an_activation_train_as_in_pure_pytorch(width, height, kernels, act_layer, monkeypatch):
    used = []
    monkeypatch.setattr(
        branches_compiled,
        "sum_of_branches",
        lambda *all, act: (used.append(type(act)), sum_of_branches(*all, act=act))[1],
    )
    torch.manual_seed(1)
    block = MultiKernelConv(width, out_channels=8, kernels=kernels, act_layer=act_layer)
    for norm in (each for each in block.modules() if isinstance(each, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight, 3.0), nn.init.normal_(norm.bias, 1.0)  # many values below 0 and above 6
    block = block.to(memory_format=torch.channels_last).train()
    x = (2 * torch.randn(3, width, height, 13) + 1).contiguous(memory_format=torch.channels_last)
    exact = trained(copy.deepcopy(block).double(), x.double())
    with branch_kernel(False):
        pure = trained(copy.deepcopy(block), x)
    assert used == []
    with branch_kernel(True):
        found = trained(block, x)
    assert used == [nn.ReLU if act_layer == "relu" else nn.ReLU6]
    for one, other, want in zip(found, pure, exact, strict=True):
        scale = want.abs().max().clamp(min=1e-6)
        error, usual = ((each - want).abs().max() / scale for each in (one, other))
        assert error <= max(2e-5, 3 * usual)


@needs_compiler
def test_a_branch_that_is_not_a_number_stays_one():
    block = MultiKernelConv(8, out_channels=8).to(memory_format=torch.channels_last)
    x = torch.full((1, 8, 9, 9), torch.nan).contiguous(memory_format=torch.channels_last)
    with branch_kernel(True):
        assert block(x).isnan().all()


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3, 16])
def test_any_number_of_threads_gives_the_same_numbers(threads):
    before, x = torch.get_num_threads(), torch.randn(2, 8, 50, 9).contiguous(memory_format=torch.channels_last)
    found = []
    try:
        for number in (2, threads):
            torch.set_num_threads(number)
            found.append(alone(block_of(8, (5, 3)).branches, x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def alone(branches, x):
    """Return what the kernel itself computes: the sum, its gradients and the statistics."""
    assert load_kernel() is not None
    x = x.clone().requires_grad_()
    out = sum_of_branches(x, [each.conv for each in branches], [each.norm for each in branches])
    (out * torch.linspace(0.1, 1, out.numel()).view(out.shape)).sum().backward()
    return [out.detach(), x.grad, *(p.grad for p in branches.parameters()), *branches.buffers()]


@needs_compiler
def test_what_the_kernel_cannot_take_is_left_to_pytorch():
    assert build_branch_kernel()
    block, x = block_of(8, (5, 3)), torch.zeros(1, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    convs, norms = [each.conv for each in block.branches], [each.norm for each in block.branches]
    assert can_compute(x, convs, norms)
    assert not can_compute(x.contiguous(memory_format=torch.contiguous_format), convs, norms)
    assert not can_compute(x.double(), convs, norms)
    assert not can_compute(x[:, :4].contiguous(memory_format=torch.channels_last), convs, norms)
    assert not can_compute(x, convs, [nn.SyncBatchNorm(8), norms[1]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not can_compute(x, convs, norms)
    with branch_kernel(False):
        assert not can_compute(x, convs, norms)


@needs_compiler
def test_maps_are_computed_again_only_where_the_kernel_does_not_save_them(monkeypatch):
    again, checkpoint = [], multi_branch.checkpoint
    monkeypatch.setattr(multi_branch, "checkpoint", lambda *all, **more: (again.append(1), checkpoint(*all, **more))[1])
    block, x = block_of(8, (5, 3)), torch.randn(2, 8, 9, 9)
    with branch_kernel(True):
        block(x.contiguous(memory_format=torch.channels_last))
        assert again == []
        block.to(memory_format=torch.contiguous_format)(x)  # the kernel does not take it
        assert again == [1]


@needs_compiler
def test_one_value_a_channel_is_refused_as_by_pytorch():
    with branch_kernel(True), pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        block_of(8, (5, 3))(torch.zeros(1, 8, 1, 1))


def test_the_environment_can_leave_the_kernels_out(monkeypatch):
    monkeypatch.setenv("LMNET_KERNELS", "0")
    assert not build_kernels()
    monkeypatch.delenv("LMNET_KERNELS")
    monkeypatch.setenv("PATH", "/nowhere")
    assert not build_kernels()


def test_where_the_compiler_fails_one_line_says_so(monkeypatch, tmp_path, caplog):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'c++: unknown flag' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(neighborhood_compiled, "_is_default", False)
    for each in (load_kernel, neighborhood_compiled.load_kernel):
        each.cache_clear()
    assert not build_kernels()
    for each in (load_kernel, neighborhood_compiled.load_kernel):
        each.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        f"neighborhood_attention: no compiled kernel, pure PyTorch is used instead: {compiler}: c++: unknown flag"
    ]


def test_without_a_compiler_one_line_says_so(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    load_kernel.cache_clear()
    assert not build_branch_kernel()
    load_kernel.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "multi_branch: no compiled kernel, pure PyTorch is used instead: "
        "no C++ compiler found, looked for c++, g++, clang++. Install g++."
    ]
