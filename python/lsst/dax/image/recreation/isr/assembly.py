"""Assembly: the amplifiers' data put together, without prescans and overscans."""

from __future__ import annotations

__all__ = ("assemble",)

import dataclasses

import numpy as np
import numpy.typing as npt

from lsst.images import Box
from lsst.images.cameras import Amplifier

from ...errors import InputDataError
from ._boxes import are_disjoint, check_inside
from ._threads import map_threads
from .exposure import IsrExposure, box_slices, raw_geometry


def assemble(exposure: IsrExposure, *, threads: int = 1) -> IsrExposure:
    """Copy the data of every amplifier into its place in the trimmed detector.

    Parameters
    ----------
    exposure
        Untrimmed exposure.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    assembled
        Exposure of the detector's bounding box, without prescans and overscans; no arithmetic is done on the
        image, mask and variance.

    Raises
    ------
    InputDataError
        Raised if the exposure is assembled already, or if the amplifiers' boxes differ in size before
        and after, overlap, do not fill the detector, or are outside of an image.

    Notes
    -----
    The geometry of the assembled raw says (``flip_x``, ``flip_y``) whether the columns or rows of an
    amplifier are to be reversed.  The cameras of the observatory need no flips here, since the raw was put
    together with them.
    """
    if exposure.is_assembled:
        raise InputDataError(
            f"Exposure {exposure.info.exposure} of {exposure.detector.name} is assembled already."
        )
    amplifiers = exposure.detector.amplifiers
    shape = _check_tiling(exposure)
    for amplifier in amplifiers:
        raw = raw_geometry(amplifier)
        check_inside(exposure, amplifier, raw.data_bbox)
        if _size(raw.data_bbox) != _size(amplifier.bbox):
            raise InputDataError(
                f"The data of amplifier {amplifier.name} have {_size(raw.data_bbox)} rows and columns in the "
                f"raw, but {_size(amplifier.bbox)} in the trimmed detector."
            )
    image = np.empty(shape, exposure.image.dtype)
    mask = np.empty(shape, exposure.mask.dtype)
    variance = np.empty(shape, exposure.variance.dtype)

    def copy(amplifier: Amplifier) -> None:
        _copy(exposure.image, amplifier, image)
        _copy(exposure.mask, amplifier, mask)
        _copy(exposure.variance, amplifier, variance)

    map_threads(copy, amplifiers, threads=threads)
    return dataclasses.replace(exposure, image=image, mask=mask, variance=variance, is_assembled=True)


def _copy[T: np.generic](source: npt.NDArray[T], amplifier: Amplifier, out_target: npt.NDArray[T]) -> None:
    """Copy the data of an amplifier."""
    raw = raw_geometry(amplifier)
    data = source[box_slices(raw.data_bbox)]
    flips = slice(None, None, -1 if raw.flip_y else None), slice(None, None, -1 if raw.flip_x else None)
    out_target[box_slices(amplifier.bbox)] = data[flips]


def _size(box: Box) -> tuple[int, int]:
    """Return rows and columns of a box."""
    return box.y.size, box.x.size


def _check_tiling(exposure: IsrExposure) -> tuple[int, int]:
    """Return the shape of the trimmed detector, after a check that the amplifiers fill it."""
    detector = exposure.detector
    bbox, boxes = detector.bbox, [amplifier.bbox for amplifier in detector.amplifiers]
    if (bbox.y.start, bbox.x.start) != (0, 0):
        raise InputDataError(f"Detector {detector.name} is at {bbox}, not at (0, 0).")
    for amplifier in detector.amplifiers:
        if not bbox.contains(amplifier.bbox):
            raise InputDataError(
                f"Amplifier {amplifier.name} is at {amplifier.bbox}, outside of detector "
                f"{detector.name} at {bbox}."
            )
    if not are_disjoint(boxes):
        raise InputDataError(f"Amplifiers of detector {detector.name} overlap: {boxes}.")
    area, total = sum(box.area for box in boxes), bbox.area
    if area != total:
        raise InputDataError(
            f"The amplifiers of detector {detector.name} have {area} pixels together, the detector {total}."
        )
    return _size(bbox)
