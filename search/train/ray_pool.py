"""Where nets are trained: on a Ray cluster, one actor a slot. Needs the extra ``ray``.

Ray places the actors, by the CPUs and GPUs that each asks for, and reports when one or its node has died. The driver
alone talks to the study.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import platform
import queue
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lmnet.builder.command_line import import_modules
from lmnet.builder.files import write_durably
from lmnet.search.study.outcome import Outcome
from lmnet.search.train.messages import Answer, Begun, Ended, Job, Message, Report
from lmnet.search.train.pools import GRACE_S, OnReport
from lmnet.search.train.training import MOST_TEXT, Objective
from lmnet.search.train.worker import Worker

LOST = ("worker died", "time-out")
"""After failures with these reasons an actor is not used again."""
ANSWER_S = 120.0
"""Seconds within which a node must report whether it has the data."""
LOOK_EVERY_S = 5.0
"""Seconds between two readings of the size of the cluster."""


class Trainer:
    """A Ray actor: trains one net after the other, in its own process on some node.

    Its methods run in parallel threads.

    Args:
        pickled: the objective.
        imports: modules to import first.
        threads: number of torch threads.
    """

    def __init__(self, pickled: bytes, imports: Sequence[str], threads: int) -> None:
        torch.set_num_threads(threads)
        import_modules(imports)
        objective: Objective = pickle.loads(pickled)
        self._messages: queue.Queue[Message] = queue.Queue()
        self._worker = Worker(objective, self._messages.put)

    def train(self, job: Job) -> None:
        """Train a net; ``next_message`` returns the messages about it."""
        node = f"{platform.node()} {ray.get_runtime_context().get_node_id()[:6]}"
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "weights.safetensors" if job.weights is not None else None
            outcome = self._worker.train(replace(job, weights=place), node)
            weights = place.read_bytes() if place is not None and place.exists() else None
        self._messages.put(Ended(job.number, outcome, weights))

    def next_message(self) -> Message:
        """Wait for the next message and return it."""
        return self._messages.get()

    def answer(self, answer: Answer) -> None:
        """Hand an answer to the report that waits for it."""
        self._worker.answer(answer)


class _Slot:
    def __init__(self, actor: Any, job: Job) -> None:
        self.actor, self.job = actor, job
        self.training = actor.train.remote(job)
        self.waiting = actor.next_message.remote()
        self.began: float | None = None
        self.node = "waits for a node"


class RayPool:
    """Slots on a Ray cluster, as many as it has room for; they follow the cluster as it grows and shrinks.

    Args:
        objective: trains and scores a net; it must be picklable.
        address: address of the cluster, as ``ray.init`` takes it; None for the one at RAY_ADDRESS, else a local one.
        cpus: CPUs for each training run.
        gpus: GPUs for each training run, may be a fraction.
        most: upper limit on training runs at a time; None for no limit.
        imports: modules that each training run imports first.
        paths: files and folders that every node must have.

    Raises:
        ValueError: the objective is not picklable, the cluster cannot be reached, or a node lacks a path.
    """

    is_training_here = False

    def __init__(
        self,
        objective: Objective,
        *,
        address: str | None = None,
        cpus: float = 1,
        gpus: float = 0,
        most: int | None = None,
        imports: Sequence[str] = (),
        paths: Sequence[str] = (),
    ) -> None:
        try:
            self._pickled = cloudpickle.dumps(objective)  # by value if a script defines it
        except Exception as err:
            raise ValueError(
                f"search: the objective {objective!r} cannot be pickled ({err}), and a cluster needs that. Remove from "
                "it what belongs to this process, such as locks and open files."
            ) from err
        self._started = not ray.is_initialized()
        if self._started:
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            except (ConnectionError, RuntimeError, ValueError) as err:
                raise ValueError(
                    f"search: the Ray cluster at {address or os.environ.get('RAY_ADDRESS', 'this machine')} cannot be "
                    f"reached ({err}). Check the address, or leave it out for a local one."
                ) from err
        self._cpus, self._gpus, self._most, self._imports = cpus, gpus, most, tuple(imports)
        self._make = ray.remote(Trainer).options(
            num_cpus=cpus, num_gpus=gpus, max_concurrency=4, max_restarts=0, max_task_retries=0
        )
        self._busy: dict[int, _Slot] = {}
        self._free: list[Any] = []
        self._numbers = itertools.count(1)
        self._room, self._looked = 0, float("-inf")
        _check_paths(paths)

    @property
    def slots(self) -> int:
        """Number of training runs that the cluster has room for; at least 1, which may have to wait for room."""
        return max(self._look(), 1 + max(self._busy, default=0))

    def _look(self) -> int:
        """Return how many training runs the cluster has room for, as it was some seconds ago."""
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looked = time.monotonic()
            has = ray.cluster_resources()
            room = int(has.get("CPU", 0) // self._cpus) if self._cpus else 2**31
            if self._gpus:
                room = min(room, int(has.get("GPU", 0) // self._gpus))
            self._room = max(1, min(room, self._most or room))
        return self._room

    def submit(self, slot: int, job: Job) -> None:
        """Begin a job, on an actor that is free or a new one."""
        actor = self._free.pop() if self._free else None
        actor = actor or self._make.remote(self._pickled, self._imports, max(1, round(self._cpus)))
        self._busy[slot] = _Slot(actor, replace(job, number=next(self._numbers)))

    def poll(self, timeout_s: float, on_report: OnReport) -> list[tuple[int, Outcome]]:
        """Take the messages of the training runs."""
        if not self._busy:
            time.sleep(timeout_s)
            return []
        self._move_waiting_jobs()
        waiting = {each.waiting: slot for slot, each in self._busy.items()}
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=timeout_s)
        more, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        ended = []
        for reference in {*ready, *more}:
            slot = waiting[reference]
            outcome = self._take(slot, on_report)
            if outcome is not None:
                ended.append((slot, outcome))
        done = {slot for slot, _ in ended}
        ended += [
            (slot, Outcome(None, "time-out", f"the training run did not end within {each.job.time_limit_s:g} s"))
            for slot, each in self._busy.items()
            if slot not in done and self._is_hung(each)
        ]
        for slot, outcome in ended:
            actor = self._busy.pop(slot).actor
            if outcome.reason in LOST:
                _kill(actor)
            else:
                self._free.append(actor)
        return ended

    def place(self, slot: int) -> str:
        """Return the name of a slot's node."""
        return self._busy[slot].node if slot in self._busy else "no node"

    def paused(self) -> AbstractContextManager[None]:
        """Do nothing: training runs of other machines do not disturb what is measured here."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Kill the actors; leave the cluster as it was found."""
        for actor in [*self._free, *(each.actor for each in self._busy.values())]:
            _kill(actor)
        self._busy, self._free = {}, []
        if self._started:
            ray.shutdown()

    def _take(self, slot: int, on_report: OnReport) -> Outcome | None:
        each = self._busy[slot]
        try:
            message = ray.get(each.waiting)
            is_current = message.job == each.job.number
            if isinstance(message, Ended) and is_current:
                if message.weights is not None and each.job.weights is not None:
                    each.job.weights.parent.mkdir(parents=True, exist_ok=True)
                    write_durably(each.job.weights, message.weights)
                return message.outcome
            if isinstance(message, Begun) and is_current:
                each.began, each.node = time.monotonic(), message.node
            if isinstance(message, Report):  # one of a job that has ended comes from a thread that it left behind
                is_stopped = on_report(slot, message.epoch, message.score) if is_current else True
                each.actor.answer.remote(Answer(message.job, message.number, is_stopped))
            each.waiting = each.actor.next_message.remote()
        except RayError as err:
            return Outcome(None, "worker died", _cause(err))
        return None

    def _move_waiting_jobs(self) -> None:
        """Give jobs whose actors wait for a place to free actors, if the cluster has shrunk below our actors."""
        surplus = len(self._free) + len(self._busy) - self._look()
        for slot, each in list(self._busy.items()):
            if surplus > 0 and self._free and each.began is None:
                _kill(each.actor)
                self._busy[slot] = _Slot(self._free.pop(), each.job)
                surplus -= 1

    @staticmethod
    def _is_hung(each: _Slot) -> bool:
        limit = each.job.time_limit_s
        return limit is not None and each.began is not None and time.monotonic() - each.began > limit + GRACE_S


