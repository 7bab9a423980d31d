"""The storage of studies: Optuna's RDB storage on SQLite or PostgreSQL, with heartbeats and retries."""

from __future__ import annotations

import random
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, fail_stale_trials
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from lmnet.builder.files import SaveError

HEARTBEAT_S = 10
GRACE_S = 60
PATIENCE_S = 120.0
OPENING_S = 30.0
CONNECT_S = 8
"""Seconds within which a database server must answer."""
PASSWORD = "In a password, write %40 for @, %3A for :, %2F for /, %3F for ?."
FINAL = ("permission denied", "read-only", "readonly", "insufficient privilege")
"""Parts of messages of errors that waiting does not solve."""
T = TypeVar("T")


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Suppress the log line that Optuna prints for each trial, inside the block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def open_storage(url: str) -> Iterator[RDBStorage]:
    """Open the database at a URL, and close its connections at the end.

    A SQLite file and its folder are made if they are missing.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``.

    Raises:
        ValueError: the URL is invalid, its driver is not installed, or the database cannot be reached.
    """
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("postgresql") and "connect_timeout" not in url:
        options["connect_args"] = {"connect_timeout": CONNECT_S}
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        options = {"connect_args": {"timeout": PATIENCE_S}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            storage = _connected(url, options)
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as err:
            raise ValueError(
                f"storage: {without_password(url)} cannot be opened ({_cause(err, url)}). Give sqlite:///FILE or "
                f"postgresql://USER@HOST/NAME. {PASSWORD} For PostgreSQL, pip install 'lmnet[postgres]'."
            ) from None
        except (DBAPIError, StorageInternalError) as err:
            raise ValueError(
                f"storage: {without_password(url)} cannot be reached ({_cause(err.__cause__ or err, url)}). Check "
                f"server, name and rights. {PASSWORD}"
            ) from None
    tune = _tune_sqlite if url.startswith("sqlite") else _use_utc
    event.listen(storage.engine, "connect", tune)
    storage.engine.dispose()
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _tune_sqlite(connection: Any, record: Any) -> None:
    """Use write-ahead logging and sync at checkpoints: safe if a process dies, and several times faster."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _use_utc(connection: Any, record: Any) -> None:
    """Use UTC in a session: times of heartbeats are stored without a zone, and hosts may be in several zones."""
    cursor = connection.cursor()
    cursor.execute("SET TIME ZONE 'UTC'")
    cursor.close()
    connection.commit()


def _connected(url: str, options: dict[str, Any]) -> RDBStorage:
    """Open the storage; if another search makes the same new tables at this moment, wait and try again."""
    end, pause = time.monotonic() + OPENING_S, 0.05
    while True:
        try:
            return RDBStorage(url, engine_kwargs=options, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)
        except (DBAPIError, StorageInternalError, AssertionError, AttributeError, RuntimeError) as err:
            if time.monotonic() + pause > end or not _is_being_made(err):
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))  # not in step with the other search
        pause = min(1.0, 2 * pause)


def _is_being_made(error: BaseException) -> bool:
    """Return whether an error means that another process is creating the tables right now."""
    if not isinstance(error, (DBAPIError, StorageInternalError)):
        return True  # Optuna has found half of its own tables
    text = f"{error} {error.__cause__ or ''}".lower()
    signs = (
        "already exists",
        "locked",
        "unique",
        "duplicate",
        "no such table",
        "does not exist",
        "deadlock",
        "concurrently",
    )
    return any(sign in text for sign in signs) and 'database "' not in text and "role " not in text


def fail_stale(study: optuna.Study) -> None:
    """Fail the running trials whose heartbeats are too old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)


def without_password(url: str) -> str:
    """Return a URL without its password, whatever characters that holds."""
    scheme, mark, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    if not mark or not at:
        return url
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}@{host}"


def _cause(error: BaseException, url: str) -> str:
    """Return the first line of an error without any part of the URL's password."""
    text = _first_line(error)
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    password = credentials.partition(":")[2] if at else ""
    parts = {part for whole in (password, unquote(password)) for part in (whole, *re.split(r"[^\w]+", whole)) if part}
    return "its text contains the password and is left out" if any(part in text for part in parts) else text


def _first_line(error: BaseException) -> str:
    """Return the first line of an error of a database, without the name of the driver's class."""
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return text.splitlines()[0]


def retry(call: Callable[[], T], *, patience_s: float = PATIENCE_S) -> T:
    """Call a storage and return the result; try again while the database is away or its connection breaks.

    Args:
        call: a call that may be made twice without harm.
        patience_s: seconds during which it is tried again.
    """
    end, pause = time.monotonic() + patience_s, 0.1
    while True:
        try:
            return call()
        except (StorageInternalError, DBAPIError) as err:
            text = f"{err} {err.__cause__ or ''}".lower()
            if any(sign in text for sign in FINAL):
                raise ValueError(
                    f"storage: {_first_line(err.__cause__ or err)}. A search must read and write all tables of its "
                    "database: ask for these rights, or use another --storage."
                ) from None
            if "disk is full" in text or "no space left" in text or "disk full" in text:
                raise SaveError(
                    "storage: the disk is full. What was finished is kept; free some space and run the same command "
                    "again."
                ) from err
            if time.monotonic() + pause > end:
                raise SaveError(
                    f"storage: the database failed for {patience_s:g} s ({_first_line(err.__cause__ or err)}). What "
                    "was finished is kept; run the same command again."
                ) from err
            time.sleep(pause)
            pause = min(5.0, 2 * pause)
