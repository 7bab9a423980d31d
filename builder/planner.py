"""From a spec to a plan: shapes and costs inferred, every fault found."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from lmnet.blocks.registry import Shape
from lmnet.builder.aux_outputs import aux_problems, aux_weights
from lmnet.builder.chosen_block import ChosenBlock, choose, problem_at, resolve
from lmnet.builder.cost import NodeCost, make_block, node_cost, node_shapes
from lmnet.builder.expressions import ExpressionError, evaluate
from lmnet.builder.layout import INPUT_SIZE, Spec
from lmnet.builder.node_options import OUT_CHANNELS
from lmnet.builder.plan import INPUT, NodePlan, Plan, Reference
from lmnet.builder.problems import Problem, SpecError
from lmnet.builder.wiring import WiredNode, Wiring

_Value = TypeVar("_Value")
REMEMBERED = 20_000
"""Most nodes, and most nodes' options, that are remembered."""
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
        self._options_memo: dict[Any, ChosenBlock] = {}

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

    def plan(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        input_size: Sequence[int] | None = None,
        every_choice: bool = False,
    ) -> Plan:
        """Check the graph and compute its cost.

        Args:
            values: variables that differ from the spec's; ``input.size`` is the size.
            input_size: height and width; None for the spec's.
            every_choice: also check every other block that a node may be: it must give the same maps.

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
        if every_choice:
            problems += self._other_choices(variables, nodes, (layout.input.channels, *padded))
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

    def choice_problems(self) -> list[Problem]:
        """Return what is wrong if a node may be one of several blocks, at the spec's own values of its variables."""
        if any(node.has_choices for node in self.wiring.nodes):
            try:
                self.plan(every_choice=True)
            except SpecError as error:
                return error.problems
        return []

    def _main(self, nodes: Mapping[str, NodePlan]) -> dict[str, NodePlan]:
        """Return the nodes that the outputs need."""
        if not self.wiring.aux:
            return dict(nodes)
        needed = self.wiring.main_nodes()
        return {name: node for name, node in nodes.items() if name in needed}

    def _trace(
        self, variables: Mapping[str, Any], options: Mapping[str, ChosenBlock], image: Shape, *, price: bool
    ) -> tuple[list[Problem], dict[str, NodePlan]]:
        """Infer shapes node by node; return the problems found and the nodes that came out.

        Args:
            variables: with their values.
            options: node name → the block that it is built as; nodes that cannot be built are left out.
            image: shape of the input.
            price: False if something else is wrong already: shapes alone are found, which is faster.
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

    def _all_options(self, variables: Mapping[str, Any], problems: list[Problem]) -> dict[str, ChosenBlock]:
        """Return the block of every node that can be built; what is wrong with others is added to the problems."""
        all_options = {}
        for node in self.wiring.nodes:
            key = (node.name, *(repr(variables.get(name)) for name in node.names))
            chosen = self._options_memo.get(key)
            if chosen is None:
                found, chosen = choose(node, variables, self.spec.document)
                problems += found
                if chosen is None:
                    continue
                if not found:
                    _remember(self._options_memo, key, chosen)
            all_options[node.name] = chosen
        return all_options

    def _plan_node(
        self, node: WiredNode, chosen: ChosenBlock, in_shapes: tuple[Shape, ...] | None, *, price: bool
    ) -> tuple[list[Problem], NodePlan | None]:
        block, document = chosen.block, self.spec.document
        refusal, cost = _attempt(block.name, chosen.options, in_shapes, node.inputs, price=price)
        if refusal:
            named = re.search(r"got (\w+)=", refusal)
            option = named[1] if named and named[1] in block.options else None
            return [problem_at(document, block, option, refusal)], None
        if cost is None or in_shapes is None or node.inputs is None:
            return [], None
        wrong = [shape[0] for shape in cost.out_shapes if shape[0] != chosen.channels]
        if chosen.channels is not None and wrong:
            message = (
                f"{block.name} has no option out_channels and gives {wrong[0]} channels, got "
                f"out_channels={chosen.channels}. Give it {chosen.channels} channels, or choose another block."
            )
            return [problem_at(document, block, OUT_CHANNELS, message)], None
        return [], NodePlan(node.name, block.name, node.inputs, chosen.options, in_shapes, cost)

    def _other_choices(
        self, variables: Mapping[str, Any], planned: Mapping[str, NodePlan], image: Shape
    ) -> list[Problem]:
        """Return what is wrong with the blocks that nodes may be and are not: each must give the same maps."""
        problems = []
        for node in self.wiring.nodes:
            own = planned.get(node.name)
            try:
                in_shapes = self._in_shapes(node, planned, image)
            except (SpecError, _Unknown):
                in_shapes = None
            for block in node.blocks.values() if node.has_choices else ():
                found, chosen = resolve(block, variables, self.spec.document)
                problems += found
                if chosen is None:
                    continue
                found, other = self._plan_node(node, chosen, in_shapes, price=False)
                problems += found
                own = own or other
                if own is not None and other is not None and own.out_shapes != other.out_shapes:
                    problems.append(problem_at(self.spec.document, block, None, _unequal(own, other)))
        return problems

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


def _unequal(own: NodePlan, other: NodePlan) -> str:
    """Return the error of a choice that does not give what the node's own block gives."""
    have, give = (" and ".join("x".join(map(str, shape)) for shape in node.out_shapes) for node in (other, own))
    return (
        f"each block of a node must give the same maps, got {have} from {other.block} and {give} from {own.block}. "
        f"Change the options of {other.block}, or take it out of the choices."
    )


def _scale_advice(node: NodePlan, shape: Shape, padded: tuple[int, int]) -> str:
    """Say which scale the head needs: its own times what is missing, if that is a whole number."""
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
