"""Node costs on disk: what has been measured once on a machine is looked up from then on.

A file in the user's cache folder (``lmnet.blocks.cache_folder``), one JSON line a node.
Its name holds a hash of torch's version and of the source of lmnet's blocks and counter: a change begins a new file.
Blocks of other packages are not stored, as their source may change unseen. LMNET_CACHE=off switches it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lmnet.blocks.cache_folder import cache_folder
from lmnet.blocks.registry import REGISTRY

OWN_BLOCKS = "lmnet.blocks."


class CostStore:
    """A growing file of measured costs; several processes may read and add at once.

    Args:
        file: path of the file; None for none: nothing is ever found.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._known: dict[str, Any] | None = None

    def get(self, key: str) -> Any | None:
        """Return what was put under a key, or None."""
        if self._known is None:
            self._known = {}
            if self.file is not None and self.file.is_file():
                for line in self.file.read_text(encoding="utf-8").splitlines():
                    with contextlib.suppress(ValueError, TypeError):  # damaged, or cut by a process that died
                        found, value = json.loads(line)
                        if isinstance(found, str):
                            self._known[found] = value
        return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """Add a value; if the disk cannot be written, it is kept for this process only."""
        assert self._known is not None
        self._known[key] = value
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            line = ("\n" + json.dumps([key, value])).encode()
            handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
        except OSError:
            self.file = None


def is_storable(block: str) -> bool:
    """Return whether a block is lmnet's own, so that the file's name changes with it."""
    return REGISTRY.get(block).__module__.startswith(OWN_BLOCKS)


@lru_cache(maxsize=1)
def default_store() -> CostStore:
    """Return this user's store."""
    folder = cache_folder()
    if folder is None:
        return CostStore(None)
    import lmnet.blocks

    digest = hashlib.sha256(f"{torch.__version__} {metadata.version('timm')}".encode())
    for file in (*sorted(Path(str(lmnet.blocks.__file__)).parent.glob("*.py")), Path(__file__).with_name("cost.py")):
        digest.update(file.read_bytes())
    return CostStore(folder / f"costs-{digest.hexdigest()[:16]}.jsonl")
