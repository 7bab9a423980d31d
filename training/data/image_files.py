"""The only reader of image files: one image as an array of the file's own numbers, upright as a viewer shows it."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from lmnet.training.data import medical_files
from lmnet.training.data.deep_images import Deep, read_deep, read_tiff, turned

Values = npt.NDArray[Any]

SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("avif", "bmp", "dib", "gif", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg"),
        *("pbm", "pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
    )
)
"""The file name endings that Pillow reads, in lower case; ``medical_files.SUFFIXES`` are read too."""

MAX_PIXELS_VARIABLE = "LMNET_MAX_PIXELS"
MAX_PIXELS = 64 * 2**20

_PAGED = ("TIFF", "GIF", "PNG", "WEBP", "AVIF")
_LOCK = threading.Lock()


@dataclass(frozen=True)
class ImageFile:
    """One image, or one mask, as it is stored.

    Args:
        paths: the file; or several, which hold one channel each (nnU-Net's NAME_0000.png, NAME_0001.png).
        index: which slice of a volume; None for a file that holds one image.
        like: for a mask, its image's file. A NIfTI mask is turned as both headers say.
    """

    paths: tuple[Path, ...]
    index: int | None = None
    like: Path | None = None

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]


@dataclass(frozen=True)
class RawImage:
    """The numbers of an image file.

    Args:
        values: (H, W, C) in the file's own type; a palette image holds its indices, (H, W, 1).
        is_lossy: whether values near an edge may be off (JPEG).
        palette: (N, 3) uint8 colours of the indices; None if the file has none.
        alpha: (H, W) uint8; None if the file has none.
        is_turned: whether the file's orientation tag asked to turn or mirror it.
        is_padding: (H, W): pixels that the file itself says were never measured; None if it says nothing.
    """

    values: Values
    is_lossy: bool = False
    palette: npt.NDArray[np.uint8] | None = None
    alpha: npt.NDArray[np.uint8] | None = None
    is_turned: bool = False
    is_padding: npt.NDArray[np.bool_] | None = None


def is_image(path: Path) -> bool:
    """Return whether the file's name ends like an image's that can be read."""
    return path.suffix.lower() in SUFFIXES or medical_files.is_medical(path)


def file_stem(path: Path) -> str:
    """Return a file's name without its ending; ``.nii.gz`` is one ending, and the number of 1.2.840 is none."""
    if path.suffix[1:].isdecimal() and medical_files.is_unnamed_dicom(path):
        return path.name
    return path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem


def read_raw(file: ImageFile) -> RawImage:
    """Read an image.

    Raises:
        ValueError: a file is absent, no regular file, no image, cut short, too large, or holds several pages; or the
            channels of one image differ in size.
    """
    parts = [_read_file(path, file.index, file.like or file.path) for path in file.paths]
    if len(parts) == 1:
        return parts[0]
    sizes = {part.values.shape[:2] for part in parts}
    if len(sizes) > 1:
        listed = ", ".join(
            f"{path.name} {size_text(part.values)}" for path, part in zip(file.paths, parts, strict=True)
        )
        raise ValueError(f"the channels of one image differ in size: {listed}.")
    return RawImage(np.concatenate([part.values for part in parts], axis=2), any(part.is_lossy for part in parts))


def read_image(file: ImageFile) -> RawImage:
    """Read an image to look at: ``read_raw`` with a palette's colours instead of its indices, and no alpha.

    Raises:
        ValueError: see ``read_raw``.
    """
    raw = read_raw(file)
    if raw.palette is None:
        return RawImage(raw.values, raw.is_lossy, is_turned=raw.is_turned, is_padding=raw.is_padding)
    colors = raw.palette[np.minimum(raw.values[..., 0], len(raw.palette) - 1)]
    return RawImage(colors, raw.is_lossy, is_turned=raw.is_turned)


def size_text(values: Values) -> str:
    """Return width x height of an array (H, W, ...), for messages."""
    return f"{values.shape[1]}x{values.shape[0]}"


def _read_file(path: Path, index: int | None, like: Path) -> RawImage:
    if not path.exists():
        raise ValueError("there is no such file.")
    if not path.is_file():
        raise ValueError("it is not a regular file.")
    if medical_files.is_medical(path):
        frame = medical_files.read_frame(path, index, like)
        values = frame.values if frame.values.ndim == 3 else frame.values[:, :, None]
        return RawImage(values, palette=frame.palette, is_padding=frame.is_padding)
    with _decoded(path) as (picture, deep, orientation):
        if deep is not None:
            alpha = None if deep.alpha is None else turned(deep.alpha, orientation)
            return RawImage(turned(deep.values, orientation), alpha=alpha, is_turned=orientation != 1)
        return _raw(picture, orientation)


class _Quiet:
    """How many threads are reading, and the filters of warnings as they were before the first."""

    readers = 0
    before: warnings.catch_warnings[None] | None = None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore all warnings; their filters are one for all threads: the first sets them, the last puts them back."""
    with _LOCK:
        if not _Quiet.readers:
            _Quiet.before = warnings.catch_warnings()
            _Quiet.before.__enter__()
            warnings.simplefilter("ignore")
        _Quiet.readers += 1
    try:
        yield
    finally:
        with _LOCK:
            _Quiet.readers -= 1
            if not _Quiet.readers and _Quiet.before is not None:
                _Quiet.before.__exit__(None, None, None)


@contextmanager
def _decoded(path: Path) -> Iterator[tuple[Image.Image, Deep | None, int]]:
    """Open and decode, so that a truncated file fails here; nothing is decoded that is too large.

    Gives Pillow's image, the values instead if Pillow would change them, and the orientation that the file asks for.
    """
    deep, orientation = None, 1
    try:
        with path.open("rb") as file, without_warnings():  # Pillow's remarks about odd metadata
            picture = _opened(file)
            _check_size(picture)
            frames = getattr(picture, "n_frames", 1) if picture.format in _PAGED else 1
            if frames > 1:
                raise ValueError(f"it holds {frames} pages. Save each page as a file of its own.")
            orientation = picture.getexif().get(0x0112, 1)
            orientation = orientation if orientation in range(2, 9) else 1
            deep = read_deep(picture, path)
            if deep is None:
                picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError) as error:
        picture = Image.new("L", (1, 1))
        deep = _without_pillow(path, error)
    yield picture, deep, orientation


def _opened(file: Any) -> Image.Image:
    """Open without Pillow's own limit on pixels, which is a global of the process; ours is checked instead."""
    with _LOCK:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _check_size(picture: Image.Image) -> None:
    text = os.environ.get(MAX_PIXELS_VARIABLE, str(MAX_PIXELS))
    limit = int(text) if text.isdecimal() and text.isascii() else MAX_PIXELS
    width, height = picture.size
    if width * height > limit:
        raise ValueError(
            f"it has {width}x{height} pixels, more than {limit}. Make it smaller, or set {MAX_PIXELS_VARIABLE}="
            f"{width * height}."
        )


def _without_pillow(path: Path, error: Exception) -> Deep:
    """Return what tifffile reads if Pillow cannot, such as float values in several channels."""
    is_unknown = isinstance(error, UnidentifiedImageError)
    try:
        if _is_tiff(path):
            return read_tiff(path)
    except ValueError:
        if is_unknown:
            raise
    if is_unknown:
        raise ValueError("it is no image that Pillow can read.") from None
    raise ValueError(f"it is damaged or cut short ({error}). Save it again.") from error


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _raw(picture: Image.Image, orientation: int) -> RawImage:
    is_lossy = picture.format in ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000") and not picture.info.get("lossless")
    is_turned = orientation != 1
    upright = ImageOps.exif_transpose(picture) if is_turned else picture  # a TIFF is upright already, without the tag
    palette = alpha = None
    if upright.mode == "P":
        colours = np.asarray(upright.getpalette("RGB"), dtype=np.uint8)
        palette = colours.reshape(-1, 3)
        if "transparency" in upright.info:
            alpha = np.asarray(upright.convert("RGBA"))[..., 3]
    elif upright.mode == "1":
        upright = upright.convert("L")
    elif upright.mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        colour = upright.convert("RGBA")
        alpha = np.asarray(colour)[..., 3]
        upright = colour.convert("RGB")  # not convert("L"): a transparent mask still has its values in the colours
    elif upright.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        upright = ImageCms.profileToProfile(upright, lab, rgb, outputMode="RGB") or upright
    elif not (upright.mode in ("L", "I", "F", "RGB", "RGBX") or upright.mode.startswith("I;16")):
        upright = upright.convert("RGB")
    values = np.asarray(upright)
    if values.dtype.byteorder == ">":
        values = values.astype(values.dtype.newbyteorder("="))
    return RawImage(values if values.ndim == 3 else values[:, :, None], is_lossy, palette, alpha, is_turned)
