"""A plan in figures: what ``lmnet-build`` prints as a table or as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmnet.builder.plan import Plan
from lmnet.builder.planner import Planner


@dataclass(frozen=True)
class Expectation:
    """One figure that the spec expects, beside the measured one."""

    figure: str
    expected: float
    measured: float
    tolerance: float

    @property
    def deviation(self) -> float:
        """The relative difference, measured to expected."""
        return self.measured / self.expected - 1

    @property
    def is_met(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.deviation) <= self.tolerance + 1e-12


def check_expectations(planner: Planner) -> list[Expectation]:
    """Return the spec's ``expect`` beside what is measured at its input size and form; empty without ``expect``.

    Raises:
        SpecError: the spec is wrong at that size.
    """
    expect = planner.spec.layout.expect
    if expect is None:
        return []
    plan = planner.plan(input_size=expect.input[1:])
    deployed = expect.form == "deploy"
    params = plan.deploy_params if deployed else plan.params
    macs = plan.deploy_macs if deployed else plan.macs
    where = f"{expect.form} form, {'x'.join(map(str, expect.input))}"
    return [
        Expectation(f"params ({where})", expect.params, params, expect.tolerance),
        Expectation(f"GMACs ({where})", expect.gmacs, macs / 1e9, expect.tolerance),
    ]


def as_dict(plan: Plan, expectations: list[Expectation]) -> dict[str, Any]:
    """Return a plan as plain data, the object that ``lmnet-build --json`` prints."""
    return {
        "name": plan.spec.name,
        "hash": plan.hash,
        "source": plan.spec.layout.source,
        "input": list(plan.input_shape),
        "padded_size": list(plan.padded_size),
        "stride": plan.stride,
        "params": plan.params,
        "macs": plan.macs,
        "deploy": {"params": plan.deploy_params, "macs": plan.deploy_macs},
        "peak_activation_bytes": plan.peak_bytes,
        "aux": plan.aux_weights,
        "expect": [
            {
                "figure": item.figure,
                "expected": item.expected,
                "measured": item.measured,
                "tolerance": item.tolerance,
                "met": item.is_met,
            }
            for item in expectations
        ],
        "nodes": [
            {
                "name": node.name,
                "block": node.block,
                "from": [name if not output else f"{name}.{output}" for name, output in node.inputs],
                "options": node.options,
                "out_shape": list(node.out_shapes[0]),
                "out_shapes": [list(shape) for shape in node.out_shapes],
                "params": node.cost.params,
                "macs": node.cost.macs,
                "deploy": {"params": node.cost.deploy_params, "macs": node.cost.deploy_macs},
            }
            for node in plan.nodes
        ],
    }
