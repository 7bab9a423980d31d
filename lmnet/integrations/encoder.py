"""The encoder part of any spec's net: the one mechanism behind the timm and the SMP adapter."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lmnet.blocks.checks import check_map, check_positive
from lmnet.builder.cost import make_block
from lmnet.builder.plan import INPUT, NodePlan, Plan
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import Spec


@dataclass(frozen=True)
class Level:
    """One size of map that an encoder makes.

    Args:
        node: name of the last encoder node of that size, whose map it is.
        channels: number of its channels.
        reduction: how many times smaller than the image the map is.
        output: which of the node's outputs it is.
    """

    node: str
    channels: int
    reduction: int
    output: int = 0


def _is_pyramid(node: NodePlan) -> bool:
    """Return whether a node gives several maps, each smaller than the one before, as timm_encoder does."""
    heights = [height for _, height, _ in node.out_shapes]
    return len(heights) > 1 and all(fine > coarse for fine, coarse in itertools.pairwise(heights))


def encoder_nodes(plan: Plan) -> list[NodePlan]:
    """Return the nodes of a net's encoder: the chain from the input down to the smallest map.

    The chain holds nodes of one input and one output whose map is never larger than the one before; its last node may
    have several outputs, each smaller than the one before (timm_encoder). Where it could go several ways it takes the
    one that ends at the smallest map, then the longest. Nodes of the smallest map that have fewer channels than one
    before them are the decoder's first, and left out.

    Raises:
        ValueError: no such node follows the input.
    """
    heights = {INPUT: plan.padded_size[0]} | {node.name: node.out_shapes[0][1] for node in plan.nodes}
    ahead: dict[str, tuple[int, int, NodePlan]] = {}  # by name: (-height at the end, nodes until there, next node)
    for node in reversed(plan.nodes):
        (source, _), height = node.inputs[0], heights[node.name]
        is_pyramid = _is_pyramid(node)
        if len(node.inputs) > 1 or (len(node.out_shapes) > 1 and not is_pyramid) or height > heights[source]:
            continue
        last = (-node.out_shapes[-1][1], 0, node)
        end, length, _ = last if is_pyramid else ahead.get(node.name, last)
        if source not in ahead or (end, length + 1) >= ahead[source][:2]:
            ahead[source] = (end, length + 1, node)
    chain: list[NodePlan] = []
    name = INPUT
    while name in ahead and not (chain and _is_pyramid(chain[-1])):
        chain.append(ahead[name][2])
        name = chain[-1].name
    if not chain:
        raise ValueError(
            f"{plan.spec.name}: an encoder must begin with a node of one input and one output, got none behind input. "
            "Take the encoder of another spec, or use the library's own backbone."
        )
    widest = max(node.out_shapes[0][0] for node in chain if node.out_shapes[0][1] == chain[-1].out_shapes[0][1])
    while chain[-1].out_shapes[0][0] < widest:
        chain.pop()
    return chain


def encoder_levels(plan: Plan) -> list[Level]:
    """Return the maps that a net's encoder makes, finest first, one a size.

    Raises:
        ValueError: see ``encoder_nodes``.
    """
    levels = {}
    for node in encoder_nodes(plan):
        for output, (channels, height, _) in enumerate(node.out_shapes):
            reduction = plan.padded_size[0] // height
            levels[reduction] = Level(node.name, channels, reduction, output)
    return list(levels.values())


PREFIX = "lmnet_"
"""Begins the name of every encoder that the adapters register by themselves: no library has names like it."""


def registered_name(name: str) -> str:
    """Return the name that other libraries know a net of the zoo by: ``lmnet_unext`` for unext, lmnet_xs for itself."""
    return name if name.startswith(PREFIX) else PREFIX + name


class SpecEncoder(nn.Module):
    """Run the encoder of a spec's net and return its feature maps, finest first.

    The nodes keep their names, so the weights of a trained net fit:
    ``encoder.load_state_dict(model.state_dict(), strict=False)``.

    Args:
        spec: any spec whose encoder is a chain; for lmnet_release the nodes enc0 to enc3 and down3, for
            lraspp_mobilenetv3_small its timm_encoder.
        in_channels: channels of the image; None for the spec's.
        max_reduction: leave out maps that are smaller than this part of the image; None for all.

    Shapes:
        (N, in_channels, H, W) -> a list of (N, C_i, H / r_i, W / r_i); ``out_channels`` and ``reductions`` hold C_i and
        r_i. A size that r_i does not divide is rounded up, or down where the net pools.

    Raises:
        SpecError: the spec is wrong.
        ValueError: the spec has no encoder, or none within max_reduction.
    """

    def __init__(self, spec: Spec, *, in_channels: int | None = None, max_reduction: int | None = None) -> None:
        super().__init__()
        if in_channels is not None:
            check_positive(spec.name, in_channels=in_channels)
            spec = spec.override({"input.channels": in_channels})
        plan = plan_spec(spec)
        levels = [x for x in encoder_levels(plan) if max_reduction is None or x.reduction <= max_reduction]
        if not levels:
            raise ValueError(
                f"{spec.name}: max_reduction must leave one map or more, got max_reduction={max_reduction}. "
                f"Use {encoder_levels(plan)[0].reduction}."
            )
        self.name, self.in_channels = spec.name, plan.input_shape[0]
        self.levels = tuple(levels)
        self.out_channels = [level.channels for level in levels]
        self.reductions = [level.reduction for level in levels]
        self._order: list[str] = []
        for node in encoder_nodes(plan):
            self.add_module(node.name, make_block(node.block, node.options, [node.in_shapes[0][0]]))
            self._order.append(node.name)
            if node.name == levels[-1].node:
                break

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps."""
        check_map(self.name, image, self.in_channels)
        wanted = {(level.node, level.output) for level in self.levels}
        maps: list[Tensor] = []
        x: Any = image
        for name in self._order:
            x = self.get_submodule(name)(x)
            outputs = x if isinstance(x, list) else [x]  # several only behind the last node
            maps += [y for index, y in enumerate(outputs) if (name, index) in wanted]
        return maps
