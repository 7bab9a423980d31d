"""Who trains a trial: enough to tell, on the same machine, whether that process is still alive."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def machine() -> str:
    """Return a name of this machine since it was switched on, and of this container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    parts = [socket.gethostname(), boot.read_text().strip()[:8] if boot.exists() else ""]
    space = Path("/proc/self/ns/pid")
    parts.append(os.readlink(space).strip("pid:[]") if space.exists() else "")
    return "/".join(parts)


def born(pid: int) -> str | None:
    """Return when a process of this machine began, in its kernel's ticks; None where it is no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def myself() -> dict[str, str | int]:
    """Return this process, as a trial's attribute."""
    return {"machine": machine(), "pid": os.getpid(), "born": born(os.getpid()) or ""}


def is_gone(owner: dict[str, str | int] | None) -> bool:
    """Return whether a process is known to be dead; False where it cannot be known, as it is on another machine."""
    if not owner or owner.get("machine") != machine() or not Path("/proc/self/stat").exists():
        return False
    return born(int(owner["pid"])) != owner["born"]
