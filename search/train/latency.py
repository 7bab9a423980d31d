"""Measured latency: how long one image takes on this device."""

from __future__ import annotations

import contextlib
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from lmnet.builder.models import build_model, deploy
from lmnet.builder.spec import Spec

WARM_UP, RUNS = 2, 5


class LatencyMeter:
    """Measures the costs that cannot be computed, while nothing else runs.

    Args:
        device: cpu, cuda or cuda:N.

    Attributes:
        paused: context manager that holds the trainings of this search still.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.paused: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def __call__(self, cost: str, spec: Spec) -> float:
        """Return the latency of a spec's net in milliseconds; it is the only measured cost."""
        assert cost == "latency_ms"
        with self.paused():
            return measure_latency_ms(spec, self.device)


def machine_name(device: str) -> str:
    """Return what latencies depend on: the host, its processor or GPU, and torch's threads."""
    kind = (
        torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()
    )
    return f"{platform.node()} ({kind}, {torch.get_num_threads()} threads)"


def measure_latency_ms(spec: Spec, device: str = "cpu") -> float:
    """Return the median time of one image at the spec's input size, re-parameterised, in milliseconds.

    Args:
        spec: of the net.
        device: cpu, cuda or cuda:N.
    """
    target = torch.device(device)
    model = deploy(build_model(spec)).to(target)
    channels, (height, width) = spec.layout.input.channels, spec.layout.input.size
    image = torch.zeros(1, channels, height, width, device=target)
    times = []
    with torch.inference_mode():
        for _ in range(WARM_UP + RUNS):
            start = time.perf_counter()
            model(image)
            if target.type == "cuda":
                torch.cuda.synchronize(target)
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[WARM_UP:])
