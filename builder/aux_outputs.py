"""The section ``aux`` of a spec: maps that get a loss of their own while training (deep supervision)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmnet.builder.expressions import ExpressionError, evaluate
from lmnet.builder.plan import NodePlan
from lmnet.builder.problems import Problem
from lmnet.builder.wiring import Wiring

MAX_WEIGHT = 1000


def aux_weights(wiring: Wiring, variables: Mapping[str, Any]) -> tuple[dict[str, float], list[Problem]]:
    """Return the weights of the losses by map, and what is wrong with others."""
    weights: dict[str, float] = {}
    problems = []
    for text in wiring.aux:
        try:
            weight = evaluate(wiring.spec.layout.aux[text], variables)
            if type(weight) not in (int, float) or not 0 <= weight <= MAX_WEIGHT:
                raise ExpressionError(
                    f"the weight of a loss must be a number from 0 to {MAX_WEIGHT}, got {weight!r}. Use 0.4."
                )
            weights[text] = float(weight)
        except ExpressionError as err:
            problems.append(wiring.spec.document.problem(("aux", text), str(err)))
    return weights, problems


def aux_problems(wiring: Wiring, nodes: Mapping[str, NodePlan]) -> list[Problem]:
    """Return what is wrong with the maps of ``aux``: each must exist and have the channels of the logits."""
    problems = []
    logits = wiring.outputs.get("logits")
    for text, (name, index) in wiring.aux.items():
        shapes = nodes[name].out_shapes
        message = ""
        if index >= len(shapes):
            message = f"{name} has {len(shapes)} outputs, got {name}.{index}. Use {name}.{len(shapes) - 1}."
        elif logits is None:
            message = f"aux needs an output named logits, got {', '.join(wiring.outputs)}. Name one logits."
        else:
            classes = nodes[logits[0]].out_shapes[logits[1]][0]
            if shapes[index][0] != classes:
                message = (
                    f"a map of aux must have the channels of the logits, {classes}, got {shapes[index][0]} from "
                    f"{text}. Put a segmentation_head behind it."
                )
        if message:
            problems.append(wiring.spec.document.problem(("aux", text), message, at_key=True))
    return problems
