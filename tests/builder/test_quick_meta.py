"""The quick outputs are what torch's own meta kernels give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lmnet.builder.quick_meta import quick_output


class Compare(TorchDispatchMode):
    """Asks torch beside ``quick_output`` and compares."""

    def __init__(self):
        super().__init__()
        self.answered = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        quick, true = quick_output(func._overloadpacket, args), func(*args, **(kwargs or {}))
        if quick is not None:
            self.answered.add(func._overloadpacket.__name__)
            for a, b in zip(
                *((out,) if isinstance(out, torch.Tensor) else out[:1] for out in (quick, true)), strict=True
            ):
                assert (a.shape, a.dtype, a.device, a is args[0]) == (b.shape, b.dtype, b.device, b is args[0])
        return true


def compared(run, *shapes):
    inputs = [torch.empty(shape, device="meta") for shape in shapes]
    with torch.no_grad(), Compare() as mode:
        run(*inputs)
    return mode.answered


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
)
def test_convolutions_have_torchs_shape(size, kernel, stride, padding, dilation, groups):
    conv = torch.nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, device="meta")
    if all(side + 2 * padding > dilation * (kernel - 1) for side in size):
        assert "convolution" in compared(conv, (2, 4, *size))
    else:
        try:
            conv(torch.empty(2, 4, *size, device="meta"))
        except RuntimeError:
            with pytest.raises(RuntimeError):
                compared(conv, (2, 4, *size))


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (lambda x, y: x + y, "add"),
        (lambda x, y: 1 - x * y, "rsub"),
        (lambda x, y: x.mul_(y.expand_as(x)).clamp(0, 6), "clamp"),
        (lambda x, y: torch.nn.functional.relu_(x), "relu_"),
        (lambda x, y: torch.nn.functional.gelu(x), "gelu"),
        (lambda x, y: torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear"), "upsample_bilinear2d"),
        (lambda x, y: torch.nn.functional.interpolate(x, size=(5, 3), mode="bilinear"), "upsample_bilinear2d"),
        (lambda x, y: torch.nn.BatchNorm2d(3, device="meta").eval()(x), "native_batch_norm"),
    ],
)
def test_other_operations_have_torchs_shape(run, name):
    answered = compared(run, (2, 3, 8, 7), (3, 1, 1))
    assert any(name in found for found in answered)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: x + torch.empty(5, device="meta"), r"Mismatching argument at index 1 had torch.Size\(\[5\]\)"),
        (lambda x: torch.conv2d(x, x.new_empty(4, 2, 1, 1)), "Invalid channel dimensions"),
    ],
)
def test_what_torch_refuses_is_refused_in_torchs_words(run, message):
    with pytest.raises(RuntimeError, match=message):
        compared(run, (2, 3, 8, 7))


def test_what_changes_the_type_is_left_to_torch():
    assert "mul" not in compared(lambda x: x * 1j, (2, 3))
    assert "add" not in compared(lambda x: x + torch.empty(3, dtype=torch.float64, device="meta"), (2, 3))
