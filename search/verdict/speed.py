"""Measure before trial 0, by a short training run, how fast this machine trains now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from lmnet.builder.spec import Spec
from lmnet.search.train.messages import Job
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.pools import Pool
from lmnet.search.train.training import Objective, Reporter
from lmnet.training import DataSets, Split

IMAGES = 32
"""Number of training images, and of validation images, in a timed epoch."""
EPOCHS = 2
"""Epochs of the timed training run; only the last counts, as the first includes start-up work."""
POLL_S = 0.5


@dataclass
class SpeedObjective:
    """Trains a net for two short epochs, and returns the estimated seconds of a full one.

    Args:
        base: the search's objective.
    """

    base: TrainingObjective

    def __call__(self, model: nn.Module, spec: Spec, report: Reporter) -> float:
        """Return the seconds of an epoch over all training and validation images."""
        sets = self.base.sets()
        few = _few(sets)
        share = (len(sets.train) + len(sets.val)) / (len(few.train) + len(few.val))
        times = [time.perf_counter()]

        def timed(epoch: int, score: float) -> bool:
            times.append(time.perf_counter())
            report(epoch, max(times[-1] - times[-2], 1e-6) * share)
            return epoch >= EPOCHS

        replace(self.base, _sets=few).train(model, spec, timed, seed=self.base.seed)
        return max(times[-1] - times[-2], 1e-6) * share


def measure_epoch_s(
    spec: Spec, objective: TrainingObjective, make_pool: Callable[[Objective], Pool], *, most_s: float
) -> float | None:
    """Return the seconds of an epoch of a net while all workers train it; None if that fails or takes too long.

    Args:
        spec: the net.
        objective: the objective of the search.
        make_pool: returns a pool like that of the search.
        most_s: upper limit in seconds; the measurements so far then count.
    """
    reported: dict[int, float] = {}

    def on_report(slot: int, epoch: int, seconds: float) -> bool:
        reported[slot] = seconds
        return False

    pool, begun, ended = make_pool(SpeedObjective(objective)), time.monotonic(), 0
    busy: set[int] = set()
    try:
        while time.monotonic() - begun < most_s and (busy or not ended):
            for slot in set(range(pool.slots)) - busy if not ended else ():
                pool.submit(slot, Job(spec, objective.seed))
                busy.add(slot)
            for slot, outcome in pool.poll(POLL_S, on_report):
                busy.discard(slot)
                ended += 1
                if outcome.score is None:
                    return None
                reported[slot] = outcome.score
    finally:
        pool.close()
    return max(reported.values(), default=None)


def _few(sets: DataSets) -> DataSets:
    """Return the first ``IMAGES`` images of the training and validation split."""
    train, val = (tuple(side.names[:IMAGES]) for side in (sets.train, sets.val))
    return replace(sets, split=Split(train, val, ()))
