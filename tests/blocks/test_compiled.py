"""When the C++ kernels are built: by the first training step of any loop, by ``fit``, and never against the user."""

import shutil

import pytest
import torch
from torch import nn

from lmnet.blocks import (
    LocalFeatureTransformer,
    MultiBranchConv,
    branches_compiled,
    build_kernels,
    cpu_kernels,
    neighborhood_compiled,
)
from lmnet.training import Recipe, fit, load_data

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler")


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    """A process in which nobody has asked for a kernel and nothing was reported."""
    for module in (neighborhood_compiled, branches_compiled):
        monkeypatch.setattr(module, "_is_default", None)
    monkeypatch.delenv("LMNET_KERNELS", raising=False)
    cpu_kernels._report_missing_compiler.cache_clear()
    yield
    cpu_kernels._report_missing_compiler.cache_clear()


def net() -> nn.Module:
    """Both kinds of blocks that have a kernel, channels last."""
    parts = (MultiBranchConv(3, out_channels=8), LocalFeatureTransformer(8, num_heads=2), nn.Conv2d(8, 2, 1))
    return nn.Sequential(*parts).to(memory_format=torch.channels_last)


def decided():
    return neighborhood_compiled._is_default, branches_compiled._is_default


def step(model: nn.Module) -> None:
    model(torch.randn(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)).square().mean().backward()


@needs_compiler
def test_the_first_training_step_of_a_plain_loop_builds_what_it_uses():
    step(net())
    assert decided() == (True, True)


@needs_compiler
def test_inference_builds_nothing():
    model = net().eval()
    with torch.inference_mode():
        model(torch.randn(2, 3, 16, 16))
    assert decided() == (None, None)


@needs_compiler
def test_fit_builds_kernels_for_nets_that_use_them_and_for_no_others():
    data = load_data("synthetic", count=12)
    recipe = Recipe().override({"size": 32, "batch_size": 4, "epochs": 1})
    fit(nn.Conv2d(3, 2, 3, padding=1), data, recipe, device="cpu")
    assert decided() == (None, None)
    fit(net(), data, recipe, device="cpu")
    assert decided() == (True, True)


def test_the_environment_leaves_the_kernels_out_of_a_plain_loop(monkeypatch, caplog):
    monkeypatch.setenv("LMNET_KERNELS", "0")
    step(net())
    assert not any(decided())
    assert caplog.records == []


def test_without_a_compiler_a_plain_loop_says_so_once_for_all_blocks(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "/nowhere")
    for _ in range(2):
        step(net())
    assert not build_kernels(net())
    assert [record.getMessage() for record in caplog.records] == [
        "note: there is no C++ compiler (c++, g++, clang++), so training on a CPU runs without compiled kernels and is "
        "slower. Install g++, or set LMNET_KERNELS=0 to silence this line."
    ]
