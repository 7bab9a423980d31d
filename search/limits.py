"""Limits on what a net may cost, and by how much a net misses them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Limits:
    """What no trained candidate may exceed. All figures are of the re-parameterised net.

    Args:
        max_gflops: 10⁹ multiply-accumulates at batch 1 and the spec's own input size, whatever size is trained at.
        min_gflops: as max_gflops, from below.
        max_params: parameters.
        max_latency_ms: milliseconds of one picture at the spec's own input size, measured on the search's device.

    Raises:
        ValueError: a limit is not above 0, or the smallest is above the largest.
    """

    max_gflops: float | None = None
    min_gflops: float | None = None
    max_params: float | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        """Check the figures."""
        for name, value in asdict(self).items():
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"search: {name} must be above 0, got {name}={value}. Leave it out for no limit.")
        if self.min_gflops is not None and self.max_gflops is not None and self.min_gflops > self.max_gflops:
            raise ValueError(
                f"search: min_gflops must be at most max_gflops, got min_gflops={self.min_gflops}, "
                f"max_gflops={self.max_gflops}. Swap them."
            )

    def violations(self, *, gmacs: float, params: int, latency_ms: float | None = None) -> dict[str, float]:
        """Return by how much each limit is missed, relative to it; 0 or less where it is met.

        Args:
            gmacs: of the net.
            params: of the net.
            latency_ms: of the net; None while it is not measured, and its limit is left out.
        """
        found = {}
        if self.max_gflops is not None:
            found["max_gflops"] = gmacs / self.max_gflops - 1
        if self.min_gflops is not None:
            found["min_gflops"] = 1 - gmacs / self.min_gflops
        if self.max_params is not None:
            found["max_params"] = params / self.max_params - 1
        if self.max_latency_ms is not None and latency_ms is not None:
            found["max_latency_ms"] = latency_ms / self.max_latency_ms - 1
        return found

    def describe(self) -> dict[str, float]:
        """Return the limits that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}
