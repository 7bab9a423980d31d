"""Batches for training and scoring: the same ones by seed and epoch, whatever the number of workers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lmnet.training.data.augment import augmented
from lmnet.training.data.case_set import ResizedSet
from lmnet.training.fitting.named import AUGMENTATIONS

Batch = tuple[Tensor, Tensor, Tensor]
"""image (N, C, S, S) uint8, mask (N, S, S) uint8, index (N,) int64."""

Key = tuple[int, int]
"""A case's index and the seed of its augmentation."""


def mixed_seed(*parts: int) -> int:
    """Return a seed that depends on all parts and looks random."""
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class EpochSampler(Sampler[Key]):
    """The order of the cases in one epoch and how each is augmented, by (seed, epoch).

    Args:
        length: number of cases.
        seed: random seed of the run.
        first_epoch: added to the argument of ``set_epoch``; a resumed run counts on.
        rank: number of this process, from 0.
        world_size: number of processes; each gets an equal share, the last ones some cases twice.
    """

    def __init__(self, length: int, *, seed: int, first_epoch: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.seed, self.first_epoch = length, seed, first_epoch
        self.rank, self.world_size = rank, world_size
        self.epoch = first_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from ``first_epoch``; Lightning calls this."""
        self.epoch = self.first_epoch + epoch

    def __len__(self) -> int:
        return -(-self.length // self.world_size)

    def __iter__(self) -> Iterator[Key]:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator).tolist()
        order += order[: len(self) * self.world_size - self.length]
        return iter([(i, mixed_seed(self.seed, self.epoch, i)) for i in order[self.rank :: self.world_size]])


class AugmentedSet(Dataset[tuple[Tensor, Tensor, int]]):
    """Cases at one size, augmented by the seed that the sampler hands over.

    Args:
        cases: at their size.
        augment: name in ``AUGMENTATIONS``.
    """

    def __init__(self, cases: ResizedSet, augment: str) -> None:
        self.cases = cases
        self.augment = augment
        self.transform = AUGMENTATIONS.get(augment)(cases.size)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor, int]:
        index, seed = key
        image, mask = self.cases[index]
        if self.augment != "none":
            image, mask = augmented(self.transform, image, mask, seed=seed)
        return image, mask, index


class PlainSet(Dataset[tuple[Tensor, Tensor, int]]):
    """Cases at one size, as they are.

    Args:
        cases: at their size.
    """

    def __init__(self, cases: ResizedSet) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        image, mask = self.cases[index]
        return image, mask, index


def default_workers(*, on_gpu: bool) -> int:
    """Return how many processes should augment: up to eight for a GPU, none beside a CPU that trains.

    On a CPU a further process takes from the cores that train, and without one steps wait less than 5 % of the time
    (`waiting_share` in log.csv).
    """
    return min(8, (os.cpu_count() or 1) - 1) if on_gpu else 0


def training_loader(
    cases: ResizedSet, *, augment: str, batch_size: int, sampler: EpochSampler, workers: int, pin_memory: bool = False
) -> DataLoader[Batch]:
    """Return the batches of an epoch; a last one that is not full is dropped unless it is the only one."""
    return DataLoader(
        AugmentedSet(cases, augment),  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=sampler,
        drop_last=len(sampler) >= batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
        generator=torch.Generator().manual_seed(0),
    )


def scoring_loader(cases: ResizedSet, *, batch_size: int, rank: int = 0, world_size: int = 1) -> DataLoader[Batch]:
    """Return the cases in order, this process's share of them."""
    share = list(range(rank, len(cases), world_size)) or [0]  # an idle process repeats a case; scores drop repeats
    return DataLoader(PlainSet(cases), batch_size=batch_size, sampler=share)  # type: ignore[arg-type]
