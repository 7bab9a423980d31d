"""Writing files so that a kill or a full disk leaves the old file or the new one, never half of either."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


class SaveError(RuntimeError):
    """A file that could not be written; what was there before is still there."""


def write_durably(path: Path, content: bytes) -> None:
    """Write a file beside its place, flush it to the disk, then rename it into place.

    Args:
        path: of the file; its folder must exist.
        content: all of the file.

    Raises:
        SaveError: the disk is full or refuses; the old file is untouched and nothing is left lying about.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        kept = "the one before it is kept" if path.exists() else "nothing was written"
        raise SaveError(
            f"{path}: the file must be written whole, got error={error.strerror or error!s}; {kept}. "
            "Free some space and run the same command again."
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
