"""Shipped weights whose file is not in the package: found in a clone, in the cache, or fetched; pinned by SHA-256.

``zoo/weights.json`` names each file of weights with its SHA-256, its size and its licence; it is written by
``benchmarks/ship_weights.py``. A file with another sum is never used and never kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import json
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

from lmnet.builder.files import clear_leftovers, written_aside
from lmnet.builder.notices import notice

PINS = "weights.json"
PLACE = "LMNET_WEIGHTS_URL"
HUB = "hf://"
_TIMEOUT_S = 10
_CHUNK = 1 << 18
_SAY_EVERY_S = 5


class FetchError(ValueError):
    """A file that could not be fetched, or that is another than the pinned one."""


class _Answered(FetchError):
    """A server answered, but not with the file."""


@dataclass(frozen=True)
class Pin:
    """A file of shipped weights.

    Args:
        sha256: of the file.
        size: bytes of the file.
        data: the data set that they were trained on.
        licence: what the weights may be used for.
    """

    sha256: str
    size: int
    data: str
    licence: str


@lru_cache(maxsize=1)
def pins() -> dict[str, Pin]:
    """Return what is pinned of each name (``lmnet_xs``, ``lmnet_xs@busi``)."""
    text = importlib.resources.files("lmnet.zoo").joinpath(PINS).read_text(encoding="utf-8")
    return {name: Pin(**row) for name, row in json.loads(text).items()}


def file_name(name: str) -> str:
    """Return the name of the file with a net's weights."""
    return f"{name}.safetensors"


def show_licence(name: str) -> None:
    """Print the licence of shipped weights, once in a command."""
    if name in pins():
        notice(f"weights: {name}; licence: {pins()[name].licence}")


def licence_of(path: Path) -> str | None:
    """Return the licence of a file of weights, if it is one that lmnet ships."""
    pin = pins().get(path.stem)
    return pin.licence if pin is not None and _is_pinned(path, pin) else None


def find_weights(name: str, *, url: str | None = None) -> Path:
    """Return the file of pinned weights that are not in the package.

    Looked for in this order: a clone of lmnet's repository (the one that the package was installed from, or one that
    holds the package or the working folder), the cache (``$LMNET_CACHE``, else ``$XDG_CACHE_HOME/lmnet``, else
    ``~/.cache/lmnet``), and then the place that ``url`` names, from which the file is fetched into the cache.

    Args:
        name: a name that is pinned.
        url: ``https://host/folder``, ``file:///folder``, ``hf://owner/name`` or ``hf://owner/name@revision`` (Hugging
            Face's hub); None for the environment variable LMNET_WEIGHTS_URL.

    Raises:
        FetchError: the file is at none of these places, or is another than the pinned one.
    """
    pin, file = pins()[name], file_name(name)
    for folder in _clones():
        path = folder / "zoo" / file
        if _is_pinned(path, pin):
            return path
    from lmnet.blocks.cache_folder import cache_folder  # late: lmnet.blocks imports torch

    cache = cache_folder()
    kept = cache / "weights" / file if cache is not None else None
    if kept is not None and kept.exists():
        if _is_pinned(kept, pin):
            return kept
        notice(f"{kept}: it is not the pinned file of weights (its SHA-256 is another). It is fetched again.")
    place = url or os.environ.get(PLACE, "")
    target = kept or _package_folder() / file
    try:
        if not place:
            raise FetchError(f"{PLACE} is not set")
        _fetch(place, target, pin)
    except FetchError as err:
        raise FetchError(
            f"{name}: its weights are not in the package, and they cannot be fetched ({err}). Put {file} of lmnet's "
            f"zoo/ ({pin.size / 1e6:.1f} MB) into {target.parent}, or set {PLACE} to a folder, web address or "
            f"{HUB}owner/name that has it."
        ) from err
    return target


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _package_folder() -> Path:
    return Path(str(importlib.resources.files("lmnet.zoo")))


