"""A block under test, and how its outputs are compared."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lmnet.blocks.registry import REGISTRY, Shape

SAME = 1e-5
"""Largest difference, relative to the output's largest value, at which two outputs count as equal."""


class CostLike(typing.Protocol):
    """What a cost function returns, see ``lmnet.builder.cost.NodeCost``."""

    @property
    def out_shapes(self) -> tuple[Shape, ...]:
        """(C, H, W) of each output."""

    @property
    def params(self) -> int:
        """Numbers that training learns."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""


Cost = Callable[[str, Mapping[str, Any], Sequence[Shape]], CostLike]


class Failed(Exception):
    """The block breaks the contract."""


class Skipped(Exception):
    """The check does not apply."""


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw from a seed, and leave torch's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def make_trained_looking(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give a module's batch norms the statistics and weights of a trained one, in place, and return the module.

    Args:
        module: any module; fresh batch norms hide what a wrong re-parameterisation does.
        seed: of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, _BatchNorm):
                if norm.running_mean is not None and norm.running_var is not None:
                    norm.running_mean.copy_(0.1 * noise(norm.running_mean))
                    norm.running_var.copy_(1 + 0.5 * noise(norm.running_var) ** 2)
                if norm.affine:
                    norm.weight.copy_(1 + 0.1 * noise(norm.weight))
                    norm.bias.copy_(0.1 * noise(norm.bias))
    return module


def shapes_text(shapes: Sequence[Sequence[int]]) -> str:
    """Return shapes as an error shows them."""
    return ", ".join("(" + ", ".join(map(str, shape)) + ")" for shape in shapes)


def require_close(what: str, got: Sequence[Tensor], want: Sequence[Tensor], tolerance: float = SAME) -> None:
    """Fail unless the outputs have equal shapes and are equal up to ``tolerance`` of the largest value."""
    if [x.shape for x in got] != [x.shape for x in want]:
        raise Failed(
            f"{what} must have shapes {shapes_text([x.shape for x in want])}, got {shapes_text([x.shape for x in got])}"
        )
    for index, (x, y) in enumerate(zip(got, want, strict=True)):
        x, y = x.detach().double(), y.detach().double()
        error = float((x - y).abs().max() / y.abs().max().clamp(min=1e-12))
        if not error <= tolerance:
            raise Failed(f"{what} must equal the block's to {tolerance:.0e}, got {error:.1e} off in output {index}")


class Subject:
    """A block under test: builds it and its inputs from its example, always the same.

    Args:
        name: the registered name.
        cost: what counts its cost, ``lmnet.builder.cost.node_cost``; None to skip that check.
    """

    def __init__(self, name: str, cost: Cost | None = None) -> None:
        self.name, self.cost = name, cost
        self.cls, self.example = REGISTRY.get(name), REGISTRY.example(name)

    @cached_property
    def takes_many(self) -> bool:
        """Whether in_channels is a list, one entry an input."""
        return typing.get_type_hints(self.cls.__init__).get("in_channels") is not int

    def build(self, in_channels: Sequence[int] | None = None, *, seed: int = 0) -> nn.Module:
        """Return the block in eval mode, with trained-looking batch norms."""
        channels = list(in_channels or [shape[0] for shape in self.example.inputs])
        with seeded(seed):
            block = self.cls(channels if self.takes_many else channels[0], **self.example.options)
        is_meta = any(parameter.is_meta for parameter in block.parameters())
        return block.eval() if is_meta else make_trained_looking(block, seed).eval()

    def inputs(self, batch: int = 2, shapes: Sequence[Shape] | None = None) -> list[Tensor]:
        """Return one random map for each input."""
        generator = torch.Generator().manual_seed(1)
        return [torch.randn(batch, *shape, generator=generator) for shape in shapes or self.example.inputs]

    def resized(self, height: Fraction, width: Fraction) -> tuple[list[Shape], list[tuple[Fraction, Fraction]]]:
        """Return the inputs' shapes, and the outputs' exact sizes, at other factors of the example's size."""
        inputs = [(c, int(h * height), int(w * width)) for c, h, w in self.example.inputs]
        return inputs, [(h * height, w * width) for _, h, w in self.example.outputs]

    def factors(self) -> list[tuple[Fraction, Fraction]]:
        """Return factors of height and width: to odd sizes (of the smallest input), and twice as large."""
        unit_h = math.gcd(*(shape[1] for shape in self.example.inputs))
        unit_w = math.gcd(*(shape[2] for shape in self.example.inputs))
        odd = Fraction(unit_h // 2 * 2 + 1, unit_h), Fraction(unit_w // 2 * 2 + 3, unit_w)
        return [odd, (Fraction(2), Fraction(2))]


def maps_of(block: Callable[..., Any], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return a block's outputs as a list; fail where they are no maps."""
    out = block(*inputs)
    maps = list(out) if isinstance(out, (list, tuple)) else [out]
    for x in maps:
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise Failed(f"a block must return one map (N, C, H, W) or a list of them, got {type(x).__name__}")
    return maps


def declared_channels(block: nn.Module) -> list[int]:
    """Return the channels that a block says its outputs have; fail where it does not."""
    declared = getattr(block, "out_channels", None)
    if isinstance(declared, int):
        return [declared]
    if not isinstance(declared, (list, tuple)):
        raise Failed(f"a block must have out_channels (a number, or a list, one an output), got {declared!r}")
    return list(declared)
