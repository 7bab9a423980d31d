"""Which process trains a trial: enough to tell, on the same machine, whether that process is still alive."""

from __future__ import annotations

import os
import socket
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
    """Return when a process of this machine started, in seconds since 1970; None where it has ended."""
    try:
        process = psutil.Process(pid)
        return None if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else process.create_time()
    except psutil.AccessDenied:
        return None if not psutil.pid_exists(pid) else float("nan")
    except psutil.NoSuchProcess:
        return None


def this_process() -> dict[str, Any]:
    """Return this process, as a trial's attribute."""
    return {"machine": machine(), "pid": os.getpid(), "started": start_time(os.getpid())}


def is_dead(owner: dict[str, Any] | None) -> bool:
    """Return whether a process is known to be dead; False where it cannot be known, as it is on another machine.

    Args:
        owner: of ``this_process``. Studies of earlier versions hold no ``started``: there, a process that has the same
            number now is taken for the owner until its heartbeats are too old.
    """
    if not owner or owner.get("machine") != machine():
        return False
    now = start_time(int(owner["pid"]))
    if now is None:
        return True
    before = owner.get("started")
    return before is not None and abs(now - before) > CLOCK_STEP_S
