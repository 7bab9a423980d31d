"""An estimate of a measured cost from the nets measured so far, so that nets far over a limit are not measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
LEAST = 12
"""Number of measured nets from which costs are estimated."""
DEVIATIONS = 3.0
"""Half the width of the interval of an estimate, in standard deviations."""
LEAST_DEVIATION = 0.03
"""Least standard deviation of the logarithm of a measured cost: no measurement is more exact."""
COST_PENALTY, KNOB_PENALTY = 0.01, 0.3
"""Ridge penalties of computed costs and of knobs, both standardised."""


class Estimator:
    """Ridge regression of the logarithm of a measured cost on the logarithms of the computed costs and on the knobs.

    The deviation is that of each measured net from the estimate by all others (leave-one-out).
    """

    def __init__(self) -> None:
        self._costs: list[list[float]] = []
        self._knobs: list[list[float]] = []
        self._measured: list[float] = []
        self._fit: tuple[Array, Array, Array, Array, float] | None = None

    def add(self, costs: Sequence[float], knobs: Sequence[float], measured: float) -> None:
        """Add a net.

        Args:
            costs: its computed costs, above 0.
            knobs: its knobs, each from 0 to 1.
            measured: its measured cost, above 0.
        """
        self._costs.append([float(np.log(cost)) for cost in costs])
        self._knobs.append(list(knobs))
        self._measured.append(float(np.log(measured)))
        self._fit = None

    def interval(self, costs: Sequence[float], knobs: Sequence[float]) -> tuple[float, float] | None:
        """Return the lower and the upper end of the estimate for a net; None if too few nets were measured."""
        if len(self._measured) < LEAST:
            return None
        middle, spread, weights, inverse, deviation = self._fit or self._fitted()
        row = np.array([1.0, *np.log(np.array(costs, float)), *knobs])
        row[1:] = (row[1:] - middle) / spread
        width = DEVIATIONS * deviation * float(np.sqrt(1 + row @ inverse @ row))
        mean = float(row @ weights)
        return float(np.exp(mean - width)), float(np.exp(mean + width))

    def _fitted(self) -> tuple[Array, Array, Array, Array, float]:
        features, target = np.hstack([np.array(self._costs), np.array(self._knobs)]), np.array(self._measured)
        middle, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
        rows = np.hstack([np.ones((len(features), 1)), (features - middle) / spread])
        penalties = [1e-9, *[COST_PENALTY] * len(self._costs[0]), *[KNOB_PENALTY] * len(self._knobs[0])]
        inverse = np.linalg.inv(rows.T @ rows + np.diag(penalties))
        weights = inverse @ rows.T @ target
        leverage = np.einsum("ij,jk,ik->i", rows, inverse, rows)
        left_out = (target - rows @ weights) / np.maximum(1 - leverage, 0.05)
        deviation = max(LEAST_DEVIATION, float(np.sqrt(np.mean(left_out**2))))
        self._fit = middle, spread, weights, inverse, deviation
        return self._fit
