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
from PIL import Image, ImageOps, UnidentifiedImageError

from lmnet.training.data import medical_files

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
    """

    paths: tuple[Path, ...]
    index: int | None = None

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
        palette: (N, 3) uint8 colours of the indices; None where the file has none.
        alpha: (H, W) uint8; None where the file has none.
        is_turned: whether the file's orientation tag asked to turn or mirror it.
    """

    values: Values
    is_lossy: bool = False
    palette: npt.NDArray[np.uint8] | None = None
    alpha: npt.NDArray[np.uint8] | None = None
    is_turned: bool = False


def is_image(path: Path) -> bool:
    """Return whether the file's name ends like an image's that can be read."""
    return path.suffix.lower() in SUFFIXES or medical_files.is_medical(path)


def file_stem(path: Path) -> str:
    """Return a file's name without its ending; ``.nii.gz`` is one ending."""
    return path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem


def read_raw(file: ImageFile) -> RawImage:
    """Read an image.

    Raises:
        ValueError: a file is absent, no regular file, no image, cut short, too large, or holds several pages; or the
            channels of one image differ in size.
    """
    parts = [_read_file(path, file.index) for path in file.paths]
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
        return RawImage(raw.values, raw.is_lossy, is_turned=raw.is_turned)
    colors = raw.palette[np.minimum(raw.values[..., 0], len(raw.palette) - 1)]
    return RawImage(colors, raw.is_lossy, is_turned=raw.is_turned)


def size_text(values: Values) -> str:
    """Return width x height of an array (H, W, ...), for messages."""
    return f"{values.shape[1]}x{values.shape[0]}"


def _read_file(path: Path, index: int | None) -> RawImage:
    if not path.exists():
        raise ValueError("there is no such file.")
    if not path.is_file():
        raise ValueError("it is not a regular file.")
    if medical_files.is_medical(path):
        values = medical_files.read_slice(path, index)
        return RawImage(values if values.ndim == 3 else values[:, :, None])
    with _decoded(path) as picture:
        return _raw(picture)


@contextmanager
def _decoded(path: Path) -> Iterator[Image.Image]:
    """Open and decode, so that a truncated file fails here; nothing is decoded that is too large."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks about odd metadata
            picture = _opened(file)
            _check_size(picture)
            frames = getattr(picture, "n_frames", 1) if picture.format in _PAGED else 1
            if frames > 1:
                raise ValueError(f"it holds {frames} pages. Save each page as a file of its own.")
            picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError) as error:
        values = _with_tifffile(path)
        if values is None and isinstance(error, UnidentifiedImageError):
            raise ValueError("it is no image that Pillow can read.") from None
        if values is None:
            raise ValueError(f"it is damaged or cut short ({error}). Save it again.") from error
        picture = Image.new("L", (1, 1))
        picture.info["values"] = values
    yield picture


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


def _with_tifffile(path: Path) -> Values | None:
    """Return what tifffile reads where Pillow could not (float or 16-bit images of several channels)."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        import tifffile

        values = np.asarray(tifffile.imread(path))
    except Exception:  # noqa: BLE001 - not installed, or it cannot read the file either: Pillow's error is reported
        return None
    if values.ndim == 3 and values.shape[0] < min(values.shape[1:]):
        values = np.moveaxis(values, 0, 2)  # channels first
    return values if values.ndim == 3 else values[:, :, None] if values.ndim == 2 else None


def _raw(picture: Image.Image) -> RawImage:
    if "values" in picture.info:
        return RawImage(picture.info["values"])
    is_lossy = picture.format in ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000") and not picture.info.get("lossless")
    is_turned = picture.getexif().get(0x0112, 1) not in (0, 1)
    upright = ImageOps.exif_transpose(picture) if is_turned else picture
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
    elif not upright.mode.startswith(("L", "I", "F", "RGB")):
        upright = upright.convert("RGB")
    values = np.asarray(upright)
    if values.dtype.byteorder == ">":
        values = values.astype(values.dtype.newbyteorder("="))
    return RawImage(values if values.ndim == 3 else values[:, :, None], is_lossy, palette, alpha, is_turned)
