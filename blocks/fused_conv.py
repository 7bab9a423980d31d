"""A convolution for inference that applies its activation, or adds a map, while its output is still in cache.

On CPUs oneDNN does both inside the convolution; a light net's maps are large and its convolutions small, so each pass
over a map that is saved counts. Everywhere else, and where gradients flow, the operations run one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import conv_flop_count, register_flop_formula

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "hardswish": F.hardswish,
    "gelu": F.gelu,
}
_POINTWISE: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)


class FusedConv2d(nn.Conv2d):
    """A convolution and the activation behind it, for inference.

    Args:
        conv: its parameters are shared; padding must be zeros, given in numbers.
        activation: none, relu, hardswish or gelu.

    Shapes:
        as the convolution's; ``plus`` as its output.
    """

    def __init__(self, conv: nn.Conv2d, activation: str = "none") -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=conv.dilation,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.activation = activation
        self.train(conv.training)

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """Return act(conv(x)), or conv(x) + plus where a map is given."""
        tensors = [x, self.weight] if plus is None else [x, self.weight, plus]
        if not _can_fuse(tensors):
            out = _PLAIN[self.activation](super().forward(x))
            return out if plus is None else out + plus
        rest = (self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups)
        if plus is not None:
            return _POINTWISE.binary(x, plus, *rest, "add", None, None, [], None)
        return _POINTWISE(x, *rest, self.activation, [], "none")


def activation_name(act: nn.Module) -> str | None:
    """Return what FusedConv2d calls an activation, or None where it does not know it."""
    if isinstance(act, nn.GELU):
        return "gelu" if act.approximate == "none" else None
    return {nn.ReLU: "relu", nn.Hardswish: "hardswish", nn.Identity: "none"}.get(type(act))


def _can_fuse(tensors: list[Tensor]) -> bool:
    return (
        _POINTWISE is not None
        and torch.backends.mkldnn.is_available()
        and all(x.device.type == "cpu" and x.dtype is torch.float32 for x in tensors)
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


if _POINTWISE is not None:

    @register_flop_formula(_POINTWISE)
    def _flops(x_shape: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
        is_binary = args[1] is not None and len(args[1]) == 4  # then the first is the map to add
        count: int = conv_flop_count(x_shape, args[1] if is_binary else args[0], out_shape)
        return count
