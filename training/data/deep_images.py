"""Images that Pillow would cut to 8 bits or read by halves: which ones, and how they are read or refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Values = npt.NDArray[Any]

_BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT = 258, 262, 277, 339
_WHITE_IS_ZERO, _GREY, _RGB = 0, 1, 2
_INSTALL = "Install what reads it: pip install 'lmnet[medical]'."
_SAVE = "Save it as a 16-bit PNG or TIFF, or with 8 bits."


@dataclass(frozen=True)
class Deep:
    """An image that was read without Pillow.

    Args:
        values: (H, W, C), not yet turned as an orientation tag says.
        alpha: (H, W) uint8; None if the file has none.
    """

    values: Values
    alpha: npt.NDArray[np.uint8] | None = None


def read_deep(picture: Image.Image, path: Path) -> Deep | None:
    """Return an opened image's values if Pillow would change them, else None.

    Raises:
        ValueError: Pillow would change them, and nothing here reads them.
    """
    if picture.format == "PNG":
        return _png(path)
    if picture.format == "TIFF":
        return read_tiff(path) if _is_deep_tiff(picture) else None
    bits = {"PPM": _bits_of_ppm, "JPEG2000": _bits_of_jpeg2000, "AVIF": _bits_of_avif}.get(str(picture.format))
    if bits is None or len(picture.getbands()) < 2:
        return None
    with path.open("rb") as file:
        head = file.read(65536)
    if bits(head) > 8:
        raise ValueError(f"it has more than 8 bits in each of its {len(picture.getbands())} channels. {_SAVE}")
    return None


def read_tiff(path: Path) -> Deep:
    """Return a TIFF of one page as tifffile reads it.

    Raises:
        ValueError: it cannot be read, holds several pages, or its colours are neither grey nor RGB.
    """
    try:
        import tifffile
    except ImportError:
        raise ValueError(f"it is a TIFF that Pillow cannot read without loss. {_INSTALL}") from None
    try:
        with tifffile.TiffFile(path) as file:
            series, page = file.series[0], file.pages.first
            axes, kind, extra = series.axes, int(page.photometric), tuple(int(each) for each in page.extrasamples)
            values = np.asarray(series.asarray()) if set(axes) <= set("YXSC") else None
            count = len(file.pages)
    except Exception as error:  # noqa: BLE001 - tifffile raises many kinds, for codecs that are absent too
        text = " ".join(str(error).split())[:300]
        raise ValueError(f"it is a TIFF that tifffile cannot read ({text}). Save it without compression.") from error
    if values is None or values.ndim not in (2, 3):
        raise ValueError(f"it holds {count} pages. Save each page as a file of its own.")
    if kind not in (_WHITE_IS_ZERO, _GREY, _RGB):
        raise ValueError(
            f"it is a TIFF whose colours are of the kind {kind} in {values.dtype}. Save it as grey or RGB."
        )
    if values.ndim == 3 and axes.index("Y") == 1:
        values = np.moveaxis(values, 0, 2)
    values = values if values.ndim == 3 else values[:, :, None]
    if kind == _WHITE_IS_ZERO and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    if kind == _RGB and extra and extra[0] in (1, 2) and values.dtype.kind == "u":
        alpha = values[..., 3].astype(np.float64) * (255 / np.iinfo(values.dtype).max)
        return Deep(values[..., :3], np.asarray(np.round(alpha), dtype=np.uint8))
    return Deep(values)


def turned(values: Values, orientation: int) -> Values:
    """Return pixels (H, W, ...) as viewers show them with an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _png(path: Path) -> Deep | None:
    with path.open("rb") as file:
        head = file.read(26)
    bits, kind = head[24], head[25]
    if bits != 16 or kind == 0:
        return None
    try:
        import torch
        from torchvision.io import ImageReadMode, decode_png

        content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        pixels = decode_png(content, mode=ImageReadMode.UNCHANGED).numpy()
    except (RuntimeError, OSError, ImportError, AttributeError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise ValueError(f"it has 16 bits in several channels and cannot be read ({text}). Save it again.") from error
    values = np.moveaxis(pixels, 0, 2)
    if kind == 2:
        return Deep(values)
    return Deep(values[..., :-1], np.asarray(values[..., -1] >> 8, dtype=np.uint8))


def _is_deep_tiff(picture: Image.Image) -> bool:
    tags: Any = getattr(picture, "tag_v2", {})
    bits, samples = max(tags.get(_BITS, (1,))), int(tags.get(_SAMPLES, 1))
    formats = tags.get(_FORMAT, (1,))
    is_signed = any(int(each) == 2 for each in formats)
    is_wide = bits == 32 and all(int(each) == 1 for each in formats)
    is_inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and bits > 8
    return (bits > 8 and samples > 1) or (is_signed and bits == 8) or is_wide or is_inverted


def _bits_of_ppm(head: bytes) -> int:
    words = []
    for line in head.split(b"\n"):
        words += line.partition(b"#")[0].split()
        if len(words) >= 4:
            break
    return int(words[3]).bit_length() if len(words) >= 4 and words[3].isdigit() else 8


def _bits_of_jpeg2000(head: bytes) -> int:
    start = head.find(b"\xff\x4f\xff\x51")
    return (head[start + 42] & 0x7F) + 1 if start >= 0 and start + 42 < len(head) else 8


def _bits_of_avif(head: bytes) -> int:
    start = head.find(b"av1C")
    return 10 if start >= 0 and start + 6 < len(head) and head[start + 6] & 0x40 else 8
