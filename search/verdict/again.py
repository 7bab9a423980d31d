"""Confirmation: a few nets are trained with further seeds and scored on the test images."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from lmnet.builder.files import write_durably
from lmnet.builder.spec import Spec
from lmnet.builder.weights import read_weights
from lmnet.search.train.messages import Job
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.pools import Pool
from lmnet.search.train.training import Objective, Reporter
from lmnet.training import CaseScores
from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.load import SYNTHETIC, load_cases
from lmnet.training.runs.train_run import DataChoice

FIRST_SEED = 1000
"""First seed of the confirmations; the search itself uses others."""
TEST_IMAGES = 320
"""Synthetic test images. None of them is among those that the search trains on or chooses by."""
POLL_S = 0.5
SCORES = "test_scores"
"""Key of the test scores in the facts of a weights file."""


@dataclass
class ConfirmingObjective:
    """Trains a net as the search does, with another seed.

    Args:
        base: the search's objective.
        epochs: epochs of each training run.
    """

    base: TrainingObjective
    epochs: int

    def __getstate__(self) -> dict[str, Any]:
        """Leave the images out: each worker reads them itself."""
        return {"base": self.base, "epochs": self.epochs}

    def __call__(self, model: nn.Module, spec: Spec, report: Reporter, seed: int) -> float:
        """Return the lesion Dice, mean over val and over the last third of the epochs.

        The net is left as it was after its best epoch.
        """
        return self.base.train(model, spec, report, seed=seed, epochs=self.epochs)

    def weights_facts(self, model: nn.Module, spec: Spec, seed: int) -> dict[str, str]:
        """Return the facts to store with the weights: those of the search, and the scores of the test images.

        The worker that trains a net also scores it, within the time of the training run.
        """
        scores = json.dumps(self.test_scores(model, spec).dump())
        return {**self.base.weights_facts(model, spec, seed), SCORES: scores}

    @property
    def name(self) -> str:
        """Name of the folder for the scores; scores in different folders are not comparable."""
        return f"{self.epochs}-epochs" + (f"-{TEST_IMAGES}-images" if self._is_synthetic else "")

    @property
    def _is_synthetic(self) -> bool:
        return self.base.choice == DataChoice()

    @property
    def test_count(self) -> int:
        """Number of test images."""
        return TEST_IMAGES if self._is_synthetic else len(self.base.sets().test)

    @cached_property
    def test(self) -> CaseSet:
        """The test images; for synthetic data new ones, more than the search itself has."""
        if not self._is_synthetic:
            return self.base.sets().test
        first = len(self.base.sets().cases)
        sampled = load_cases(SYNTHETIC, seed=self.base.seed, count=first + TEST_IMAGES).cases
        return sampled.subset(range(first, first + TEST_IMAGES))

    def test_scores(self, model: nn.Module, spec: Spec) -> CaseScores:
        """Return a trained net's scores of the test images."""
        return replace(self.base.evaluate(model, spec, self.test), figures={})


def confirm(
    nets: Sequence[tuple[str, Spec]],
    objective: ConfirmingObjective,
    make_pool: Callable[[Objective], Pool],
    *,
    seeds: int,
    more: Sequence[tuple[str, Spec]] = (),
    folder: Path,
    deadline: float | None,
    is_stopped: Callable[[], bool],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Train all nets with the first seed, then with the second, and so on; return the reasons of failed training runs.

    So all nets have the same seeds when the time is up. Training runs with stored scores are left out. The nets in
    ``more`` follow one by one; each is trained only if there is time for all of its seeds, judged by earlier runs.

    Weights of the first seed are kept for the images of the report; the others are deleted.

    Args:
        nets: hash and spec of each net.
        objective: trains a net with the seed of the job.
        make_pool: returns a pool for the objective; called only if something must be trained.
        seeds: number of training runs for each net.
        more: hash and spec of the nets to train if there is time.
        folder: folder of the files HASH-sSEED.json.
        deadline: time on ``time.monotonic`` at which it ends; None for no limit.
        is_stopped: returns True once the search should stop.
        on_progress: called with the number of finished training runs and their total.
    """

    def job(hash_: str, spec: Spec, seed: int) -> Job:
        return Job(spec, FIRST_SEED + seed, weights=folder / f"{hash_}-s{FIRST_SEED + seed}.safetensors")

    jobs = [job(*net, seed) for seed in range(seeds) for net in nets]
    rest = [[job(*net, seed) for seed in range(seeds)] for net in more]
    waiting = [one for one in jobs if not _scores_file(one).exists()]
    failures: list[str] = []
    if not waiting and all(_scores_file(one).exists() for group in rest for one in group):
        return failures
    busy: dict[int, Job] = {}
    longest_s = 0.0
    pool = make_pool(objective)
    try:
        while waiting or busy or rest:
            left = None if deadline is None else deadline - time.monotonic()
            if is_stopped() or (left is not None and left <= 0):
                return failures
            if not waiting and rest:
                group, rest = [one for one in rest[0] if not _scores_file(one).exists()], rest[1:]
                needed_s = longest_s * (1 + math.ceil(len(group) / max(1, pool.slots)))  # 1 for what still trains
                if left is None or needed_s <= left:
                    waiting, jobs = group, [*jobs, *group]
            on_progress(len(jobs) - len(waiting) - len(busy), len(jobs))
            for slot in sorted(set(range(pool.slots)) - busy.keys())[: len(waiting)]:
                busy[slot] = replace(waiting.pop(0), time_limit_s=left)
                pool.submit(slot, busy[slot])
            for slot, outcome in pool.poll(POLL_S, lambda slot, epoch, score: is_stopped()) if busy or waiting else ():
                ended = busy.pop(slot)
                longest_s = max(longest_s, outcome.seconds)
                if outcome.score is None:
                    failures.append(f"{outcome.reason}: {outcome.error}")
                elif not outcome.is_stopped:
                    _write_scores(ended, outcome.score)
    finally:
        pool.close()
    return failures


def _scores_file(job: Job) -> Path:
    assert job.weights is not None
    return job.weights.with_suffix(".json")


def _write_scores(job: Job, val: float) -> None:
    assert job.weights is not None
    scores = json.loads(read_weights(job.weights).facts[SCORES])
    write_durably(_scores_file(job), json.dumps({"val": val, "test": scores}).encode())
    if job.seed != FIRST_SEED:
        job.weights.unlink()


def read_confirmed(folder: Path, hash_: str, seeds: int) -> tuple[dict[int, CaseScores], dict[int, float]]:
    """Return the stored test scores and validation scores of a net, by seed."""
    scores, val = {}, {}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        path = folder / f"{hash_}-s{seed}.json"
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            scores[seed] = CaseScores.load(
                content.get("test", content)
            )  # files of earlier versions hold the test scores only
            if "val" in content:
                val[seed] = content["val"]
    return scores, val
