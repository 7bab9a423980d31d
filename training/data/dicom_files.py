"""DICOM files by pydicom: the values of a frame as the file says they are meant, or its kind refused by name."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_INSTALL = "Install what reads it: pip install 'lmnet[medical]'."
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66"
_GREY, _COLORS = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422")
_COMPRESSED_ONLY = ("YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class Frame:
    """One image of a DICOM file.

    Args:
        values: (H, W) or (H, W, C); indices if there is a palette.
        palette: (N, 3) colours of the indices.
        is_padding: (H, W): which pixels were never measured; None if the file does not say.
    """

    values: npt.NDArray[Any]
    palette: npt.NDArray[Any] | None = None
    is_padding: npt.NDArray[np.bool_] | None = None


def is_dicom_inside(path: Path) -> bool:
    """Return whether a file begins as DICOM files do, whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def count_frames(path: Path) -> int:
    """Return how many images a file holds.

    Raises:
        ValueError: the file cannot be read, holds none, or pydicom is not installed.
    """
    return int(getattr(_dicom(path), "NumberOfFrames", 1) or 1)


def read_frame(path: Path, index: int) -> Frame:
    """Return one image: larger values are brighter, and they are rescaled as the file says (slope and intercept).

    Raises:
        ValueError: the file cannot be read or decoded, or its kind of image is none that is read.
    """
    data = _dicom(path)
    kind, samples = str(getattr(data, "PhotometricInterpretation", "")), int(getattr(data, "SamplesPerPixel", 1))
    _check_kind(data, kind, samples)
    stored = _decoded(data, index)
    if kind == "PALETTE COLOR":
        return _with_palette(stored, data)
    if samples > 1:
        return Frame(stored)
    from pydicom.pixels import apply_modality_lut

    padding = _padding(stored, data)
    values = stored
    if kind == "MONOCHROME1":
        is_signed = bool(getattr(data, "PixelRepresentation", 0))
        wide = np.int32 if int(data.BitsAllocated) < 32 else np.int64
        values = (-1 if is_signed else 2 ** int(data.BitsStored) - 1) - values.astype(wide)
    return Frame(apply_modality_lut(values, _rescaling(data, index)), is_padding=padding)


def misplaced(path: Path, image: Path) -> str | None:
    """Return how a file lies elsewhere than its image, for people; None if it lies on it, or if a file does not say.

    Raises:
        ValueError: a file cannot be read.
    """
    mask, other = _dicom(path), _dicom(image)

    def both(tag: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        first, second = (np.array([float(n) for n in getattr(each, tag, None) or ()]) for each in (mask, other))
        return (first, second) if len(first) and len(first) == len(second) else None

    spacing, turned, place = both("PixelSpacing"), both("ImageOrientationPatient"), both("ImagePositionPatient")
    if spacing and not np.allclose(spacing[0], spacing[1], rtol=0.01):
        shown = [" x ".join(f"{number:.4g}" for number in each) for each in spacing]
        return f"its pixels are {shown[0]} mm and those of its image {shown[1]} mm"
    if turned and not np.allclose(turned[0], turned[1], atol=1e-2):
        return "its header turns it another way than its image (ImageOrientationPatient)"
    if place and spacing:
        distance = float(np.linalg.norm(place[0] - place[1]))
        if distance > 0.5 * float(spacing[1].min()):
            return f"its header places it {distance:.3g} mm away from its image (ImagePositionPatient)"
    return None


def _check_kind(data: Any, kind: str, samples: int) -> None:
    is_packed = bool(data.file_meta.TransferSyntaxUID.is_compressed)
    wanted = 3 if kind in (*_COLORS, *_COMPRESSED_ONLY) else 1
    known = kind in (*_GREY, *_COLORS, "PALETTE COLOR") or (kind in _COMPRESSED_ONLY and is_packed)
    if not known or samples != wanted:
        raise ValueError(
            f"it is a DICOM image of the kind {kind or 'without PhotometricInterpretation'} with {samples} "
            f"value{'s' if samples > 1 else ''} a pixel, which is not read. Save it as MONOCHROME2 or RGB, or as PNG."
        )


def _decoded(data: Any, index: int) -> npt.NDArray[Any]:
    from pydicom.pixels import pixel_array

    try:
        values = np.asarray(pixel_array(data, index=index))
    except Exception as error:  # noqa: BLE001 - decoders of many libraries; what they need is in the lines after the first
        lines = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
        raise ValueError(f"its image cannot be decoded ({lines[:400]}).") from error
    return values


def _with_palette(stored: npt.NDArray[Any], data: Any) -> Frame:
    from pydicom.pixels import apply_color_lut

    try:
        count, first, bits = (int(each) for each in data.RedPaletteColorLookupTableDescriptor)
        count = count or 2**16
        table = np.asarray(apply_color_lut(np.arange(first, first + count), data))[..., :3].reshape(-1, 3)
    except Exception as error:  # noqa: BLE001 - a table that is absent or cut raises many kinds
        raise ValueError(f"its palette cannot be read ({str(error)[:120]}).") from error
    if bits > 8:
        low, high = table & 255, table >> 8
        if low.any() and (low != high).any() and (low != 255).any():
            raise ValueError(f"its palette has colours of {bits} bits. Save it as RGB of 8 bits.")
        table = high
    return Frame(np.clip(stored.astype(np.int64) - first, 0, count - 1), table.astype(np.uint8))


def _padding(stored: npt.NDArray[Any], data: Any) -> npt.NDArray[np.bool_] | None:
    first = getattr(data, "PixelPaddingValue", None)
    if first is None:
        return None
    last = getattr(data, "PixelPaddingRangeLimit", first)
    first, last = sorted((int(first), int(last)))
    return np.asarray((stored >= first) & (stored <= last))


def _rescaling(data: Any, index: int) -> Any:
    """Return where slope and intercept of a frame are: in the file's head, or frame by frame."""
    frames = getattr(data, "PerFrameFunctionalGroupsSequence", None)
    shared = getattr(data, "SharedFunctionalGroupsSequence", None)
    for groups in (frames[index] if frames else None, shared[0] if shared else None):
        found = getattr(groups, "PixelValueTransformationSequence", None) if groups is not None else None
        if found:
            return found[0]
    return data


@functools.lru_cache(maxsize=2)
def _dataset(path: Path, stamp: int) -> Any:
    import pydicom

    return pydicom.dcmread(path)


def _dicom(path: Path) -> Any:
    try:
        import pydicom
    except ImportError:
        raise ValueError(f"it is a DICOM file. {_INSTALL}") from None
    try:
        data = _dataset(path, path.stat().st_mtime_ns)
    except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"it is no DICOM file that pydicom can read ({str(error)[:120]}).") from error
    kind = getattr(data, "SOPClassUID", "")
    if str(kind).startswith(_SEGMENTATION):
        raise ValueError(
            f"it is a {getattr(kind, 'name', 'segmentation')} file (DICOM-SEG), whose frames are sorted by "
            "segment and not by slice. Convert it to NIfTI or PNG (dcmqi's segimage2itkimage, or highdicom)."
        )
    if not any(tag in data for tag in _PIXELS):
        raise ValueError(f"it is a DICOM file without an image ({getattr(kind, 'name', '') or 'of an unknown kind'}).")
    return data
