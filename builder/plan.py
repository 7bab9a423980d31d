"""A plan: a spec with its variables filled in, every shape and every node's cost inferred, before anything is built."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lmnet.blocks.registry import REGISTRY, Shape
from lmnet.builder.cost import NodeCost
from lmnet.builder.layout import Spec
from lmnet.builder.node_options import IDENTITY
from lmnet.builder.options import signature_of

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

    @property
    def hashed_options(self) -> dict[str, Any]:
        """The options without those that the block got later (``later_options``) and that have their defaults."""
        later: frozenset[str] = getattr(REGISTRY.get(self.block), "later_options", frozenset())
        defaults = signature_of(self.block).defaults() if later else {}
        return {key: value for key, value in self.options.items() if key not in later or value != defaults[key]}


@dataclass(frozen=True)
class Plan:
    """A checked graph.

    Args:
        spec: the spec that it is a plan of.
        variables: the values of ``vars``.
        input_shape: (C, H, W) of the image.
        padded_size: height and width that the nodes see: the image's, rounded up to the stride.
        stride: the image is padded to multiples of it.
        nodes: in the order of execution.
        outputs: the outputs by name.
        aux_nodes: nodes that only ``aux`` uses; they are in the training form alone, and no cost counts them.
        aux: maps that get a loss of their own while training, as the spec names them.
        aux_weights: the weights of these losses.
    """

    spec: Spec
    variables: dict[str, Any]
    input_shape: Shape
    padded_size: tuple[int, int]
    stride: int
    nodes: tuple[NodePlan, ...]
    outputs: dict[str, Reference]
    aux_nodes: tuple[NodePlan, ...] = ()
    aux: dict[str, Reference] = field(default_factory=dict)
    aux_weights: dict[str, float] = field(default_factory=dict)

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

        Input size, order in the file, names of variables, comments and ``search`` do not count. The weights of ``aux``
        losses do. A net with an ``identity`` is the net without that node.
        """
        source: dict[Reference, Reference] = {}  # of what an identity passes on
        for node in (*self.nodes, *self.aux_nodes):
            if node.block == IDENTITY:
                source[node.name, 0] = source.get(node.inputs[0], node.inputs[0])

        def hashed(nodes: tuple[NodePlan, ...]) -> dict[str, Any]:
            return {
                node.name: [node.block, [source.get(each, each) for each in node.inputs], node.hashed_options]
                for node in nodes
                if node.block != IDENTITY
            }

        graph: dict[str, Any] = {
            "channels": self.input_shape[0],
            "nodes": hashed(self.nodes),
            "outputs": {name: source.get(each, each) for name, each in self.outputs.items()},
        }
        if self.aux:
            graph["aux_nodes"] = hashed(self.aux_nodes)
            aux = {name: source.get(each, each) for name, each in self.aux.items()}
            graph["aux"] = [[*aux[name], self.aux_weights[name]] for name in sorted(aux)]
        return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:16]


def last_uses(plan: Plan) -> dict[str, list[str]]:
    """Return, by node, the maps that nobody needs once that node has run; without those that ``aux`` needs."""
    kept = {name for name, _ in plan.outputs.values()}
    last = {name: node.name for node in plan.nodes for name, _ in node.inputs}
    freed: dict[str, list[str]] = {node.name: [] for node in plan.nodes}
    for name, user in last.items():
        if name not in kept:
            freed[user].append(name)
    return freed
