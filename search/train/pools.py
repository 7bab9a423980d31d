"""The pools that train nets: in this process, or in worker processes whose crashes do not harm the search."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch

from lmnet.builder.command_line import import_modules
from lmnet.builder.processes import exit_with_parent, fresh_processes
from lmnet.search.study.outcome import Outcome
from lmnet.search.train.messages import Answer, Begun, Ended, Job, Message, Report
from lmnet.search.train.training import Objective, cause_of, run_training
from lmnet.search.train.worker import serve_jobs

GRACE_S = 15.0
"""A training run that does not react is killed with its process this many seconds after its time limit."""

OnReport = Callable[[int, int, float], bool]
"""Called with slot, epoch and score of a report; returns True to end the training run."""


class Pool(Protocol):
    """A number of slots; each trains one job at a time.

    Attributes:
        is_training_here: whether a net is trained in this process and thread right now.
    """

    is_training_here: bool

    @property
    def slots(self) -> int:
        """Number of jobs at a time; it may change from call to call."""

    def submit(self, slot: int, job: Job) -> None:
        """Begin a job in a free slot."""

    def poll(self, timeout_s: float, on_report: OnReport) -> list[tuple[int, Outcome]]:
        """Wait up to ``timeout_s`` for messages, answer reports, and return what has ended: slots and outcomes."""

    def place(self, slot: int) -> str:
        """Return a short name of the process, worker or node that trains the job of a slot."""

    def paused(self) -> AbstractContextManager[None]:
        """Return a context manager that pauses all training runs."""

    def close(self) -> None:
        """End all training runs at once."""


class InlinePool:
    """One slot in this process: no start-up time, and the objective may be any function."""

    slots = 1

    def __init__(self, objective: Objective) -> None:
        self.is_training_here = False
        self._objective = objective
        self._job: Job | None = None

    def submit(self, slot: int, job: Job) -> None:
        """Keep the job for ``poll``."""
        self._job = job

    def poll(self, timeout_s: float, on_report: OnReport) -> list[tuple[int, Outcome]]:
        """Train the job that waits."""
        if self._job is None:
            time.sleep(timeout_s)
            return []
        job, self._job = self._job, None
        self.is_training_here = True
        try:
            return [(0, run_training(job, self._objective, lambda epoch, score: on_report(0, epoch, score)))]
        finally:
            self.is_training_here = False

    def place(self, slot: int) -> str:
        """Return that it is this process."""
        return "here"

    def paused(self) -> AbstractContextManager[None]:
        """Do nothing: nothing runs outside ``poll``."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Do nothing: nothing runs outside ``poll``."""


