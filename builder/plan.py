"""A plan: a spec with its variables filled in, every shape and every node's cost inferred, before anything is built."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lmnet.blocks.registry import Shape
from lmnet.builder.cost import NodeCost
from lmnet.builder.layout import Spec

INPUT = "input"

Reference = tuple[str, int]
"""A node's name and which of its outputs."""


@dataclass(frozen=True)
class NodePlan:
    """One node with its options resolved, its shapes inferred and its cost known."""

    name: str
    block: str
    inputs: tuple[Reference, ...]
    options: dict[str, Any]
    in_shapes: tuple[Shape, ...]
    cost: NodeCost

    @property
    def out_shapes(self) -> tuple[Shape, ...]:
        """(C, H, W) of each output."""
        return self.cost.out_shapes


@dataclass(frozen=True)
class Plan:
    """A checked graph.

    Args:
        spec: where it comes from.
        variables: the values of ``vars``.
        input_shape: (C, H, W) of the image.
        padded_size: height and width that the nodes see: the image's, rounded up to the stride.
        stride: the image is padded to multiples of it.
        nodes: in the order of execution.
        outputs: the outputs by name.
    """

    spec: Spec
    variables: dict[str, Any]
    input_shape: Shape
    padded_size: tuple[int, int]
    stride: int
    nodes: tuple[NodePlan, ...]
    outputs: dict[str, Reference]

    @property
    def params(self) -> int:
        """Parameters in the training form."""
        return sum(node.cost.params for node in self.nodes)

    @property
    def macs(self) -> int:
        """MACs in the training form."""
        return sum(node.cost.macs for node in self.nodes)

    @property
    def deploy_params(self) -> int:
        """Parameters after re-parameterisation."""
        return sum(node.cost.deploy_params for node in self.nodes)

    @property
    def deploy_macs(self) -> int:
        """MACs after re-parameterisation."""
        return sum(node.cost.deploy_macs for node in self.nodes)

    @cached_property
    def peak_bytes(self) -> int:
        """Most activation memory at once in one float32 forward pass at batch 1, re-parameterised, without weights."""
        height, width = self.padded_size
        live: dict[str, int] = {INPUT: 4 * self.input_shape[0] * height * width}
        last_use = last_uses(self)
        peak = 0
        for node in self.nodes:
            peak = max(peak, sum(live.values()) + node.cost.peak_bytes)
            live[node.name] = sum(4 * c * h * w for c, h, w in node.out_shapes)
            for name in last_use[node.name]:
                if name != INPUT:  # the caller holds the image
                    live.pop(name, None)
        return peak

    @cached_property
    def hash(self) -> str:
        """A short name of the architecture: equal exactly when state_dict keys, shapes and computation are.

        Input size, order in the file, names of variables, comments and ``search`` do not count.
        """
        graph = {
            "channels": self.input_shape[0],
            "nodes": {node.name: [node.block, node.inputs, node.options] for node in self.nodes},
            "outputs": self.outputs,
        }
        return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:16]


def last_uses(plan: Plan) -> dict[str, list[str]]:
    """Return, by node, the maps that nobody needs once that node has run."""
    kept = {name for name, _ in plan.outputs.values()}
    last = {name: node.name for node in plan.nodes for name, _ in node.inputs}
    freed: dict[str, list[str]] = {node.name: [] for node in plan.nodes}
    for name, user in last.items():
        if name not in kept:
            freed[user].append(name)
    return freed
