"""The messages between a pool and its workers.

Each carries the number of its job, so that a late message is not matched with another job.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmnet.builder.spec import Spec
from lmnet.search.study.outcome import Outcome


@dataclass(frozen=True)
class Job:
    """One training run to do.

    Args:
        spec: the net.
        seed: random seed of the initial weights.
        time_limit_s: seconds after which the training run counts as failed; None for no limit.
        weights: file for the trained weights; None to keep none.
        number: set by the pool, another one for each job.
    """

    spec: Spec
    seed: int
    time_limit_s: float | None = None
    weights: Path | None = None
    number: int = 0


@dataclass(frozen=True)
class Begun:
    """A worker has begun a job.

    Args:
        job: number of the job.
        node: name of the machine, if it is another one.
    """

    job: int
    node: str = ""


@dataclass(frozen=True)
class Report:
    """A score after an epoch. The worker waits for the ``Answer`` with the same numbers.

    Args:
        job: number of the job.
        number: number of the report, another one for each report of a worker.
        epoch: epochs done.
        score: the score so far.
    """

    job: int
    number: int
    epoch: int
    score: float


@dataclass(frozen=True)
class Answer:
    """The answer to a report.

    Args:
        job: number of the job.
        number: number of the report.
        is_stopped: whether the training run must end now.
    """

    job: int
    number: int
    is_stopped: bool


@dataclass(frozen=True)
class Ended:
    """A job has ended.

    Args:
        job: number of the job.
        outcome: its outcome.
        weights: content of the weights file, from a worker that cannot write to this machine.
    """

    job: int
    outcome: Outcome
    weights: bytes | None = None


Message = Begun | Report | Ended
"""A message from a worker."""
