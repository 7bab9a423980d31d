"""Peak memory of a call, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MEGABYTE = 1e6


def peak_megabytes(make: Callable[..., tuple[Callable[[], object], Callable[[], object]]], *arguments: Any) -> float:
    """Return the MB (10^6 bytes) that a call adds at its peak to what was held before it; NaN where not Linux.

    Args:
        make: a function of a module that returns (warm-up, call); it runs in the fresh process, with torch's threads of
            this one.
        arguments: of ``make``; they are pickled.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (make, arguments, torch.get_num_threads()))


def _peak(make: Callable[..., Any], arguments: tuple[Any, ...], threads: int) -> float:
    torch.set_num_threads(threads)
    warm_up, call = make(*arguments)
    warm_up()  # libraries and threads are loaded by the first call
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is held now
    before = _high_water()
    call()
    return (_high_water() - before) / MEGABYTE


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
