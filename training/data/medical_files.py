"""NIfTI and DICOM files, slice by slice, read by nibabel and pydicom (extra ``medical``)."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
SUFFIXES = NIFTI + DICOM

_INSTALL = "Install what reads it: pip install 'lmnet[medical]'."
_LOCK = threading.Lock()


def is_medical(path: Path) -> bool:
    """Return whether the file's name ends like NIfTI's or DICOM's."""
    return path.name.lower().endswith(SUFFIXES)


def is_nifti(path: Path) -> bool:
    """Return whether the file's name ends like NIfTI's."""
    return path.name.lower().endswith(NIFTI)


def count_images(path: Path) -> int:
    """Return how many images (slices or frames) a file holds.

    Raises:
        ValueError: the file cannot be read, or the extra is not installed.
    """
    if is_nifti(path):
        shape = _nifti(path).shape
        return int(shape[2]) if len(shape) > 2 else 1
    return int(getattr(_dicom(path), "NumberOfFrames", 1) or 1)


def read_slice(path: Path, index: int | None = None) -> npt.NDArray[Any]:
    """Return one image, (H, W) or (H, W, C): rows downwards, columns to the right.

    A slice of NIfTI is the plane of the first two axes, its first axis the columns; a fourth axis holds channels.
    DICOM values are rescaled (slope and intercept). Where small values are shown bright (MONOCHROME1), the stored bits
    are inverted first, so that larger is brighter and one stored value means the same in every file.

    Args:
        path: the file.
        index: which slice or frame; None for the only one.

    Raises:
        ValueError: the file cannot be read, the extra is not installed, or there is no such slice.
    """
    count = count_images(path)
    if index is None and count > 1:
        raise ValueError(f"it holds {count} images. Name a slice, or put it into a data set.")
    if not 0 <= (index or 0) < count:
        raise ValueError(f"it holds {count} images, got index={index}.")
    with _LOCK:
        return _nifti_slice(path, index or 0) if is_nifti(path) else _dicom_frame(path, index or 0)


def write_mask_like(out: Path, source: Path, classes: npt.NDArray[np.uint8]) -> None:
    """Write the masks of a NIfTI file's slices as NIfTI with the source's affine and units.

    Args:
        out: the file to write, .nii or .nii.gz.
        source: the NIfTI file that was predicted.
        classes: (slices, H, W) uint8.

    Raises:
        ValueError: the source cannot be read.
    """
    import nibabel

    image = _nifti(source)
    volume = classes.transpose(2, 1, 0).reshape(image.shape[:3])
    mask = nibabel.nifti1.Nifti1Image(volume, image.affine)
    mask.header.set_xyzt_units(*image.header.get_xyzt_units())
    mask.header.set_zooms(image.header.get_zooms()[: volume.ndim])
    nibabel.save(mask, out)


@functools.lru_cache(maxsize=2)
def _volume(path: Path, stamp: int) -> npt.NDArray[Any]:
    """The values of a compressed volume: slices of .nii.gz cannot be read without what comes before them."""
    return np.asanyarray(_nifti(path).dataobj)


def _nifti_slice(path: Path, index: int) -> npt.NDArray[Any]:
    image = _nifti(path)
    try:
        if len(image.shape) <= 2:
            return np.asanyarray(image.dataobj).T
        is_packed = path.name.lower().endswith(".gz")
        stored = _volume(path, path.stat().st_mtime_ns) if is_packed else image.dataobj
        return np.asarray(stored[:, :, index]).swapaxes(0, 1)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"it is damaged or cut short ({str(error).splitlines()[0][:120]}). Save it again.") from error


def _nifti(path: Path) -> Any:
    try:
        import nibabel
    except ImportError:
        raise ValueError(f"it is a NIfTI file. {_INSTALL}") from None
    try:
        image: Any = nibabel.load(path)
    except Exception as error:  # noqa: BLE001 - nibabel raises many kinds for junk
        raise ValueError(f"it is no NIfTI file that nibabel can read ({str(error)[:120]}).") from error
    return image


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
    if "PixelData" not in data:
        raise ValueError("it is a DICOM file without an image.")
    return data


def _dicom_frame(path: Path, index: int) -> npt.NDArray[Any]:
    from pydicom.pixels import apply_modality_lut

    data = _dicom(path)
    try:
        values = np.asarray(data.pixel_array)
    except Exception as error:  # noqa: BLE001 - decoders of many libraries
        raise ValueError(f"its image cannot be decoded ({str(error).splitlines()[0][:120]}).") from error
    if int(getattr(data, "NumberOfFrames", 1) or 1) > 1:
        values = values[index]
    if values.ndim == 2:
        if getattr(data, "PhotometricInterpretation", "") == "MONOCHROME1":
            is_signed = bool(getattr(data, "PixelRepresentation", 0))
            values = (-1 if is_signed else 2 ** int(data.BitsStored) - 1) - values.astype(np.int32)
        values = apply_modality_lut(values, data)
    return values
