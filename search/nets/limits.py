"""The costs of a net and the limits on them. A cost is one row of COSTS, a limit is one row of LIMITS.

The command line, the survey, the costs of candidates, trials, tables and reports read these rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmnet.builder.problems import did_you_mean

if TYPE_CHECKING:  # the command line reads the rows before torch is imported
    from lmnet.builder.plan import Plan


@dataclass(frozen=True)
class Cost:
    """One cost of a re-parameterised net.

    Args:
        name: key in JSON, CSV and the trials' attributes.
        label: heading in tables.
        digits: format in tables.
        of: computes the cost from a plan; None if it has to be measured.
    """

    name: str
    label: str
    digits: str
    of: Callable[[Plan], float] | None

    def text(self, value: float | None) -> str:
        """Return a value as text."""
        return "-" if value is None else format(value, self.digits)


COSTS = (
    Cost("gmacs", "GMACs", ".4f", lambda plan: plan.deploy_macs / 1e9),
    Cost("params", "parameters", ",d", lambda plan: plan.deploy_params),
    Cost("memory_mib", "MiB of memory", ".2f", lambda plan: plan.peak_bytes / 2**20),
    Cost("latency_ms", "latency ms", ".2f", None),
)


@dataclass(frozen=True)
class Limit:
    """A bound on one cost.

    Args:
        name: argument of ``run`` and, with dashes, option of ``lmnet-search``.
        cost: name of the cost that is limited.
        sign: 1 for an upper limit, -1 for a lower one.
        metavar: name of the value in the help.
        help: one line for the help.
    """

    name: str
    cost: str
    sign: int
    metavar: str
    help: str


LIMITS = (
    Limit("max_gflops", "gmacs", 1, "G", "upper limit in GMACs (10^9 multiply-accumulates) at the spec's input size"),
    Limit("min_gflops", "gmacs", -1, "G", "lower limit in GMACs"),
    Limit("max_params", "params", 1, "N", "upper limit on parameters, for example 5e6"),
    Limit(
        "max_memory_mib",
        "memory_mib",
        1,
        "MIB",
        "upper limit in MiB of activations held at once, float32, batch 1, without weights",
    ),
    Limit("max_latency_ms", "latency_ms", 1, "MS", "upper limit in milliseconds per image, measured here"),
)


class Limits:
    """The bounds that every trained net meets.

    Args:
        values: bounds by the names of ``LIMITS``; None for no limit. ``Limits(max_gflops=5, max_params=3e6)``.

    Raises:
        TypeError: a name is unknown.
        ValueError: a bound is not above 0, or a lower limit is above the upper one.
    """

    def __init__(self, **values: float | None) -> None:
        names = [limit.name for limit in LIMITS]
        for name, value in values.items():
            if name not in names:
                raise TypeError(f"search: there is no limit {name}. {did_you_mean(name, names)}")
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"search: {name} must be above 0, got {name}={value}. Leave it out for no limit.")
        self._values = {name: values[name] for name in names if values.get(name) is not None}
        for low in self.rows:
            for high in self.rows:
                if low.cost == high.cost and low.sign < high.sign and self.bound(low) > self.bound(high):
                    raise ValueError(
                        f"search: {low.name} must be at most {high.name}, got {low.name}={self.bound(low):g}, "
                        f"{high.name}={self.bound(high):g}. Swap them."
                    )

    @property
    def rows(self) -> list[Limit]:
        """The limits that are set."""
        return [limit for limit in LIMITS if limit.name in self._values]

    def bound(self, limit: Limit) -> float:
        """Return the value of a limit that is set."""
        return self._values[limit.name] or 0.0

    def __getattr__(self, name: str) -> float | None:
        """Return the value of a limit by its name; None if it is not set."""
        if any(limit.name == name for limit in LIMITS):
            return self._values.get(name)
        raise AttributeError(f"Limits has no attribute {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limits) and self._values == other._values

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return f"Limits({', '.join(f'{name}={value:g}' for name, value in self.describe().items())})"

    @property
    def measured(self) -> list[Cost]:
        """The costs that have to be measured for these limits."""
        return [cost for cost in COSTS if cost.of is None and any(limit.cost == cost.name for limit in self.rows)]

    def violations(self, **costs: float | None) -> dict[str, float]:
        """Return by how much each limit is exceeded, relative to it; 0 or less if it is met.

        Args:
            costs: costs by their names; a limit whose cost is missing or None is left out.
        """
        return {
            limit.name: limit.sign * (value / self.bound(limit) - 1)
            for limit in self.rows
            if (value := costs.get(limit.cost)) is not None
        }

    def describe(self) -> dict[str, float]:
        """Return the limits that are set, by name."""
        return {limit.name: self.bound(limit) for limit in self.rows}
