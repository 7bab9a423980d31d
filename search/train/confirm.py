"""Confirmation: a few nets are trained with further seeds and scored on the test images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from lmnet.builder.files import write_durably
from lmnet.builder.spec import Spec
from lmnet.search.train.executors import Pool
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.training import Job, Report
from lmnet.training import CaseScores, DataSets, EpochReport, evaluate, fit, load_data
from lmnet.training.data.load import SYNTHETIC

FIRST_SEED = 1000
"""Seeds of confirmations begin here, so that none is the search's own."""
POLL_S = 0.5


@dataclass
class ConfirmingObjective:
    """Trains a net as the search does, with a seed of its own, and keeps the scores of the test images.

    Args:
        base: the search's objective.
        epochs: of each training.
        folder: for HASH-sSEED.json.
    """

    base: TrainingObjective
    epochs: int
    folder: Path

    def __call__(self, model: nn.Module, spec: Spec, report: Report, seed: int) -> float:
        """Return the foreground Dice, mean over the test images."""

        def tell(done: EpochReport) -> bool:
            return report(done.epoch, done.best_score)

        base = self.base
        recipe = replace(base.recipe, epochs=self.epochs)
        fit(
            model,
            base.sets(),
            recipe,
            seed=seed,
            callbacks=[tell],
            device=base.device,
            devices=base.devices,
            workers=0,
            in_channels=base.in_channels,
        )
        scores = evaluate(
            model,
            self._sets().test,
            size=recipe.size,
            device=base.device,
            in_channels=base.in_channels,
            mean=recipe.mean,
            std=recipe.std,
        )
        path = self.folder / f"{model.hash}-s{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, json.dumps(replace(scores, hd95=None, boundary_iou=None, diagonal=None).dump()).encode())
        return float(scores.dice.mean())

    def _sets(self) -> DataSets:
        """Return the data whose test images are scored; of synthetic data, more than the search's few."""
        return load_data(SYNTHETIC, seed=self.base.seed) if self.base.data == SYNTHETIC else self.base.sets()


def confirm(
    nets: Sequence[tuple[str, Spec]],
    make_pool: Callable[[], Pool],
    *,
    seeds: int,
    folder: Path,
    deadline: float | None,
    is_stopped: Callable[[], bool],
) -> list[str]:
    """Train what has no scores yet, one seed after the other, until the time is up; return why trainings failed.

    Args:
        nets: hash and spec.
        make_pool: makes a pool of a ``ConfirmingObjective``, which is closed at the end; called where something is to
            be trained.
        seeds: number of trainings of each net.
        folder: of the scores.
        deadline: on ``time.monotonic``; None for no end.
        is_stopped: asked between steps.
    """
    waiting = [
        Job(spec, FIRST_SEED + seed)
        for seed in range(seeds)
        for hash_, spec in nets
        if not (folder / f"{hash_}-s{FIRST_SEED + seed}.json").exists()
    ]
    failures: list[str] = []
    if not waiting:
        return failures
    busy: set[int] = set()
    pool = make_pool()
    try:
        while waiting or busy:
            left = None if deadline is None else deadline - time.monotonic()
            if is_stopped() or (left is not None and left <= 0):
                return failures
            for slot in sorted(set(range(pool.slots)) - busy)[: len(waiting)]:
                pool.submit(slot, replace(waiting.pop(0), time_limit_s=left))
                busy.add(slot)
            ended = pool.poll(POLL_S, lambda slot, epoch, score: is_stopped())
            busy -= {slot for slot, _ in ended}
            failures += [f"{one.reason}: {one.error}" for _, one in ended if one.score is None]
    finally:
        pool.close()
    return failures


def read_confirmed(folder: Path, hash_: str, seeds: int) -> dict[int, CaseScores]:
    """Return the test scores of a net by seed, as far as they are there."""
    found = {}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        path = folder / f"{hash_}-s{seed}.json"
        if path.exists():
            found[seed] = CaseScores.load(json.loads(path.read_text(encoding="utf-8")))
    return found
