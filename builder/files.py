"""The only writer of files: a kill or a full disk leaves the old file or the new one, never half of either."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

BEST = "best.safetensors"
"""A run folder's weights of its best epoch."""
SAVED = "model.safetensors"
"""The weights that ``save_pretrained`` writes."""

_OWNER = re.sub(r"\W", "", platform.node())[:24] or "host"


class SaveError(RuntimeError):
    """A file that could not be written; what was there before is still there."""


def write_durably(path: Path, content: bytes) -> None:
    """Write a file beside its place, flush it to the disk, then rename it into place.

    Args:
        path: file to write; its folder must exist.
        content: all of the file.

    Raises:
        SaveError: the disk is full or refuses; the old file is untouched and nothing is left lying about.
    """
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files of one folder: all are flushed to the disk before the first is renamed into place.

    Args:
        contents: path → content; the folder must exist.

    Raises:
        SaveError: the disk is full or refuses; the old files are untouched and nothing is left lying about.
    """
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            temporary = stack.enter_context(written_aside(path))
            temporary.write_bytes(content)
            _flush(temporary)


@contextlib.contextmanager
def written_aside(path: Path, *, suffix: str = ".part") -> Iterator[Path]:
    """Give a file beside ``path`` to write to; it takes the place of ``path`` when the block ends without an error.

    Args:
        path: the file in the end; its folder must exist.
        suffix: ending of the file to write to, for writers that look at it.

    Raises:
        SaveError: the disk is full or refuses; the old file is untouched and nothing is left lying about.
    """
    temporary: Path | None = None
    try:
        temporary = _new_file(path, suffix)
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        kept = "the one before it is kept" if path.exists() else "nothing was written"
        advice = "Free some space, or name another place, and run the same command again."
        if not path.parent.is_dir():
            advice = f"Make the folder {path.parent} first."
        raise SaveError(f"{path}: it cannot be written ({error.strerror or error!s}); {kept}. {advice}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _new_file(path: Path, suffix: str) -> Path:
    """Make an empty file beside ``path``; like every file of a program, it gets the rights that the umask leaves."""
    while True:
        name = f".{path.name}.{_OWNER}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"
        try:
            handle = os.open(path.with_name(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        os.close(handle)
        return path.with_name(name)


def clear_leftovers(folder: Path) -> None:
    """Remove what processes of this machine that were killed while they wrote have left in a folder."""
    pattern = re.compile(rf"^\..+\.{re.escape(_OWNER)}-(\d+)-")
    for path in folder.glob(".*") if folder.is_dir() else ():
        found = pattern.match(path.name)
        if found and not _is_alive(int(found[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(path: Path) -> None:
    """Make the disk hold a file, or a folder's list of files."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
