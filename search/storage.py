"""The storage of studies: Optuna's RDB storage on SQLite or PostgreSQL, with heartbeats and patient calls."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

HEARTBEAT_S = 10
GRACE_S = 60
PATIENCE_S = 120.0
T = TypeVar("T")


@contextmanager
def open_storage(url: str) -> Iterator[RDBStorage]:
    """Open the database at a URL, and close its connections at the end.

    A SQLite file and its folder are made where they are missing.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``.

    Raises:
        ValueError: the URL is not one, its driver is not installed, or the database cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        options = {"connect_args": {"timeout": PATIENCE_S}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            storage = RDBStorage(url, engine_kwargs=options, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)
        except (ArgumentError, NoSuchModuleError, ImportError) as err:
            raise ValueError(
                f"storage: it must be sqlite:///FILE or postgresql://USER@HOST/NAME, got {shown(url)} "
                f"({str(err).splitlines()[0]}). For PostgreSQL, pip install 'lmnet[postgres]'."
            ) from err
        except (DBAPIError, StorageInternalError) as err:
            cause = str(err.__cause__ or err).splitlines()[0]
            raise ValueError(
                f"storage: the database must be reachable, got {shown(url)} ({cause}). Check server, name and rights."
            ) from err
    if url.startswith("sqlite"):
        event.listen(storage.engine, "connect", _tune_sqlite)
        storage.engine.dispose()
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _tune_sqlite(connection: Any, record: Any) -> None:
    """Write ahead and sync at checkpoints: safe when a process dies, and several times quicker."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def shown(url: str) -> str:
    """Return a URL without its password."""
    from sqlalchemy.engine import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def patiently(call: Callable[[], T], *, patience_s: float = PATIENCE_S) -> T:
    """Return what a storage call returns, trying again while the database is away or its connection breaks.

    Args:
        call: it must do no harm when it is done twice.
        patience_s: for how long.
    """
    end, pause = time.monotonic() + patience_s, 0.1
    while True:
        try:
            return call()
        except (StorageInternalError, DBAPIError):
            if time.monotonic() + pause > end:
                raise
            time.sleep(pause)
            pause = min(5.0, 2 * pause)
