"""The worker's side of the messages: train one job after the other, and wait for answers to reports."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue

from lmnet.search.study.outcome import Outcome
from lmnet.search.train.messages import Answer, Begun, Ended, Job, Message, Report
from lmnet.search.train.training import Objective, run_training


class Worker:
    """Trains jobs with an objective.

    Args:
        objective: trains and scores a net.
        send: sends a message to the pool.
    """

    def __init__(self, objective: Objective, send: Callable[[Message], object]) -> None:
        self._objective, self._send = objective, send
        self._numbers = itertools.count()
        self._unanswered: dict[tuple[int, int], SimpleQueue[bool]] = {}

    def train(self, job: Job, node: str = "") -> Outcome:
        """Train a net and return the outcome."""
        self._send(Begun(job.number, node))
        return run_training(job, self._objective, functools.partial(self._report, job.number))

    def answer(self, answer: Answer) -> None:
        """Pass an answer to the report that waits for it; called by another thread."""
        waiting = self._unanswered.pop((answer.job, answer.number), None)
        if waiting is not None:
            waiting.put(answer.is_stopped)

    def _report(self, job: int, epoch: int, score: float) -> bool:
        number, answers = next(self._numbers), SimpleQueue[bool]()
        self._unanswered[job, number] = answers
        self._send(Report(job, number, epoch, score))
        return answers.get()


def serve_jobs(connection: Connection, objective: Objective) -> None:
    """Train the jobs that come through a pipe, until it closes or the search's process is gone.

    Two threads read and write the pipe: a time-out, which interrupts the main thread, never cuts a message in two.
    """
    jobs, messages = SimpleQueue[Job | None](), SimpleQueue[Message]()
    worker = Worker(objective, messages.put)
    for target in (lambda: _receive(connection, jobs, worker), lambda: _send(connection, messages)):
        threading.Thread(target=target, daemon=True).start()
    while (job := jobs.get()) is not None:
        outcome = worker.train(job)
        messages.put(Ended(job.number, outcome))


def _receive(connection: Connection, jobs: SimpleQueue[Job | None], worker: Worker) -> None:
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            jobs.put(None)
            return
        if isinstance(message, Answer):
            worker.answer(message)
        else:
            jobs.put(message)


def _send(connection: Connection, messages: SimpleQueue[Message]) -> None:
    while True:
        try:
            connection.send(messages.get())
        except OSError:
            return
