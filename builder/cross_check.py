"""Our count of multiply-accumulates beside ptflops' and torch's, and the blocks in which they differ."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmnet.blocks.registry import Shape
from lmnet.builder.cost import make_block
from lmnet.builder.plan import Plan

Counting = Callable[[nn.Module, "tuple[Shape, ...]"], "int | None"]


@dataclass(frozen=True)
class Count:
    """One counter's answer.

    Args:
        counter: its name.
        macs: multiply-accumulates of all nodes at batch 1, training form in eval mode.
        differences: by block, how much more (or less, below 0) than ours it counts.
        failed: the blocks on which it gave no answer, counted as 0.
    """

    counter: str
    macs: int
    differences: dict[str, int] = field(default_factory=dict)
    failed: tuple[str, ...] = ()


def count_with_torch(module: nn.Module, shapes: tuple[Shape, ...]) -> int:
    """Return torch's FLOPs, halved, of a forward pass at batch 1.

    Attention is computed as matrix products: some versions of torch count their fused kernel for CPUs as nothing.
    """
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*(torch.zeros(1, *shape) for shape in shapes))
    return int(counter.get_total_flops()) // 2


class _OneInput(nn.Module):
    """Calls a block of several inputs with maps of fixed shapes: ptflops passes one input."""

    def __init__(self, block: nn.Module, shapes: tuple[Shape, ...]) -> None:
        super().__init__()
        self.block, self.shapes = block, shapes

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        maps: Tensor | list[Tensor] = self.block(x, *(torch.zeros(1, *shape) for shape in self.shapes[1:]))
        return maps


def count_with_ptflops(module: nn.Module, shapes: tuple[Shape, ...], backend: str) -> int | None:
    """Return ptflops' count of a forward pass at batch 1; None if it fails."""
    from ptflops import get_model_complexity_info

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        macs, _ = get_model_complexity_info(
            _OneInput(module, shapes),
            shapes[0],
            as_strings=False,
            print_per_layer_stat=False,
            verbose=False,
            backend=backend,
        )
    return None if macs is None else int(macs)


def cross_check(plan: Plan) -> list[Count]:
    """Return our count and the others', node by node on the built blocks, at the plan's padded size."""
    counters: dict[str, Counting] = {
        "torch FlopCounterMode / 2": count_with_torch,
        "ptflops, pytorch backend": lambda module, shapes: count_with_ptflops(module, shapes, "pytorch"),
        "ptflops, aten backend": lambda module, shapes: count_with_ptflops(module, shapes, "aten"),
    }
    totals: Counter[str] = Counter()
    differences: dict[str, Counter[str]] = {name: Counter() for name in counters}
    failed: dict[str, set[str]] = {name: set() for name in counters}
    for node in plan.nodes:
        module = make_block(node.block, node.options, [shape[0] for shape in node.in_shapes]).eval()
        for name, count in counters.items():
            macs = count(module, node.in_shapes)
            if macs is None:
                failed[name].add(node.block)
            totals[name] += macs or 0
            differences[name][node.block] += (macs or 0) - node.cost.macs
    others = [
        Count(
            name,
            totals[name],
            {block: value for block, value in differences[name].items() if value},
            tuple(sorted(failed[name])),
        )
        for name in counters
    ]
    return [Count("lmnet", plan.macs), *others]
