"""What a search costs its driver: trials a second on processes and on Ray, memory, and the most that it can feed.

    python benchmarks/cluster.py [--trials 60] [--long 1000]

Writes benchmarks/cluster.md. Needs the extra ``ray``. Trainings do nothing, so that what is measured is the driver and
the way of a job to its worker and back.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from lmnet.search.results.counts import Tally
from lmnet.search.run_search import run
from lmnet.search.study.outcome import Outcome
from lmnet.search.train.messages import Job
from lmnet.search.train.pools import OnReport, Pool, ProcessPool
from lmnet.search.train.ray_pool import RayPool
from lmnet.search.train.training import Objective
from lmnet.training.export.benchmark import describe_machine

OUT = Path(__file__).with_name("cluster.md")
SPEC, LIMITS = "lmnet_xs", {"max_gflops": 0.3}
SLOTS = (2, 4, 8)
NODES, GPUS, EPOCHS = 64, 8, 30
SIMULATION = f"## {NODES} nodes of {GPUS} GPUs"
WARM = 10
"""Trials at the beginning that are not timed: workers start."""


def no_op(model: object, spec: object) -> float:
    """Return a score at once."""
    return 0.5


class IdealCluster:
    """Any number of slots whose trainings are over at once, each after telling its epochs.

    Args:
        slots: trainings at the same time.
        epochs: that each tells.
    """

    is_training_here = False

    def __init__(self, slots: int, epochs: int) -> None:
        self.slots, self._epochs = slots, epochs
        self._busy: dict[int, Job] = {}

    def submit(self, slot: int, job: Job) -> None:
        """Take a job."""
        self._busy[slot] = job

    def poll(self, timeout_s: float, on_report: OnReport) -> list[tuple[int, Outcome]]:
        """Let the slot that has waited longest tell all its epochs and end."""
        if not self._busy:
            return []
        slot = next(iter(self._busy))
        del self._busy[slot]
        for epoch in range(1, self._epochs + 1):
            if on_report(slot, epoch, 0.5 + 0.001 * epoch):
                return [(slot, Outcome(0.5 + 0.001 * epoch, epochs=epoch, is_stopped=True))]
        return [(slot, Outcome(0.5 + 0.001 * self._epochs, epochs=self._epochs))]

    def place(self, slot: int) -> str:
        """Return the node's number."""
        return f"node {slot // GPUS}"

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Do nothing."""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60, help="of each timed search (default: %(default)s)")
    parser.add_argument("--long", type=int, default=1000, help="trials of the long search (default: %(default)s)")
    parser.add_argument("--only-simulation", action="store_true", help="measure and write the last section anew")
    args = parser.parse_args()
    if args.only_simulation:
        before = OUT.read_text(encoding="utf-8").partition(f"## {NODES} nodes")[0]
        OUT.write_text(before + "\n".join(simulation(driver_rate(NODES * GPUS, NODES * GPUS + 128))), encoding="utf-8")
        return

    places = {"processes": processes, "Ray": on_ray}
    rates = {
        (name, slots): timed_search(make(slots), args.trials)[0] for slots in SLOTS for name, make in places.items()
    }
    _, memory = timed_search(on_ray(4), args.long)
    ideal = driver_rate(NODES * GPUS, NODES * GPUS + 128)
    write(args, rates, memory, ideal)


def processes(slots: int) -> Callable[[Objective], Pool]:
    """Return what makes a pool of worker processes."""
    return lambda objective: ProcessPool(objective, slots=slots, threads=1)


def on_ray(slots: int) -> Callable[[Objective], Pool]:
    """Return what makes a pool on Ray."""
    return lambda objective: RayPool(objective, cpus=os.cpu_count() / slots, most=slots)


def timed_search(executor: Callable[[Objective], Pool], trials: int) -> tuple[float, list[tuple[int, float]]]:
    """Search with a pool; return trials a second after the first few, and the driver's memory in MiB by trials."""
    marks: list[tuple[int, float, float]] = []
    process = psutil.Process()

    def note(counts: Tally) -> None:
        if not marks or counts.trials > marks[-1][0]:
            marks.append((counts.trials, time.perf_counter(), process.memory_info().rss / 2**20))

    with tempfile.TemporaryDirectory() as folder:
        run(
            SPEC,
            objective=no_op,
            trials=trials,
            executor=executor,
            on_progress=note,
            sampler="random",
            out=folder,
            **LIMITS,
        )
    first = next(mark for mark in marks if mark[0] >= WARM)
    rate = (marks[-1][0] - first[0]) / (marks[-1][1] - first[1])
    return rate, [(trial, memory) for trial, _, memory in marks]


