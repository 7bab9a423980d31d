"""How fast nets run on this machine: interleaved in one process, as medians and ratios, beside the machine's peak."""

from __future__ import annotations

import contextlib
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmnet.builder.models import build_model
from lmnet.builder.optimize import optimize_for_inference
from lmnet.builder.plan import Plan
from lmnet.builder.processes import call_in_process
from lmnet.builder.spec import parse_spec

REPEATS = 15
"""Measured passes of each net."""
STATUS = Path("/proc/self/status")
Calls = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True)
class Timing:
    """Forward passes of one net.

    Args:
        name: the net and its form.
        batch: images per pass.
        macs: multiply-accumulates per image.
        seconds: one entry per pass.
        peak_bytes: most memory of one pass above what was held before it, in a process of its own.
    """

    name: str
    batch: int
    macs: int
    seconds: tuple[float, ...]
    peak_bytes: int

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The first quartile, the median and the third quartile, in milliseconds."""
        low, middle, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return 1e3 * low, 1e3 * middle, 1e3 * high

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        low, middle, high = self.quartiles
        return {
            "name": self.name,
            "batch": self.batch,
            "macs": self.macs,
            "milliseconds": {"median": middle, "quartiles": [low, high]},
            "images_per_second": self.images_per_second,
            "peak_bytes": self.peak_bytes,
        }

    @property
    def images_per_second(self) -> float:
        """Images per second at the median."""
        return self.batch * 1e3 / self.quartiles[1]

    @property
    def gflops(self) -> float:
        """10^9 floating-point operations per second at the median, two per multiply-accumulate."""
        return 2 * self.macs * self.images_per_second / 1e9


def measure_interleaved(
    passes: Sequence[Callable[[], object]], *, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[tuple[float, ...]]:
    """Return the seconds of each function, called in turns after two warm-up rounds, so that noise meets all alike.

    Args:
        passes: the functions.
        repeats: measured calls of each.
        clock: returns seconds; ``time.process_time`` for the processor's.
    """
    seconds: list[list[float]] = [[] for _ in passes]
    for turn in range(repeats + 2):
        for index, run in enumerate(passes):
            start = clock()
            run()
            if turn >= 2:
                seconds[index].append(clock() - start)
    return [tuple(values) for values in seconds]


def machine_peak_gflops(*, size: int = 2048, repeats: int = 5) -> float:
    """Return the fastest of some float32 matrix products on this machine, in GFLOP/s, with the threads in force."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    (seconds,) = measure_interleaved([lambda: left @ right], repeats=repeats)
    return 2 * size**3 / min(seconds) / 1e9


def benchmark(plans: Sequence[Plan], *, batch: int, threads: int | None = None) -> tuple[list[Timing], float]:
    """Measure each plan's net in its training form (eval mode) and optimised, all interleaved.

    Args:
        plans: the nets, each at its own padded size.
        batch: images per pass.
        threads: number of torch's threads; None to leave it.

    Returns:
        The timings, two per plan, and the machine's measured peak in GFLOP/s.
    """
    with torch_threads(threads):
        names, passes, macs, peaks = [], [], [], []
        for plan in plans:
            model = build_model(plan.spec).eval()
            image = torch.randn(batch, plan.input_shape[0], *plan.padded_size)
            for form, net, count in (
                ("training form", model, plan.macs),
                ("optimised", optimize_for_inference(model), plan.deploy_macs),
            ):
                names.append(f"{plan.spec.name}, {form}")
                passes.append(one_pass(net, image))
                macs.append(count)
                peaks.append(peak_memory(plan, batch=batch, optimised=form == "optimised"))
        seconds = measure_interleaved(passes, repeats=REPEATS)
        timings = [Timing(*row) for row in zip(names, [batch] * len(names), macs, seconds, peaks, strict=True)]
        return timings, machine_peak_gflops()


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Give torch another number of threads for a while; None leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_pass(net: Callable[[Tensor], Any], image: Tensor) -> Callable[[], object]:
    """Return a function that runs a net once, without gradients."""

    def run() -> object:
        with torch.inference_mode():
            return net(image)

    return run


def peak_memory(plan: Plan, *, batch: int, optimised: bool) -> int:
    """Return the bytes that one forward pass adds at its peak, measured in a fresh process (Linux; else 0)."""
    return peak_in_process(_one_pass, plan.spec.dump(), plan.padded_size, batch, optimised)


def _one_pass(text: str, size: tuple[int, int], batch: int, optimised: bool) -> Calls:
    spec = parse_spec(text)
    net: nn.Module = build_model(spec).eval()
    if optimised:
        net = optimize_for_inference(net)
    image = torch.randn(batch, spec.layout.input.channels, *size)
    return one_pass(net, image[:1, :, :64, :64]), one_pass(net, image)


def peak_in_process(make: Callable[..., Calls], *arguments: Any) -> int:
    """Return the bytes that a call adds at its peak, measured in a process of its own (Linux; else 0).

    Args:
        make: function of a module that returns (warm-up, call); it runs in the fresh process, with torch's threads of
            this one. The warm-up loads libraries and starts threads.
        arguments: arguments of ``make``; they are pickled.
    """
    if not STATUS.exists():
        return 0
    peak: int = call_in_process(_peak_of_made, make, arguments, torch.get_num_threads())
    return peak


def _peak_of_made(make: Callable[..., Calls], arguments: tuple[Any, ...], threads: int) -> int:
    torch.set_num_threads(threads)
    warm_up, call = make(*arguments)
    warm_up()
    return peak_of(call)


def peak_of(run: Callable[[], object]) -> int:
    """Return the bytes that a call adds to this process at its peak (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is held now
    before = _kib("VmHWM")
    run()
    return 1024 * (_kib("VmHWM") - before)


def _kib(key: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


def describe_machine(threads: int | None = None) -> str:
    """Return processor, threads (None: torch's now) and versions in one line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    count = threads or torch.get_num_threads()
    return f"{cpu}, {count} thread{'s' * (count != 1)}, torch {torch.__version__}, Python {platform.python_version()}"
