"""What the speed benchmarks share: their options, medians, and the line that says where they were timed."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping

import torch

from lmnet.training.export.benchmark import describe_machine, measure_interleaved

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def make_parser(doc: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all speed benchmarks have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="measured calls of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu: processor seconds, which other programs on the machine hardly change; only with --threads 1",
    )
    return parser


def read_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line and set torch's threads."""
    args = parser.parse_args()
    if args.clock == "cpu" and args.threads != 1:
        parser.error(f"--clock cpu adds up the threads' seconds, got --threads {args.threads}. Add --threads 1.")
    if args.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {args.repeats}.")
    torch.set_num_threads(args.threads)
    return args


def median_ms(calls: Mapping[str, Callable[[], object]], *, repeats: int, clock: str) -> dict[str, float]:
    """Return the median milliseconds of each call; all are called in turns, so that noise meets all alike."""
    seconds = measure_interleaved(list(calls.values()), repeats=repeats, clock=CLOCKS[clock])
    return {name: 1e3 * statistics.median(times) for name, times in zip(calls, seconds, strict=True)}


def where_measured(args: argparse.Namespace) -> str:
    """Return machine, versions, threads, clock, repeats and load average in one line."""
    kind = "wall clock" if args.clock == "wall" else "processor time"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{describe_machine()}; {os.cpu_count()} cores, load average {load}; {kind}, medians of {args.repeats}, "
        "interleaved"
    )
