"""NIfTI and DICOM files, slice by slice, read by nibabel and pydicom (extra ``medical``)."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmnet.builder.files import written_aside
from lmnet.training.data import dicom_files, nifti_files
from lmnet.training.data.dicom_files import Frame

NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
SUFFIXES = NIFTI + DICOM

_LOCK = threading.Lock()


def is_medical(path: Path) -> bool:
    """Return whether a file is NIfTI or DICOM: by its name, or by its first bytes if its name says nothing."""
    return path.name.lower().endswith(SUFFIXES) or is_unnamed_dicom(path)


def is_nifti(path: Path) -> bool:
    """Return whether the file's name ends like NIfTI's."""
    return path.name.lower().endswith(NIFTI)


def is_unnamed_dicom(path: Path) -> bool:
    """Return whether a file whose name has no ending, or a number or .IMA as its ending, is DICOM."""
    ending = path.suffix[1:]
    return (not ending or ending.isdecimal() or ending.lower() == "ima") and _is_dicom(path)


@functools.lru_cache(maxsize=65536)
def _is_dicom(path: Path) -> bool:
    return path.is_file() and path.name.upper() != "DICOMDIR" and dicom_files.is_dicom_inside(path)


def count_images(path: Path, like: Path | None = None) -> int:
    """Return how many images (slices or frames) a file holds.

    Args:
        path: the file.
        like: count the slices of a NIfTI file in the direction of this file's.

    Raises:
        ValueError: the file cannot be read, or the extra is not installed.
    """
    if is_nifti(path):
        shape = nifti_files.turned_grid(path, _reference(path, like)).shape
        return shape[2] if len(shape) > 2 else 1
    return dicom_files.count_frames(path)


def read_frame(path: Path, index: int | None = None, like: Path | None = None) -> Frame:
    """Return one image: rows downwards, columns to the right.

    A slice of NIfTI is the plane of the first two axes, its first axis the columns; a fourth axis holds channels.
    DICOM values are rescaled (slope and intercept). Where small values are shown bright (MONOCHROME1), the stored bits
    are inverted first, so that larger is brighter and one stored value means the same in every file.

    Args:
        path: the file.
        index: which slice or frame; None for the only one.
        like: the image that a NIfTI mask belongs to: the mask is turned as its header and the image's say.

    Raises:
        ValueError: the file cannot be read, the extra is not installed, or there is no such slice.
    """
    count = count_images(path, like)
    if index is None and count > 1:
        raise ValueError(f"it holds {count} images. Name a slice, or put it into a data set.")
    if not 0 <= (index or 0) < count:
        raise ValueError(f"it holds {count} images, got index={index}.")
    with _LOCK:
        if is_nifti(path):
            return Frame(nifti_files.read(path, index or 0, _reference(path, like)))
        return dicom_files.read_frame(path, index or 0)


def misplaced(path: Path, image: Path) -> str | None:
    """Return how a mask's header places it elsewhere than its image's header, for people; None if they agree.

    Raises:
        ValueError: a file cannot be read, or one is NIfTI and the other DICOM, whose rows may run another way.
    """
    kinds = {is_nifti(each) for each in (path, image) if is_medical(each)}
    if not (is_medical(path) and is_medical(image)):
        return None
    if len(kinds) > 1:
        return "it is NIfTI and its image DICOM, or the other way, whose rows may run another way. Convert one of them"
    return nifti_files.misplaced(path, image) if is_nifti(path) else dicom_files.misplaced(path, image)


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

    image = nifti_files.open_image(source)
    volume = classes.transpose(2, 1, 0).reshape(image.shape[:3])
    mask = nibabel.nifti1.Nifti1Image(volume, image.affine)
    mask.header.set_xyzt_units(*image.header.get_xyzt_units())
    mask.header.set_zooms(image.header.get_zooms()[: volume.ndim])
    with written_aside(out, suffix=".nii.gz" if out.name.lower().endswith(".gz") else ".nii") as temporary:
        nibabel.save(mask, temporary)


def _reference(path: Path, like: Path | None) -> Path | None:
    return like if like is not None and like != path and is_nifti(like) else None
