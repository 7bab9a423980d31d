"""Choose the pool that trains the nets: in this process, in worker processes, on Ray, or the caller's own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lmnet.search.options import SearchOptions
from lmnet.search.train.pools import InlinePool, Pool, ProcessPool
from lmnet.search.train.training import Objective
from lmnet.training.data.load import SYNTHETIC
from lmnet.training.runs.train_run import DataChoice

REACH_S = 8.0
"""Seconds within which a cluster must answer."""


def make_pool(
    objective: Objective,
    options: SearchOptions,
    *,
    workers: int,
    is_own: bool,
    executor: Callable[[Objective], Pool] | None = None,
) -> Pool:
    """Return a pool for training runs.

    Args:
        objective: trains and scores a net.
        options: options of the search.
        workers: number of training runs at a time, on this machine.
        is_own: whether the objective is the user's function.
        executor: makes the pool instead.

    Raises:
        ImportError: the option cluster needs ray, and it is not installed.
        ValueError: the objective is not picklable, the cluster does not answer, or it lacks the data.
    """
    if executor is not None:
        return executor(objective)
    if options.cluster is not None:
        return _ray_pool(objective, options, is_own=is_own)
    if is_own and workers == 1:
        return InlinePool(objective)
    gpus = visible_gpus() if options.device in ("auto", "cuda") else ()
    return ProcessPool(
        objective, slots=workers, threads=threads_of(options, workers), imports=options.imports, gpus=gpus
    )


def visible_gpus() -> list[str]:
    """Return the GPUs of this machine as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


def data_choice(options: SearchOptions) -> DataChoice:
    """Return the data of a search, its paths absolute: workers may run in another folder."""
    choice = options.data if isinstance(options.data, DataChoice) else DataChoice(str(options.data))
    split = None if choice.split_file is None else str(Path(choice.split_file).resolve())
    path = choice.path if choice.path == SYNTHETIC else str(Path(choice.path).resolve())
    return replace(choice, path=path, split_file=split)


def threads_of(options: SearchOptions, workers: int) -> int:
    """Return the number of torch threads of each worker: its share of the cores, at most OMP_NUM_THREADS."""
    if options.batch:
        return 1
    return min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) // workers))


def check_reachable(cluster: str | None) -> None:
    """Check within seconds that a cluster answers at its address; Ray itself would try for minutes.

    Raises:
        ValueError: nothing answers there.
    """
    address = os.environ.get("RAY_ADDRESS", "") if cluster == "ray" else cluster or ""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
    except OSError as err:
        raise ValueError(
            f"search: the Ray cluster at {address} cannot be reached ({err}). Check the address, or start the cluster "
            "with `ray start --head`."
        ) from None


def _ray_pool(objective: Objective, options: SearchOptions, *, is_own: bool) -> Pool:
    try:
        from lmnet.search.train.ray_pool import RayPool
    except ImportError as err:
        raise ImportError(f"--cluster needs {err.name}, and it is not installed. pip install 'lmnet[ray]'.") from err
    check_reachable(options.cluster)
    choice = data_choice(options)
    files = () if is_own or choice.path == SYNTHETIC else (choice.path, choice.split_file)
    return RayPool(
        objective,
        address=None if options.cluster == "ray" else options.cluster,
        cpus=options.cpus_per_trial,
        gpus=options.gpus_per_trial,
        most=options.workers,
        imports=options.imports,
        paths=[path for path in files if path is not None],
    )