def driver_rate(slots: int, trials: int) -> tuple[float, float]:
    """Feed an ideal cluster; return trials and reports a second while all its slots are busy."""
    marks: list[tuple[int, float]] = []

    def note(counts: Tally) -> None:
        if not marks or counts.trials > marks[-1][0]:
            marks.append((counts.trials, time.perf_counter()))

    def told(model: object, spec: object, report: Any) -> float:
        return 0.0

    with tempfile.TemporaryDirectory() as folder:
        run(
            SPEC,
            objective=told,
            trials=trials,
            executor=lambda objective: IdealCluster(slots, EPOCHS),
            on_progress=note,
            epochs=EPOCHS,
            out=folder,
            **LIMITS,
        )
    steady = [mark for mark in marks if mark[0] <= trials - slots]  # all slots are busy until then
    rate = (steady[-1][0] - steady[0][0]) / (steady[-1][1] - steady[0][1])
    return rate, rate * EPOCHS


def write(
    args: argparse.Namespace,
    rates: dict[tuple[str, int], float],
    memory: list[tuple[int, float]],
    ideal: tuple[float, float],
) -> None:
    """Write the page."""
    names = sorted({name for name, _ in rates}, reverse=True)
    marks = [memory[min(len(memory) - 1, round(len(memory) * share))] for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
    growth = marks[-1][1] / marks[0][1] - 1
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("ray", "optuna", "torch"))
    lines = [
        "# What a search costs its driver",
        "",
        f"Written by `python benchmarks/cluster.py --trials {args.trials} --long {args.long}` on {describe_machine()}; "
        f"{versions}. Space of {SPEC}, at most {LIMITS['max_gflops']} GMACs. Trainings do nothing. Other work ran on "
        "the machine at the same time: compare the columns, not the days.",
        "",
        f"## Trials a second ({args.trials} trials, random proposals, SQLite)",
        "",
        "| slots | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        *(f"| {count} | " + " | ".join(f"{rates[name, count]:.1f}" for name in names) + " |" for count in SLOTS),
        "",
        f"Above {os.cpu_count()} slots the cores are over-committed.",
        "",
        f"## Memory of the driver on Ray, 4 slots, {args.long} trials",
        "",
        "| trials | " + " | ".join(str(trial) for trial, _ in marks) + " |",
        "|---|" + "---|" * len(marks),
        "| resident MiB | " + " | ".join(f"{mib:.0f}" for _, mib in marks) + " |",
        "",
        f"From trial {marks[0][0]} to {marks[-1][0]} it grows by {growth:.1%}.",
        "",
        *simulation(ideal),
    ]
    OUT.write_text("\n".join(lines), encoding="utf-8")
    print(OUT.read_text())


def simulation(ideal: tuple[float, float]) -> list[str]:
    """Return the section on many nodes.

    Args:
        ideal: trials and reports a second that the driver handles.
    """
    slots, (trials_s, reports_s) = NODES * GPUS, ideal
    return [
        SIMULATION,
        "",
        f"A simulation: the real driver (the default sampler, SQLite) before an "
        f"ideal cluster of {slots} slots whose trainings tell {EPOCHS} epochs and end at once. It handles "
        f"**{trials_s:.1f} trials** with {reports_s:.0f} reports a second at most.",
        "",
        "| one training takes | trials a second needed | share of what the driver can do |",
        "|---|---|---|",
        *(
            f"| {text} | {slots / seconds:.2f} | {slots / seconds / trials_s:.0%} |"
            for text, seconds in (("1 minute", 60), ("10 minutes", 600), ("1 hour", 3600))
        ),
        "",
        f"So one driver keeps {slots} GPUs busy where a training takes {slots / trials_s:.0f} s or more. The network "
        "and the start of processes are not in it.",
        "",
    ]


if __name__ == "__main__":
    main()