class _Process:
    def __init__(self, target: Callable[..., None], *args: object) -> None:
        context = fresh_processes(__name__, "lmnet.training.fitting.fit")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *args), daemon=True)
        with _sigint_blocked():
            self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.began: float | None = None

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT while a worker starts, so that it inherits the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the first start of a process starts it, and that unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ProcessPool:
    """Worker processes, one for each slot; one that dies is replaced.

    Args:
        objective: trains and scores a net; it must be picklable: a function or object of an importable module.
        slots: number of workers.
        threads: number of torch threads in each.
        imports: modules that each worker imports first.
        gpus: GPUs as CUDA_VISIBLE_DEVICES names them; each worker sees one. Empty: each sees all.

    Raises:
        ValueError: the objective is not picklable.
    """

    is_training_here = False

    def __init__(
        self,
        objective: Objective,
        *,
        slots: int,
        threads: int,
        imports: Sequence[str] = (),
        gpus: Sequence[str] = (),
    ) -> None:
        try:
            pickle.dumps(objective)
        except Exception as err:
            raise ValueError(
                f"search: the objective {objective!r} cannot be pickled ({err}), and several workers need that. "
                "Define it at the top of a module, or use workers=1."
            ) from err
        self.slots = slots
        pickled = pickle.dumps(objective)
        self._make: Callable[[int], _Process] = lambda slot: _Process(
            serve, tuple(imports), pickled, threads, gpus[slot % len(gpus)] if gpus else None
        )
        self._numbers = itertools.count(1)
        self._workers = [self._make(slot) for slot in range(slots)]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pause all workers, so that they do not disturb a time measurement inside the block."""
        processes = [worker.process.pid for worker in self._workers if worker.job is not None]
        for pid in processes:
            _signal(pid, "SIGSTOP")
        try:
            yield
        finally:
            for pid in processes:
                _signal(pid, "SIGCONT")

    def place(self, slot: int) -> str:
        """Return the worker's number, from 1."""
        return f"worker {slot + 1}"

    def submit(self, slot: int, job: Job) -> None:
        """Send a job to a free worker."""
        worker = self._workers[slot]
        worker.job, worker.began = replace(job, number=next(self._numbers)), None
        with contextlib.suppress(OSError):  # a worker that has died is seen in ``poll``
            worker.connection.send(worker.job)

    def poll(self, timeout_s: float, on_report: OnReport) -> list[tuple[int, Outcome]]:
        """Take the workers' messages."""
        busy = {worker.connection: slot for slot, worker in enumerate(self._workers) if worker.job is not None}
        ended: list[tuple[int, Outcome]] = []
        ready: list[Any] = wait(list(busy), timeout_s) if busy else []
        if not busy:
            time.sleep(timeout_s)
        for connection in ready:
            slot = busy[connection]
            outcome = self._take(slot, on_report)
            if outcome is not None:
                ended.append((slot, outcome))
        done = {slot for slot, _ in ended}
        ended += [
            (
                slot,
                self._replace(slot, "time-out", f"the training run did not end within {worker.job.time_limit_s:g} s"),
            )
            for slot, worker in enumerate(self._workers)
            if slot not in done and worker.job is not None and self._is_hung(worker)
        ]
        for slot, _ in ended:
            self._workers[slot].job = None
        return ended

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def _take(self, slot: int, on_report: OnReport) -> Outcome | None:
        worker = self._workers[slot]
        assert worker.job is not None
        try:
            message: Message | str = worker.connection.recv()
            if isinstance(message, str):  # the worker could not begin
                return self._replace(slot, "worker died", message)
            is_current = message.job == worker.job.number
            if isinstance(message, Report):  # one of a job that has ended comes from a thread that it left behind
                is_stopped = on_report(slot, message.epoch, message.score) if is_current else True
                worker.connection.send(Answer(message.job, message.number, is_stopped))
            elif is_current and isinstance(message, Begun):
                worker.began = time.monotonic()
            elif is_current and isinstance(message, Ended):
                return message.outcome
        except (EOFError, OSError):
            worker.process.join(5)
            code = worker.process.exitcode
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            return self._replace(slot, "worker died", f"the worker's process ended by {how}")
        return None

    @staticmethod
    def _is_hung(worker: _Process) -> bool:
        limit = worker.job.time_limit_s if worker.job else None
        return limit is not None and worker.began is not None and time.monotonic() - worker.began > limit + GRACE_S

    def _replace(self, slot: int, reason: str, error: str) -> Outcome:
        worker = self._workers[slot]
        seconds = time.monotonic() - worker.began if worker.began is not None else 0.0
        worker.kill()
        self._workers[slot] = replacement = self._make(slot)
        replacement.job = worker.job
        return Outcome(None, reason, error, seconds=round(seconds, 3))


def _signal(pid: int | None, name: str) -> None:
    """Send a signal, if the system has it and the process is still there."""
    number = getattr(signal, name, None)
    if pid is not None and number is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def serve(connection: Connection, imports: Sequence[str], pickled: bytes, threads: int, gpu: str | None) -> None:
    """Import the user's modules, then train the jobs that come through a pipe."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA starts in this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the search's to handle
    threading.Thread(target=exit_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        import_modules(imports)  # the blocks that specs name, and perhaps the objective
        objective: Objective = pickle.loads(pickled)
    except Exception as err:  # noqa: BLE001 - a user's module may raise anything
        connection.send(f"the worker could not begin ({cause_of(err)})")
        return
    serve_jobs(connection, objective)
