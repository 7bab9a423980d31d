"""The folder in which lmnet keeps what it can make or fetch again: kernels, measured costs, fetched weights."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Return this user's cache folder; it may not exist yet.

    It is ``$LMNET_CACHE``, else ``$XDG_CACHE_HOME/lmnet``, else ``~/.cache/lmnet``. It is None with ``LMNET_CACHE=off``
    and for a user without a home: nothing is kept then.
    """
    place = os.environ.get("LMNET_CACHE", "")
    if place == "off":
        return None
    if place:
        return Path(place)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lmnet"
    except RuntimeError:  # a user without a home
        return None
