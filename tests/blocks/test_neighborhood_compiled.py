"""The compiled neighbourhood attention: building, keeping, and what happens without a compiler."""

import logging
import shutil
import stat

import pytest
import torch

from lmnet.blocks import build_attention_kernel, neighborhood_attention, neighborhood_compiled
from lmnet.blocks.neighborhood_compiled import load_kernel
from lmnet.blocks.neighborhood_gather import gather_attention

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home and a process that has not loaded the kernel yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LMNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(neighborhood_compiled, "_is_default", False)
    load_kernel.cache_clear()
    yield tmp_path
    load_kernel.cache_clear()


def maps(n=1, height=9, width=13, heads=2, size=3):
    """Query, key and value."""
    return torch.randn(n, height, width, 3, heads, size, generator=torch.Generator().manual_seed(3)).unbind(3)


@needs_compiler
def test_kernel_is_built_once_and_kept(home):
    assert build_attention_kernel()
    (library,) = (home / ".cache" / "lmnet").iterdir()  # and nothing half-built beside it
    built = library.stat().st_mtime_ns
    load_kernel.cache_clear()
    assert build_attention_kernel()
    assert library.stat().st_mtime_ns == built


def test_auto_is_compiled_only_after_the_kernel_was_asked_for(home, monkeypatch):
    used = []
    monkeypatch.setattr(neighborhood_compiled, "load_kernel", object)  # as if it had been built
    for name in ("planar_attention", "compiled_attention"):
        place = f"lmnet.blocks.neighborhood_backends.{name}"
        monkeypatch.setattr(place, lambda *args, name=name: (used.append(name), gather_attention(*args))[1])
    neighborhood_attention(*maps(), 5)
    neighborhood_attention(*maps(), 5, backend="compiled")
    neighborhood_attention(*maps(), 5)
    build_attention_kernel()
    neighborhood_attention(*maps(), 5)
    neighborhood_attention(*maps(), 5, backend="torch")
    neighborhood_attention(*(x.double() for x in maps()), 5, backend="compiled")  # the kernel has no float64
    assert used == [
        "planar_attention",
        "compiled_attention",
        "planar_attention",
        "compiled_attention",
        "planar_attention",
        "planar_attention",
    ]


def test_without_a_compiler_pure_pytorch_runs_and_one_line_says_so(home, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(home))
    query = maps()[0].detach().clone().requires_grad_()
    with caplog.at_level(logging.WARNING, logger="lmnet"):
        assert not build_attention_kernel()
        out = neighborhood_attention(query, *maps()[1:], 5, backend="compiled")
        out.sum().backward()
        neighborhood_attention(query, *maps()[1:], 5)
    assert torch.allclose(out, gather_attention(query, *maps()[1:], 5, 3**-0.5), atol=1e-6)
    assert query.grad is not None
    assert [record.getMessage() for record in caplog.records] == [
        "neighborhood_attention: no compiled kernel, pure PyTorch is used instead: "
        "no C++ compiler found, looked for c++, g++, clang++. Install g++."
    ]


def test_a_failing_compiler_is_quoted_in_one_line(home, monkeypatch, caplog):
    compiler = home / "c++"
    compiler.write_text("#!/bin/sh\necho 'c++: unknown flag' >&2\necho more >&2\nexit 1\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(home))
    with caplog.at_level(logging.WARNING, logger="lmnet"):
        assert not build_attention_kernel()
    assert [record.getMessage() for record in caplog.records] == [
        f"neighborhood_attention: no compiled kernel, pure PyTorch is used instead: {compiler}: c++: unknown flag"
    ]


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3, 16])
def test_any_number_of_threads_gives_the_same_numbers(threads):
    before = torch.get_num_threads()
    query, key, value = (x.detach().clone().requires_grad_() for x in maps(2, 50, 9, 2, 2))
    out = neighborhood_attention(query, key, value, 5, backend="torch")
    expected = torch.autograd.grad(out.square().sum(), (query, key, value))
    try:
        torch.set_num_threads(threads)
        found = []
        for _ in range(10):
            again = neighborhood_attention(query, key, value, 5, backend="compiled")
            found.append(torch.autograd.grad(again.square().sum(), (query, key, value)))
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(again, out, atol=1e-6)
    assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(found[0], expected, strict=True))
    assert all(torch.equal(x, y) for again in found for x, y in zip(found[0], again, strict=True))
