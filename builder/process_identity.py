"""Which process owns a trial or a folder: enough to know, on the same machine, whether it is still alive."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

CLOCK_STEP_S = 30.0
"""How far a process's start time may move when the machine's clock is set."""


@lru_cache(maxsize=1)
def machine() -> str:
    """Return a name of this machine since it was switched on, and of this container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    parts = [socket.gethostname(), boot.read_text().strip()[:8] if boot.exists() else ""]
    space = Path("/proc/self/ns/pid")
    parts.append(os.readlink(space).strip("pid:[]") if space.exists() else "")
    return "/".join(parts)


def start_time(pid: int) -> float | None:
    """Return when a process of this machine started, in seconds since 1970; None if it has ended."""
    try:
        process = psutil.Process(pid)
        return None if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else process.create_time()
    except psutil.AccessDenied:
        return None if not psutil.pid_exists(pid) else float("nan")
    except psutil.NoSuchProcess:
        return None


def this_process() -> dict[str, Any]:
    """Return this process, as it is kept in a trial or a folder."""
    return {"machine": machine(), "pid": os.getpid(), "started": start_time(os.getpid())}


def is_dead(owner: dict[str, Any] | None) -> bool:
    """Return whether a process is known to be dead; False if that cannot be known, as on another machine.

    Args:
        owner: what ``this_process`` returned. Studies of earlier versions hold no ``started``: there, a process that
            has the same number now is taken for the owner until its heartbeats are too old.
    """
    if not owner or owner.get("machine") != machine():
        return False
    now = start_time(int(owner["pid"]))
    if now is None:
        return True
    before = owner.get("started")
    return before is not None and abs(now - before) > CLOCK_STEP_S


OWNER = "owner.json"
WAIT_S = 0.5


@contextlib.contextmanager
def owned(folder: Path, *, doing: str, wait_until: Callable[[], bool] | None = None) -> Iterator[None]:
    """Own a folder while the block runs; a process that dies, by kill -9 too, leaves no lock behind.

    Args:
        folder: made if it is missing.
        doing: what an owner does there, for the message: ``trains``.
        wait_until: None refuses a folder that another process owns. Otherwise wait until that process has left it, or
            until this returns True; the block then runs without owning the folder.

    Raises:
        ValueError: another process owns it; nothing in it was changed.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / OWNER
    while (owner := _take(place)) is not None:
        if wait_until is None:
            raise ValueError(f"{folder}: another process {doing} here, {_named(owner, place)}")
        if wait_until():
            break
        time.sleep(WAIT_S)
    try:
        yield
    finally:
        mine = _read_owner(place)
        if mine is not None and mine.get("pid") == os.getpid() and mine.get("machine") == machine():
            place.unlink(missing_ok=True)


def _take(place: Path) -> dict[str, Any] | None:
    """Write this process down as the owner; return the owner that is there already, unless it is dead."""
    with _one_at_a_time(place.parent):
        owner = _read_owner(place)
        if owner is not None and not is_dead(owner):
            return owner
        place.write_text(json.dumps({**this_process(), "host": socket.gethostname(), "since": time.time()}))
        return None


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process of this machine at a time look at a folder's owner and change it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read_owner(place: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(place.read_text())
        return content if isinstance(content, dict) and "pid" in content else None
    except (OSError, ValueError):  # none, or cut short by a full disk
        return None


def _named(owner: dict[str, Any], place: Path) -> str:
    """Return who an owner is and what to do, for people."""
    since = time.strftime("%H:%M on %d %B", time.localtime(float(owner.get("since", 0))))
    who = f"process {owner['pid']} on {owner.get('host', 'another machine')} since {since}."
    if owner.get("machine") == machine():
        return f"{who} Wait for it, or give another --out."
    return f"{who} Wait for it, give another --out, or remove {place} if that machine is off."
