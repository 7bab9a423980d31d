"""From a spec to a plan: shapes and costs inferred, every fault found."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from lmnet.blocks.registry import Shape
from lmnet.builder.aux_outputs import aux_problems, aux_weights
from lmnet.builder.cost import NodeCost, make_block, node_cost, node_shapes
from lmnet.builder.expressions import ExpressionError, evaluate, names_in
from lmnet.builder.layout import INPUT_SIZE, Spec
from lmnet.builder.plan import INPUT, NodePlan, Plan, Reference
from lmnet.builder.problems import Problem, SpecError
from lmnet.builder.wiring import WiredNode, Wiring

_Value = TypeVar("_Value")
REMEMBERED = 20_000
"""So many nodes, and so many nodes' options, are remembered at most."""
PROBE_SIDE = 1152  # divisible by 2^7 and 9: strides of 2, 3 and their products come out exactly


class _Unknown(Exception):  # noqa: N818
    """A value that cannot be known because of a fault that is already reported."""


class Planner:
    """Turns a spec into plans, for any values of its variables, remembering what it has seen.

    Args:
        spec: the spec.

    Raises:
        SpecError: the wiring is wrong; raised by ``plan`` together with all other faults.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.wiring = Wiring(spec)
        self._memo: dict[Any, NodePlan] = {}
        self._options_memo: dict[Any, dict[str, Any]] = {}

    def variables(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the variables with ``values`` put in and expressions evaluated, in the file's order.

        Raises:
            SpecError: an expression has no value.
        """
        resolved, problems = self._variables(values)
        if problems:
            raise SpecError(problems)
        return resolved

    def _variables(self, values: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[Problem]]:
        resolved: dict[str, Any] = {}
        problems = []
        for name, value in self.spec.layout.vars.items():
            try:
                resolved[name] = evaluate(values[name] if values and name in values else value, resolved)
            except ExpressionError as err:
                problems.append(self.spec.document.problem(("vars", name), str(err)))
        return resolved, problems

    def plan(self, values: Mapping[str, Any] | None = None, *, input_size: Sequence[int] | None = None) -> Plan:
        """Check the graph and compute its cost.

        Args:
            values: variables that differ from the spec's; ``input.size`` is the size.
            input_size: height and width; None for the spec's.

        Raises:
            SpecError: with everything that is wrong.
        """
        layout = self.spec.layout
        size = tuple(input_size or (values or {}).get(INPUT_SIZE, layout.input.size))
        variables, found = self._variables(values)
        weights, wrong = aux_weights(self.wiring, variables)
        problems = [*self.wiring.problems, *found, *wrong]
        options = self._all_options(variables, problems)
        height, width = size

        def trace(height: int, width: int) -> tuple[list[Problem], dict[str, NodePlan]]:
            image = (layout.input.channels, height, width)
            return self._trace(variables, options, image, price=not problems)

        faults, nodes = trace(height, width)
        stride = 1 if faults or problems else exact_stride(self._main(nodes), height, width)
        if not stride or faults:  # the size may be the cause, so the stride is found at another one
            _, probed = trace(PROBE_SIDE, PROBE_SIDE)
            stride = exact_stride(self._main(probed), PROBE_SIDE, PROBE_SIDE) or 1
        padded = (math.ceil(height / stride) * stride, math.ceil(width / stride) * stride)
        if padded != size:
            if not layout.input.pad:
                problems.append(self.spec.document.problem(("input", "size"), size_message(stride, size, padded)))
            faults, nodes = trace(*padded)
        problems += faults
        if not problems:
            problems += self._check_outputs(nodes, padded)
            problems += aux_problems(self.wiring, nodes)
        if problems:
            raise SpecError(problems)
        main = self._main(nodes)
        extra = tuple(node for name, node in nodes.items() if name not in main)
        return Plan(
            self.spec,
            variables,
            (layout.input.channels, height, width),
            padded,
            stride,
            tuple(main.values()),
            self.wiring.outputs,
            extra,
            self.wiring.aux,
            weights,
        )

    def _main(self, nodes: Mapping[str, NodePlan]) -> dict[str, NodePlan]:
        """Return the nodes that the outputs need."""
        if not self.wiring.aux:
            return dict(nodes)
        needed = self.wiring.main_nodes()
        return {name: node for name, node in nodes.items() if name in needed}

    def _trace(
        self, variables: Mapping[str, Any], options: Mapping[str, dict[str, Any]], image: Shape, *, price: bool
    ) -> tuple[list[Problem], dict[str, NodePlan]]:
        """Infer shapes node by node; return the problems found and the nodes that came out.

        Args:
            variables: with their values.
            options: node name → the options that it is built with; nodes that cannot be built are left out.
            image: shape of the input.
            price: False where something else is wrong already: shapes alone are found, which is faster.
        """
        problems: list[Problem] = []
        planned: dict[str, NodePlan] = {}
        for node in self.wiring.nodes:
            in_shapes: tuple[Shape, ...] | None
            try:
                in_shapes = self._in_shapes(node, planned, image)
            except SpecError as error:
                problems += error.problems
                in_shapes = None
            except _Unknown:
                in_shapes = None
            key = None
            if in_shapes is not None:
                key = (node.name, in_shapes, *(repr(variables.get(name)) for name in node.names))
                done = self._memo.get(key)
                if done is not None:
                    planned[node.name] = done
                    continue
            if node.name not in options:
                continue
            found, done = self._plan_node(node, options[node.name], in_shapes, price=price)
            problems += found
            if done is not None:
                planned[node.name] = done
                if price:
                    _remember(self._memo, key, done)
        return problems, planned

    def _in_shapes(self, node: WiredNode, planned: Mapping[str, NodePlan], image: Shape) -> tuple[Shape, ...]:
        if node.inputs is None:
            raise _Unknown
        shapes: list[Shape] = []
        for position, (name, index) in enumerate(node.inputs):
            if name == INPUT:
                shapes.append(image)
                continue
            if name not in planned:
                raise _Unknown
            outputs = planned[name].out_shapes
            if index >= len(outputs):
                place = (*node.path, "from", position)
                message = (
                    f"{name} has {len(outputs)} outputs, got {name}.{index}. Use {name}.0 to {name}.{len(outputs) - 1}."
                )
                raise SpecError([self.spec.document.problem(place, message)])
            shapes.append(outputs[index])
        return tuple(shapes)

    def _all_options(self, variables: Mapping[str, Any], problems: list[Problem]) -> dict[str, dict[str, Any]]:
        """Return the options of every node that can be built; what is wrong with others is added to the problems."""
        all_options = {}
        for node in self.wiring.nodes:
            key = (node.name, *(repr(variables.get(name)) for name in node.names))
            options = self._options_memo.get(key)
            if options is None:
                found, options = self._options_of(node, variables)
                problems += found
                if options is None:
                    continue
                if not found:
                    _remember(self._options_memo, key, options)
            all_options[node.name] = options
        return all_options

    def _options_of(self, node: WiredNode, variables: Mapping[str, Any]) -> tuple[list[Problem], dict[str, Any] | None]:
        """Return the problems of a node's options, and the options that are right, or None where some are missing."""
        if node.signature is None or node.block is None:
            return [], None
        problems = []
        options = node.signature.defaults()
        for key, value in node.options.items():
            if names_in(value) - variables.keys():  # a variable without value, already reported
                options.pop(key, None)
                continue
            try:
                options[key] = evaluate(value, variables)
            except ExpressionError as err:
                problems.append(self.spec.document.problem((*node.path, key), str(err)))
                options.pop(key, None)
        for key, message in node.signature.faults(options).items():
            if key in options:  # the others are missing or reported already
                problems.append(self.spec.document.problem((*node.path, key), message))
                options.pop(key)
        if any(option.is_required and name not in options for name, option in node.signature.options.items()):
            return problems, None
        return problems, options

    def _plan_node(
        self, node: WiredNode, options: dict[str, Any], in_shapes: tuple[Shape, ...] | None, *, price: bool
    ) -> tuple[list[Problem], NodePlan | None]:
        assert node.block is not None
        refusal, cost = _attempt(node.block, options, in_shapes, node.inputs, price=price)
        if refusal:
            named = re.search(r"got (\w+)=", refusal)
            path = (*node.path, named[1]) if named and named[1] in node.options else node.path
            return [self.spec.document.problem(path, refusal, at_key=path == node.path)], None
        if cost is None or in_shapes is None or node.inputs is None:
            return [], None
        return [], NodePlan(node.name, node.block, node.inputs, options, in_shapes, cost)

    def _check_outputs(self, nodes: Mapping[str, NodePlan], padded: tuple[int, int]) -> list[Problem]:
        problems = []
        for key, (name, index) in self.wiring.outputs.items():
            shapes = nodes[name].out_shapes
            if index >= len(shapes):
                message = f"{name} has {len(shapes)} outputs, got {name}.{index}. Use {name}.{len(shapes) - 1}."
                problems.append(self.spec.document.problem(("outputs", key), message))
            elif key == "logits" and shapes[index][1:] != padded:
                height, width = shapes[index][1:]
                message = (
                    f"logits must have the image's size {padded[0]}x{padded[1]}, got {height}x{width} from {name}. "
                    f"{_scale_advice(nodes[name], shapes[index], padded)}"
                )
                problems.append(self.spec.document.problem(("outputs", key), message))
        return problems


