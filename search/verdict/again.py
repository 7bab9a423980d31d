"""Confirmation: a few nets are trained with further seeds and scored on the test images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from lmnet.builder.files import write_durably
from lmnet.builder.models import build_model, load_weights
from lmnet.builder.spec import Spec
from lmnet.search.train.messages import Job
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.pools import Pool
from lmnet.search.train.training import Objective, Reporter
from lmnet.training import CaseScores, load_data
from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.load import SYNTHETIC
from lmnet.training.runs.train_run import DataChoice

FIRST_SEED = 1000
"""Seeds of confirmations begin here, so that none is the search's own."""
POLL_S = 0.5


@dataclass
class ConfirmingObjective:
    """Trains a net as the search does, with a seed of its own.

    Args:
        base: the search's objective.
        epochs: epochs of each training run.
    """

    base: TrainingObjective
    epochs: int

    def __getstate__(self) -> dict[str, Any]:
        """Leave the images out: whoever needs them reads them."""
        return {"base": self.base, "epochs": self.epochs}

    def __call__(self, model: nn.Module, spec: Spec, report: Reporter, seed: int) -> float:
        """Return the lesion Dice, mean over val and over the last third of the epochs.

        The net is left as it was after its best epoch.
        """
        return self.base.train(model, spec, report, seed=seed, epochs=self.epochs)

    def weights_facts(self, model: nn.Module, spec: Spec, seed: int) -> dict[str, str]:
        """Return the facts to keep beside a net's weights: those of the search's own objective."""
        return self.base.weights_facts(model, spec, seed)

    @cached_property
    def test(self) -> CaseSet:
        """The test images; of synthetic data, more than the search's few."""
        base = self.base
        data = load_data(SYNTHETIC, seed=base.seed) if base.choice == DataChoice() else base.sets()
        return data.test

    def test_scores(self, spec: Spec, weights: Path) -> CaseScores:
        """Return the scores of the test images."""
        base, model = self.base, build_model(spec)
        load_weights(model, weights)
        scores = base.evaluate(model, spec, self.test)
        return replace(scores, figures={})


def confirm(
    nets: Sequence[tuple[str, Spec]],
    objective: ConfirmingObjective,
    make_pool: Callable[[Objective], Pool],
    *,
    seeds: int,
    folder: Path,
    deadline: float | None,
    is_stopped: Callable[[], bool],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Train what has no scores yet, one seed after the other, until the time is up; return why training runs failed.

    The weights come back from wherever they were trained and are scored here on the test images. Those of the first
    seed are kept, to draw what the nets see; the others are deleted.

    Args:
        nets: hash and spec of each net.
        objective: trains a net with a seed of its own.
        make_pool: makes a pool for it, which is closed at the end; called only if something must be trained.
        seeds: number of training runs for each net.
        folder: folder of the files HASH-sSEED.json.
        deadline: time on ``time.monotonic`` at which it ends; None for no end.
        is_stopped: returns True once the search should stop.
        on_progress: called between steps with the number of training runs that have ended, and of all.
    """
    jobs = [
        Job(spec, FIRST_SEED + seed, weights=folder / f"{hash_}-s{FIRST_SEED + seed}.safetensors")
        for seed in range(seeds)
        for hash_, spec in nets
    ]
    waiting = [job for job in jobs if not _scores_file(job).exists()]
    failures: list[str] = []
    if not waiting:
        return failures
    busy: dict[int, Job] = {}
    pool = make_pool(objective)
    try:
        while waiting or busy:
            left = None if deadline is None else deadline - time.monotonic()
            if is_stopped() or (left is not None and left <= 0):
                return failures
            on_progress(len(jobs) - len(waiting) - len(busy), len(jobs))
            for slot in sorted(set(range(pool.slots)) - busy.keys())[: len(waiting)]:
                busy[slot] = replace(waiting.pop(0), time_limit_s=left)
                pool.submit(slot, busy[slot])
            for slot, outcome in pool.poll(POLL_S, lambda slot, epoch, score: is_stopped()):
                job = busy.pop(slot)
                if outcome.score is None:
                    failures.append(f"{outcome.reason}: {outcome.error}")
                elif not outcome.is_stopped:
                    _write_scores(job, objective, outcome.score)
    finally:
        pool.close()
    return failures


def _scores_file(job: Job) -> Path:
    assert job.weights is not None
    return job.weights.with_suffix(".json")


def _write_scores(job: Job, objective: ConfirmingObjective, val: float) -> None:
    assert job.weights is not None
    scores = objective.test_scores(job.spec, job.weights)
    write_durably(_scores_file(job), json.dumps({"val": val, "test": scores.dump()}).encode())
    if job.seed != FIRST_SEED:
        job.weights.unlink()


def read_confirmed(folder: Path, hash_: str, seeds: int) -> tuple[dict[int, CaseScores], dict[int, float]]:
    """Return the test scores of a net by seed, and its validation scores, as far as they are there."""
    scores, val = {}, {}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        path = folder / f"{hash_}-s{seed}.json"
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            scores[seed] = CaseScores.load(content.get("test", content))  # files of before have these scores alone
            if "val" in content:
                val[seed] = content["val"]
    return scores, val
