"""What `lmnet-build --benchmark` prints."""

from __future__ import annotations

from rich.table import Table

from lmnet.builder.benchmark import Timing, benchmark, describe_machine, plan_pair
from lmnet.builder.plan import Plan
from lmnet.builder.table import make_table


def nets(plan: Plan, against: str | None, *, batch: int, threads: int | None) -> tuple[Table, list[str]]:
    """Return the table of a net, and perhaps of another beside it, in PyTorch; and notes.

    Args:
        plan: of the net.
        against: spec of another net; None for none.
        batch: images per pass.
        threads: None for torch's.
    """
    timings, peak = benchmark(plan_pair(plan, against), batch=batch, threads=threads)
    rows = [(*_cells(one, timings[0]), f"{one.gflops:.1f} ({one.gflops / peak:.0%})") for one in timings]
    columns = ("net", "ms, median (quartiles)", "speed", "images/s", "peak MiB", "GFLOP/s (of peak)")
    note = f"{describe_machine(threads)}; peak measured by a matrix product: {peak:.0f} GFLOP/s"
    return make_table(_title(plan, batch), columns, rows), [note]


def runtimes(plan: Plan, *, batch: int, threads: int | None) -> tuple[Table, list[str]]:
    """Return the table of a net in all runtimes that are installed, and notes.

    Args:
        plan: of the net.
        batch: images per pass.
        threads: None for torch's.
    """
    from lmnet.builder.runtime_benchmark import benchmark_runtimes

    measured, missing = benchmark_runtimes(plan, batch=batch, threads=threads)
    rows = [(*_cells(one.timing, measured[0].timing), f"{one.error:.1e}") for one in measured]
    columns = (plan.spec.name, "ms, median (quartiles)", "speed", "images/s", "peak MiB", "relative error")
    return make_table(_title(plan, batch), columns, rows), [*missing, describe_machine(threads)]


def _cells(one: Timing, first: Timing) -> tuple[str, ...]:
    low, middle, high = one.quartiles
    speed = f"{first.quartiles[1] / middle:.2f}x"
    memory = f"{one.peak_bytes / 2**20:.0f}"
    return one.name, f"{middle:,.1f} ({low:,.1f} to {high:,.1f})", speed, f"{one.images_per_second:.1f}", memory


def _title(plan: Plan, batch: int) -> str:
    return f"batch {batch}, {'x'.join(map(str, plan.padded_size))}"
