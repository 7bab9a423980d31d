"""One training run; every error inside becomes an outcome with a reason."""

from __future__ import annotations

import contextlib
import gc
import inspect
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import torch

from lmnet.builder.graph import GraphModel
from lmnet.builder.models import write_state
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import Spec
from lmnet.search.study.outcome import Outcome
from lmnet.search.train.messages import Job
from lmnet.search.train.peak_memory import peak_mib, reset_peak

Reporter = Callable[[int, float], bool]
"""Called with an epoch (from 1) and the score after it; returns True when the training run must end."""

Objective = Callable[..., float]
"""``objective(model, spec)``, with ``report`` and ``seed`` if it has such parameters, returns a trained net's score."""


MOST_TEXT = 500
"""Most characters of an error message that are kept."""
AGAIN_S = 1.0
"""Seconds after which a time-out is raised again, in case the first one was swallowed."""
SWALLOWING = ("__del__", "gc_callback")
"""Functions whose exceptions the interpreter prints and ignores."""


class OutOfTime(BaseException):  # noqa: N818
    """A training run took longer than its limit. It is not an ``Exception``, so that few handlers catch it."""


def asks_for(objective: Objective) -> set[str]:
    """Return the further parameters of an objective: ``report``, and ``seed`` if it has no default."""
    try:
        parameters = inspect.signature(objective).parameters
    except (TypeError, ValueError):
        return set()
    wanted = {"report"} & parameters.keys()
    if "seed" in parameters and parameters["seed"].default is inspect.Parameter.empty:
        wanted.add("seed")
    return wanted


def run_training(job: Job, objective: Objective, report: Reporter) -> Outcome:
    """Build a net, train it by an objective, and return the outcome.

    Only KeyboardInterrupt is raised. An error, no memory, a score that is not a number, and a time-out are outcomes
    with a reason.
    """
    epochs, is_stopped = 0, False

    def watched(epoch: int, score: float) -> bool:
        nonlocal epochs, is_stopped
        epochs, score = int(epoch), float(score)
        if not math.isfinite(score):
            raise FloatingPointError(f"the score must be a number, got {score} after epoch {epoch}")
        is_stopped = report(epochs, score)
        return is_stopped

    reset_peak()
    start = time.perf_counter()
    score = reason = error = model = None
    try:
        with time_limit(job.time_limit_s):
            model = seeded_model(job.spec, job.seed)
            given = {"report": watched, "seed": job.seed}
            extra = {name: given[name] for name in asks_for(objective)}
            score = float(objective(model, job.spec, **extra))
            if not math.isfinite(score):
                raise FloatingPointError(f"the score must be a number, got {score}")
            if job.weights is not None:
                _write_weights(model, job, objective)
    except KeyboardInterrupt:
        raise
    except BaseException as err:  # noqa: BLE001 - a search outlives whatever a training run raises, SystemExit too
        score, reason = None, _reason(err)
        error = cause_of(err)
        err.__traceback__ = None
    seconds = round(time.perf_counter() - start, 3)
    outcome = Outcome(score, reason, error, epochs, is_stopped, seconds, peak_mib())
    model = None
    if reason == "out of memory":
        _free_memory()
    return outcome


def _write_weights(model: GraphModel, job: Job, objective: Objective) -> None:
    """Write the trained weights, with the facts from the objective's ``weights_facts(model, spec, seed)``."""
    assert job.weights is not None
    job.weights.parent.mkdir(parents=True, exist_ok=True)
    facts_of = getattr(objective, "weights_facts", None)  # an own objective has no recipe, so nothing is known
    write_state(model, job.weights, facts=None if facts_of is None else facts_of(model, job.spec, job.seed))


def seeded_model(spec: Spec, seed: int) -> GraphModel:
    """Return the net of a spec with initial weights by a seed; the random state of the caller does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GraphModel(plan_spec(spec))


def cause_of(err: BaseException) -> str:
    """Return an error and its cause in one line.

    The error of a DataLoader's worker holds a traceback: its last line is the cause. The lines of other messages are
    joined, and so are an error and the one that it was raised from.
    """
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    if any(line.startswith(("Traceback", "Original Traceback")) for line in lines):
        return lines[-1][:MOST_TEXT]
    if type(err).__name__ == "TrialPruned":
        return "TrialPruned: a search trains every net in full. Return the score that is reached instead."
    texts = [f"{type(err).__name__}: {' '.join(lines)}".removesuffix(": ")]
    if err.__cause__ is not None and (inner := cause_of(err.__cause__)) not in texts[0]:
        texts.append(inner)
    return " Caused by ".join(texts)[:MOST_TEXT]


def _reason(err: BaseException) -> str:
    text = str(err).lower()
    if isinstance(err, (MemoryError, torch.cuda.OutOfMemoryError)) or "out of memory" in text:
        return "out of memory"
    if "can't allocate memory" in text or "cannot allocate memory" in text:
        return "out of memory"
    if isinstance(err, OutOfTime):
        return "time-out"
    if isinstance(err, FloatingPointError) or type(err).__name__ == "TrainingDiverged":
        return "not a number"
    return "error"


def _free_memory() -> None:
    """Free what a failed training run may hold."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTime inside the block after a number of seconds; without signals, do nothing."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds is None or not usable:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name in SWALLOWING:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            return
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)  # if what it interrupts swallows the exception
        raise OutOfTime(f"the training run did not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
