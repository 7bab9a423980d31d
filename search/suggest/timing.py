"""What a net costs on this machine: milliseconds of one image and megabytes of its file, measured once and kept."""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from lmnet.blocks.cache_folder import cache_folder
from lmnet.builder.cost_store import CostStore
from lmnet.builder.models import build_model
from lmnet.builder.optimize import optimize_for_inference
from lmnet.builder.planner import plan_spec
from lmnet.builder.processes import call_in_process
from lmnet.builder.spec import load_spec
from lmnet.search.suggest.choices import NetChoice
from lmnet.training.export.formats import export_model
from lmnet.training.export.runtimes import RUNTIMES, check_installed, onnxruntime_net, openvino_net

WARM_UP, PASSES = 2, 15
LEAST_S = 5.0
"""With less time than this no net is begun: a new process and its end take seconds on a busy machine."""
BYTES_BESIDE_WEIGHTS = 150_000
"""What an ONNX file holds beside the weights, about."""


@dataclass(frozen=True)
class MachineCost:
    """The cost of a net on this machine.

    Args:
        ms: of one image.
        mb: of the file: ONNX, or the weights where the runtime is torch.
        is_measured: False where both are estimates.
    """

    ms: float | None
    mb: float
    is_measured: bool


def default_runtime() -> str:
    """Return onnxruntime where it is installed, else torch."""
    try:
        check_installed("onnxruntime")
    except ImportError:
        return "torch"
    return "onnxruntime"


class Stopwatch:
    """Measures nets in one runtime on the CPU, and keeps what it measured in the user's cache.

    Args:
        runtime: torch, onnxruntime or openvino.
        in_channels: of the images.
        clock: returns the time in seconds.

    Raises:
        ValueError: an unknown runtime.
        ImportError: the runtime is not installed.
    """

    def __init__(self, runtime: str, *, in_channels: int = 3, clock: Callable[[], float] = time.monotonic) -> None:
        if runtime not in RUNTIMES:
            raise ValueError(f"suggest: there is no runtime {runtime!r}. Use one of {', '.join(RUNTIMES)}.")
        if runtime != "torch":
            check_installed(runtime)
        self.runtime, self.in_channels, self.clock = runtime, in_channels, clock
        folder = cache_folder()
        self._store = CostStore(folder / "timings.jsonl" if folder is not None else None)

    def known(self, choice: NetChoice) -> MachineCost | None:
        """Return what was measured before on this machine, or None."""
        found = self._store.get(self._key(choice))
        return MachineCost(float(found[0]), float(found[1]), True) if isinstance(found, list) else None

    def measure(
        self, choices: Iterable[NetChoice], *, until: float, say: Callable[[str], None] = lambda text: None
    ) -> dict[NetChoice, MachineCost]:
        """Measure nets in order until the time is up; what was measured before costs no time.

        A net is measured in a process of its own, which is ended where the time is up.

        Args:
            choices: the nets.
            until: on the clock.
            say: called with a line for each phase of a measurement, and with what failed.
        """
        found = {}
        for choice in choices:
            cost = self.known(choice)
            if cost is None and self.clock() + LEAST_S < until:
                say(f"measuring {choice.name} in {self.runtime}")
                cost = self._measured_within(choice, until - self.clock(), say)
                if cost is not None:
                    self._store.put(self._key(choice), [cost.ms, cost.mb])
            if cost is not None:
                found[choice] = cost
        return found

    def estimate(self, choice: NetChoice, measured: dict[NetChoice, MachineCost]) -> MachineCost:
        """Return a guess: the table's time or the GMACs, scaled by the nets that were measured here."""
        mb = (4 * choice.params + (BYTES_BESIDE_WEIGHTS if self.runtime != "torch" else 0)) / 1e6
        here = [(each, cost.ms) for each, cost in measured.items() if cost.ms is not None]
        table = choice.table_ms.get(self.runtime)
        if table is not None:
            ratios = [ms / each.table_ms[self.runtime] for each, ms in here if each.table_ms.get(self.runtime)]
            return MachineCost(table * (statistics.median(ratios) if ratios else 1.0), mb, False)
        ratios = [ms / each.gmacs for each, ms in here if each.gmacs]
        return MachineCost(choice.gmacs * statistics.median(ratios) if ratios else None, mb, False)

    def _key(self, choice: NetChoice) -> str:
        version = torch.__version__ if self.runtime == "torch" else metadata.version(self.runtime)
        machine = f"{platform.node()} {platform.processor() or platform.machine()} {torch.get_num_threads()} threads"
        return f"fastest pass {choice.hash} {choice.size} {self.in_channels} {self.runtime} {version} {machine}"

    def _measured_within(self, choice: NetChoice, seconds: float, say: Callable[[str], None]) -> MachineCost | None:
        """Return what a net costs; None if the time is not enough or the measurement fails."""
        with tempfile.TemporaryDirectory() as folder:  # of this process: the other one may be ended at any moment
            try:
                ms, mb = call_in_process(
                    measured_cost,
                    choice.net,
                    choice.size,
                    self.in_channels,
                    self.runtime,
                    torch.get_num_threads(),
                    folder,
                    seconds=min(max(0.0, seconds), 1e6),
                    say=say,
                )
            except TimeoutError:
                say(f"{choice.name} was not timed: the time is up")
                return None
            except (RuntimeError, ValueError) as err:
                say(f"{choice.name} was not timed: {(str(err).strip() or type(err).__name__).splitlines()[0]}")
                return None
        return MachineCost(ms, mb, True)


def measured_cost(
    net: str,
    size: int,
    in_channels: int,
    runtime: str,
    threads: int,
    folder: str,
    say: Callable[[str], object] = lambda text: None,
) -> tuple[float, float]:
    """Return the milliseconds of one image and the megabytes of the file of a net with random weights.

    Args:
        net: name of the spec.
        size: side in pixels.
        in_channels: of the image.
        runtime: torch, onnxruntime or openvino.
        threads: of the runtime.
        folder: for the exported file.
        say: called with a line for each phase.
    """
    torch.set_num_threads(threads)
    spec = load_spec(net).override({"input.channels": in_channels})
    plan = plan_spec(spec, input_size=(size, size))
    model = build_model(spec, input_size=(size, size)).eval()
    image = torch.zeros(1, in_channels, *plan.padded_size)
    timing = f"timing {net} at {size} px in {runtime}"
    if runtime == "torch":
        say(timing)
        return _milliseconds(optimize_for_inference(model), image), 4 * plan.deploy_params / 1e6
    opened = onnxruntime_net if runtime == "onnxruntime" else openvino_net
    path = Path(folder) / "net.onnx"
    export_model(model, path, plan.padded_size, say=say)
    say(timing)
    return _milliseconds(opened(path), image), path.stat().st_size / 1e6


def _milliseconds(run: Callable[[Tensor], Tensor], image: Tensor) -> float:
    """Return the time of the fastest pass: other work of the machine can only add to it."""
    times = []
    with torch.inference_mode():
        for _ in range(WARM_UP + PASSES):
            start = time.perf_counter()
            run(image)
            times.append(1e3 * (time.perf_counter() - start))
    return min(times[WARM_UP:])
