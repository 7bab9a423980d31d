"""What `lmnet-build --benchmark` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from lmnet.builder.plan import Plan
from lmnet.builder.table import make_table
from lmnet.training.export.benchmark import Timing, benchmark, describe_machine
from lmnet.training.export.runtime_benchmark import benchmark_runtimes

Say = Callable[[str], object]


@dataclass(frozen=True)
class Report:
    """A benchmark's result, for people and for programs.

    Args:
        table: for people.
        notes: lines below the table.
        data: the same as plain data.
    """

    table: Table
    notes: list[str]
    data: dict[str, Any]


def nets(plans: Sequence[Plan], *, batch: int, threads: int | None, say: Say = lambda text: None) -> Report:
    """Measure nets in PyTorch, in their training form and optimised.

    Args:
        plans: the nets' plans; the others are compared with the first.
        batch: images per pass.
        threads: None for torch's.
        say: gets a line for each phase.
    """
    say(f"timing {' and '.join(plan.spec.name for plan in plans)} in PyTorch, in turns")
    timings, peak = benchmark(plans, batch=batch, threads=threads)
    rows = [(*_cells(one, timings[0]), f"{one.gflops:.1f} ({one.gflops / peak:.0%})") for one in timings]
    columns = ("net", "ms, median (quartiles)", "speed", "images/s", "peak MiB", "GFLOP/s (of peak)")
    note = f"{describe_machine(threads)}; peak measured by a matrix product: {peak:.0f} GFLOP/s"
    data = {
        "machine": describe_machine(threads),
        "peak_gflops": peak,
        "input": list(plans[0].input_shape),
        "timings": [{**one.as_dict(), "gflops": one.gflops} for one in timings],
    }
    return Report(make_table(_title(plans[0], batch), columns, rows), [note], data)


def runtimes(plan: Plan, *, batch: int, threads: int | None, say: Say = lambda text: None) -> Report:
    """Measure a net in all runtimes that are installed.

    Args:
        plan: the net's plan.
        batch: images per pass.
        threads: None for torch's.
        say: gets a line for each phase.
    """
    measured, missing = benchmark_runtimes(plan, batch=batch, threads=threads, say=say)
    rows = [(*_cells(one.timing, measured[0].timing), f"{one.error:.1e}") for one in measured]
    columns = (plan.spec.name, "ms, median (quartiles)", "speed", "images/s", "peak MiB", "relative error")
    data = {
        "machine": describe_machine(threads),
        "input": list(plan.input_shape),
        "timings": [{**one.timing.as_dict(), "error": one.error} for one in measured],
        "not_measured": missing,
    }
    return Report(make_table(_title(plan, batch), columns, rows), [*missing, describe_machine(threads)], data)


def _cells(one: Timing, first: Timing) -> tuple[str, ...]:
    low, middle, high = one.quartiles
    speed = f"{first.quartiles[1] / middle:.2f}x"
    memory = f"{one.peak_bytes / 2**20:.0f}"
    return one.name, f"{middle:,.1f} ({low:,.1f} to {high:,.1f})", speed, f"{one.images_per_second:.1f}", memory


def _title(plan: Plan, batch: int) -> str:
    return f"batch {batch}, {'x'.join(map(str, plan.padded_size))}"