def _scale_advice(node: NodePlan, shape: Shape, padded: tuple[int, int]) -> str:
    """Say which scale the head needs: its own times what is missing, where that is a whole number."""
    scale = node.options.get("scale", 1)
    factors = [side * scale / have for side, have in zip(padded, shape[1:], strict=True)]
    if (
        node.block.endswith("_head")
        and "scale" in node.options
        and factors[0] == factors[1]
        and factors[0].is_integer()
    ):
        return f"Give the {node.block} scale: {int(factors[0])}."
    return "End with a segmentation_head whose scale brings the map to that size."


def _attempt(
    block: str,
    options: Mapping[str, Any],
    in_shapes: tuple[Shape, ...] | None,
    inputs: tuple[Reference, ...] | None,
    *,
    price: bool,
) -> tuple[str | None, NodeCost | None]:
    """Return (what is wrong, None) or (None, cost) of a block; with unknown inputs only its options are tried."""
    try:
        if in_shapes is not None:
            return None, (node_cost if price else node_shapes)(block, options, in_shapes)
        _try_options(block, options, len(inputs or ()))
    except Exception as err:  # noqa: BLE001 - a user's block may raise anything, and the spec must name the node
        text = str(err).strip().splitlines()
        message = text[0] if text else type(err).__name__
        if not isinstance(err, (ValueError, TypeError)):
            message = f"{block}: must be built and run on these inputs, got {type(err).__name__}: {message}."
        if in_shapes is not None and inputs is not None:
            edges = ", ".join(
                f"{name} {'x'.join(map(str, shape))}" for (name, _), shape in zip(inputs, in_shapes, strict=True)
            )
            message += f" (from {edges})"
        return message, None
    return None, None