def _cause(err: RayError) -> str:
    """Return the line of an error with the reason why an actor died; the last line if it could not begin."""
    lines = str(err).strip().splitlines()
    if "creation task" in lines[0]:
        return lines[-1].strip()[:MOST_TEXT]
    reasons = [line.strip() for line in lines[1:] if "because" in line]
    return " ".join([lines[0].strip(), *reasons[:1]])[:MOST_TEXT]


def _kill(actor: Any) -> None:
    with contextlib.suppress(RayError):
        ray.kill(actor)


def _check_paths(paths: Sequence[str]) -> None:
    """Check that every node has the paths.

    Raises:
        ValueError: nodes lack one; they are named.
    """
    if not paths:
        return
    look = ray.remote(_absent)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = [
        look.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            list(paths)
        )
        for node in nodes
    ]
    try:
        answers = ray.get(asked, timeout=ANSWER_S)
    except GetTimeoutError:
        raise ValueError(
            f"search: a node of the cluster did not answer within {ANSWER_S:g} s whether it has the data. Look at "
            "`ray status`."
        ) from None
    for node, absent in zip(nodes, answers, strict=True):
        if absent:
            raise ValueError(
                f"search: the node {node['NodeManagerHostname']} does not have {', '.join(absent)}. "
                "Copy the data there, or mount it at the same path."
            )


def _absent(paths: list[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]