def _clones() -> Iterator[Path]:
    """Yield the folders of clones of lmnet's repository that this installation has to do with."""
    with contextlib.suppress(OSError, ValueError, metadata.PackageNotFoundError):
        installed = json.loads(metadata.distribution("lmnet").read_text("direct_url.json") or "{}")
        source = urllib.parse.urlsplit(str(installed.get("url", "")))
        if source.scheme == "file":
            yield Path(urllib.request.url2pathname(source.path))
    starts = [_package_folder()]
    with contextlib.suppress(OSError):  # a working folder that was removed
        starts.append(Path.cwd() / "here")
    for start in starts:
        yield from (folder for folder in start.parents if (folder / "zoo" / PINS).is_file())


def _is_pinned(path: Path, pin: Pin) -> bool:
    """Return whether a file is there and is the pinned one."""
    try:
        if not path.is_file() or path.stat().st_size != pin.size:
            return False
        return sha256_of(path) == pin.sha256
    except OSError:
        return False


def _fetch(place: str, target: Path, pin: Pin) -> None:
    """Fetch a file; it is at ``target`` whole and with the right sum, or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise FetchError(f"{target.parent} cannot be made: {err.strerror}") from err
    clear_leftovers(target.parent)
    notice(f"fetching {target.name} ({pin.size / 1e6:.1f} MB) from {place}")
    with written_aside(target) as temporary, temporary.open("wb") as file, _opened(place, target.name) as source:
        digest, done, shown = hashlib.sha256(), 0, time.monotonic()
        while done <= pin.size and (chunk := _read(source, place)):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if time.monotonic() - shown > _SAY_EVERY_S:
                shown = time.monotonic()
                notice(f"{target.name}: {done / 1e6:.1f} of {pin.size / 1e6:.1f} MB")
        if done < pin.size:
            raise FetchError(f"{place}: {target.name} ended after {done:,} of {pin.size:,} bytes")
        if digest.hexdigest() != pin.sha256:
            raise FetchError(f"{place}: {target.name} there is another file than the pinned one (by its SHA-256)")


def _read(source: BinaryIO, place: str) -> bytes:
    try:
        return source.read(_CHUNK)
    except (OSError, HTTPException) as err:
        raise FetchError(f"{place}: {_reason(err)}") from err


@contextlib.contextmanager
def _opened(place: str, file: str) -> Iterator[BinaryIO]:
    """Open a file at a place for reading.

    Raises:
        FetchError: there is no such file, or nobody answers.
    """
    if place.startswith(HUB):
        with _opened_on_hub(place.removeprefix(HUB), file) as source:
            yield source
        return
    scheme = place.partition("://")[0] if "://" in place else ""
    if not scheme:
        place = Path(place).resolve().as_uri()
    elif scheme not in ("http", "https", "file"):
        raise FetchError(f"{place} is no folder and no file://, http://, https:// or {HUB} address")
    with _opened_address(f"{place.rstrip('/')}/{urllib.parse.quote(file)}") as source:
        yield source


def _opened_address(address: str) -> BinaryIO:
    try:
        source: BinaryIO = urllib.request.urlopen(address, timeout=_TIMEOUT_S)
    except (OSError, HTTPException, ValueError) as err:  # ValueError: an address that urllib cannot read
        kind = _Answered if isinstance(err, urllib.error.HTTPError) else FetchError
        raise kind(f"{address}: {_reason(err)}") from err
    return source


@contextlib.contextmanager
def _opened_on_hub(name: str, file: str) -> Iterator[BinaryIO]:
    try:
        import huggingface_hub
    except ImportError as err:
        raise FetchError(f"{HUB}{name} needs the package huggingface_hub: pip install huggingface_hub") from err
    repository, _, revision = name.strip("/").partition("@")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    with contextlib.suppress(_Answered):
        _opened_address(endpoint).close()  # the package itself tries for half a minute if nobody answers
    folder = tempfile.mkdtemp(prefix="lmnet-")
    try:
        try:
            path = huggingface_hub.hf_hub_download(
                repository, file, revision=revision or None, local_dir=folder, endpoint=endpoint
            )
        except Exception as err:  # noqa: BLE001 - its errors share no class: of the network, of names, of rights
            raise FetchError(f"{HUB}{name}: {_reason(err)}") from err
        with open(path, "rb") as source:
            yield source
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reason(err: BaseException) -> str:
    cause = getattr(err, "reason", None) or err
    text = str(getattr(cause, "strerror", None) or cause).strip() or type(err).__name__
    return f"{err.code} {text}" if isinstance(err, urllib.error.HTTPError) else text.splitlines()[0]