def _try_options(block: str, options: Mapping[str, Any], count: int) -> None:
    """Build a block whose inputs are unknown, on channels that every usual number of heads divides."""
    heads = [value for value in options.values() if type(value) is int and 0 < value < 100]
    channels = math.lcm(*range(1, 17), *heads)
    if not count or channels > 2**31:
        return
    with torch.device("meta"):
        try:
            make_block(block, options, [channels] * count)
        except RuntimeError:
            return  # the channels were a guess


def exact_stride(nodes: Mapping[str, NodePlan], height: int, width: int) -> int:
    """Return by how much the smallest map is smaller than the image, or 0 unless all factors are whole."""
    stride = 1
    for node in nodes.values():
        for _, h, w in node.out_shapes:
            if height % h or width % w or height // h != width // w:
                return 0
            stride = math.lcm(stride, height // h)
    return stride if stride <= max(height, width) else 0


def _remember(memo: dict[Any, _Value], key: Any, value: _Value) -> None:
    """Keep a value; a memo that is full begins anew, so that a long search does not fill the memory."""
    if len(memo) >= REMEMBERED:
        memo.clear()
    memo[key] = value


def size_message(stride: int, size: Sequence[int], padded: Sequence[int]) -> str:
    """Return the error of an image whose size the net does not take without padding."""
    return (
        f"size must be a multiple of {stride}, got {size[0]}x{size[1]}. "
        f"Pad the image to {padded[0]}x{padded[1]}, or set pad: true."
    )


def plan_spec(spec: Spec, *, input_size: Sequence[int] | None = None) -> Plan:
    """Check a spec and compute its cost; SpecError with everything that is wrong."""
    return Planner(spec).plan(input_size=input_size)
