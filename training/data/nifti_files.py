"""NIfTI files by nibabel: checked to the end of the stream, and masks turned the way their image lies."""

from __future__ import annotations

import functools
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_INSTALL = "Install what reads it: pip install 'lmnet[medical]'."
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume are.

    Args:
        shape: number of voxels on each axis.
        affine: (4, 4), from voxel to millimetres.
        is_placed: whether the file says where it is; without that the affine is a guess.
        spacing: size of a voxel on the first three axes, in millimetres.
    """

    shape: tuple[int, ...]
    affine: npt.NDArray[Any]
    is_placed: bool
    spacing: tuple[float, ...]


def grid(path: Path) -> Grid:
    """Return where the voxels of a file are, from its header.

    Raises:
        ValueError: the file cannot be read, or nibabel is not installed.
    """
    return _grid(path, path.stat().st_mtime_ns)


def turned_grid(path: Path, like: Path | None) -> Grid:
    """Return the grid of a file as ``read`` gives it: its axes in the order and direction of ``like``'s.

    Raises:
        ValueError: a file cannot be read.
    """
    own = grid(path)
    turn = None if like is None else _turn(own, grid(like))
    if turn is None:
        return own
    from nibabel.orientations import inv_ornt_aff

    order = np.argsort(turn[:, 0]).astype(int)
    shape = _three(own.shape)
    affine = own.affine @ inv_ornt_aff(turn, shape)
    return Grid(
        tuple(shape[i] for i in order) + own.shape[3:], affine, own.is_placed, tuple(own.spacing[i] for i in order)
    )


def read(path: Path, index: int, like: Path | None = None) -> npt.NDArray[Any]:
    """Return a slice, (H, W) or (H, W, C): the plane of the first two axes, the first axis the columns.

    Args:
        path: the file.
        index: which slice.
        like: the axes are put in the order and direction of this file's.

    Raises:
        ValueError: the file is damaged, or holds values that no image has.
    """
    own = grid(path)
    turn = None if like is None or like == path else _turn(own, grid(like))
    stored = _values(path, path.stat().st_mtime_ns)
    try:
        if turn is not None:
            from nibabel.orientations import apply_orientation

            whole = np.asanyarray(stored)
            stored = apply_orientation(whole.reshape(*_three(whole.shape), *whole.shape[3:]), turn)
        plane = np.asarray(stored[:, :] if len(stored.shape) == 2 else stored[:, :, index])
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"it is damaged or cut short ({str(error).splitlines()[0][:120]}). Save it again.") from error
    if (
        plane.dtype.names is not None
    ):  # RGB24, RGBA32: a colour a voxel; what is transparent has its colour all the same
        plane = np.stack([plane[name] for name in plane.dtype.names[:3]], axis=-1)
    if plane.dtype.kind not in "buif":
        raise ValueError(f"its values are of the kind {plane.dtype}, which is no image. Save their magnitude.")
    if plane.ndim > 3:
        raise ValueError(f"it has {len(own.shape)} axes, {own.shape}. Save a volume with at most one axis of channels.")
    return plane.swapaxes(0, 1)


def misplaced(path: Path, image: Path) -> str | None:
    """Return how a file lies elsewhere than its image, for people, or None if it lies on it as far as both say.

    Raises:
        ValueError: a file cannot be read.
    """
    first, other = grid(image), turned_grid(path, image)
    if _three(first.shape) != _three(other.shape):
        return None  # the sizes are compared where the pixels are
    if not np.allclose(first.spacing, other.spacing, rtol=0.01):
        return f"its voxels are {_mm(other.spacing)} and those of its image {_mm(first.spacing)}"
    if not (first.is_placed and other.is_placed):
        return None
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in _three(first.shape)])).reshape(3, -1)
    ends = np.vstack([ends, np.ones(ends.shape[1])])
    distance = float(np.linalg.norm(((first.affine - other.affine) @ ends)[:3], axis=0).max())
    if distance > 0.5 * min(first.spacing):
        return f"its header places it up to {distance:.3g} mm away from its image"
    return None


def open_image(path: Path) -> Any:
    """Return nibabel's image of a file; a packed one is unpacked whole, so that its checksum is compared.

    Raises:
        ValueError: it is no NIfTI file, or it is damaged.
    """
    return _image(path, path.stat().st_mtime_ns)


def _mm(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{each:.4g}" for each in spacing) + " mm"


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    first, second, third = (*shape[:3], 1, 1)[:3]
    return first, second, third


def _turn(own: Grid, like: Grid) -> npt.NDArray[Any] | None:
    """Return how axes are swapped and turned; None if they need not be, or if a file does not say."""
    if not (own.is_placed and like.is_placed):
        return None
    from nibabel.orientations import io_orientation, ornt_transform

    start, end = io_orientation(own.affine), io_orientation(like.affine)
    if np.isnan(start).any() or np.isnan(end).any() or (start == end).all():
        return None
    return np.asarray(ornt_transform(start, end))


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _library() -> Any:
    try:
        import nibabel
    except ImportError:
        raise ValueError(f"it is a NIfTI file. {_INSTALL}") from None
    return nibabel


def _class_of(nibabel: Any, head: bytes) -> Any:
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    return nibabel.Nifti2Image if 540 in sizes else nibabel.Nifti1Image


@functools.lru_cache(maxsize=4096)
def _grid(path: Path, stamp: int) -> Grid:
    nibabel = _library()
    try:
        with gzip.open(path) if _is_packed(path) else path.open("rb") as file:
            head = file.read(540)
        kind = _class_of(nibabel, head)
        header = kind.header_class(head[: kind.header_class.sizeof_hdr])
        shape = tuple(int(n) for n in header.get_data_shape())
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        is_placed = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
        spacing = (*(abs(float(n)) for n in header.get_zooms()[:3]), 1.0, 1.0)[:3]
        if is_placed:
            spacing = tuple(float(n) for n in np.linalg.norm(affine[:3, :3], axis=0))
    except Exception as error:  # noqa: BLE001 - nibabel raises many kinds for junk
        raise ValueError(f"it is no NIfTI file that nibabel can read ({str(error)[:120]}).") from error
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"it is no NIfTI file of images: its shape is {shape}.")
    return Grid(shape, affine, is_placed, spacing)


@functools.lru_cache(maxsize=5)
def _image(path: Path, stamp: int) -> Any:
    nibabel = _library()
    content = b""
    if _is_packed(path):
        try:
            content = gzip.decompress(path.read_bytes())  # to the end of the stream, where the checksum is
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"it is damaged or cut short ({error}). Save it again.") from error
    elif path.suffix.lower() != ".nii":
        content = path.read_bytes()
    try:
        return _class_of(nibabel, content).from_stream(io.BytesIO(content)) if content else nibabel.load(path)
    except Exception as error:  # noqa: BLE001 - nibabel raises many kinds for junk
        raise ValueError(f"it is no NIfTI file that nibabel can read ({str(error)[:120]}).") from error


@functools.lru_cache(maxsize=5)
def _values(path: Path, stamp: int) -> Any:
    """The values of a volume: of a packed one an array, else nibabel's proxy, which reads the slices asked for."""
    image = _image(path, stamp)
    try:
        return np.asanyarray(image.dataobj) if _is_packed(path) else image.dataobj
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"it is damaged or cut short ({str(error).splitlines()[0][:120]}). Save it again.") from error
