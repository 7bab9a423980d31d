"""Measured latency: how long one image takes on this device."""

from __future__ import annotations

import contextlib
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from lmnet.blocks.checks import check_choice
from lmnet.builder.models import build_model, deploy
from lmnet.builder.spec import Spec
from lmnet.training.export.runtimes import RUNTIMES, check_installed, runtime_net

WARM_UP, RUNS = 2, 5


class LatencyMeter:
    """Measures the costs that cannot be computed, while the training runs of this search are paused.

    Args:
        device: cpu, cuda or cuda:N.
        runtime: torch, onnxruntime or openvino.

    Attributes:
        paused: returns a context manager that pauses the training runs of this search.

    Raises:
        ValueError: the runtime is unknown, or it is not torch on a GPU.
        ImportError: the runtime is not installed.
    """

    def __init__(self, device: str, runtime: str = "torch") -> None:
        check_choice("search", RUNTIMES, runtime=runtime)
        if runtime != "torch":
            check_installed(runtime)
            if device.startswith("cuda"):
                raise ValueError(
                    f"search: {runtime} runs on the CPU only, and device={device} is given. Give --device cpu or "
                    "--runtime torch."
                )
        self.device, self.runtime = device, runtime
        self.paused: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext

    def __call__(self, cost: str, spec: Spec) -> float:
        """Return the latency of a spec's net in milliseconds; it is the only measured cost."""
        assert cost == "latency_ms"
        with self.paused():
            return measure_latency_ms(spec, self.device, runtime=self.runtime)


def machine_name(device: str, runtime: str = "torch") -> str:
    """Return what latency depends on: the host, its processor or GPU, the number of torch threads, the runtime."""
    kind = (
        torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()
    )
    other = "" if runtime == "torch" else f", {runtime}"
    return f"{platform.node()} ({kind}, {torch.get_num_threads()} threads{other})"


def measure_latency_ms(spec: Spec, device: str = "cpu", *, runtime: str = "torch") -> float:
    """Return the median time of one image at the spec's input size, re-parameterised, in milliseconds.

    Args:
        spec: spec of the net.
        device: cpu, cuda or cuda:N.
        runtime: torch, onnxruntime or openvino; the last two take seconds more, as the net is exported.
    """
    target = torch.device(device)
    net = build_model(spec).eval()
    model = deploy(net).to(target) if runtime == "torch" else runtime_net(net, runtime)
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
