"""Exported files that are kept, by hash, so that the same net is exported once."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from lmnet import __version__
from lmnet.blocks.cache_folder import cache_folder
from lmnet.builder.graph import GraphModel
from lmnet.builder.weights import checksum
from lmnet.training.export.formats import Say, export_model

KEPT = 24
"""Most files in the cache; the ones that were not used for longest go first."""


@contextlib.contextmanager
def exported_file(model: GraphModel, *, say: Say = lambda text: None) -> Iterator[Path]:
    """Give the path of a net's .onnx file: one that was kept, or a new one, which is kept if there is a cache folder.

    Args:
        model: the net, on the CPU.
        say: gets a line for each phase.

    Raises:
        ImportError: the packages for ONNX are missing.
        RuntimeError: the exported file's output differs from the net's.
    """
    folder = _folder()
    if folder is None:
        with tempfile.TemporaryDirectory() as aside:
            path = Path(aside) / "net.onnx"
            export_model(model, path, model.plan.padded_size, say=say)
            yield path
        return
    path = folder / f"{_key(model)}.onnx"
    if _is_whole(path):
        with contextlib.suppress(OSError):
            path.touch()
    else:
        export_model(model, path, model.plan.padded_size, say=say)
        with contextlib.suppress(OSError):
            path.with_suffix(".sha256").write_text(_digest(path))
            _drop_old(folder)
    yield path


def _folder() -> Path | None:
    folder = cache_folder()
    try:
        if folder is not None:
            folder = folder / "exports"
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError:  # a cache that cannot be written costs time alone
        return None
    return folder


def _key(model: GraphModel) -> str:
    """Return what a file depends on, hashed: the net, its weights, and the versions that write it."""
    weights = checksum(model.state_dict(), {})
    size = "x".join(map(str, model.plan.padded_size))
    parts = (model.hash, model.spec.dump(), weights, size, torch.__version__, __version__)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_whole(path: Path) -> bool:
    try:
        return path.with_suffix(".sha256").read_text() == _digest(path)
    except OSError:
        return False


def _drop_old(folder: Path) -> None:
    files = sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[KEPT:]:
        path.unlink(missing_ok=True)
        path.with_suffix(".sha256").unlink(missing_ok=True)
