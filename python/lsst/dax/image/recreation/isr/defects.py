"""Flags of defects."""

from __future__ import annotations

__all__ = ("flag_defects",)

from collections.abc import Sequence

import numpy as np

from lsst.images import Box

from ...errors import RequestError
from ._pixelwise import check_assembled
from .calibrations import Defects
from .exposure import IsrExposure, IsrPlane


def flag_defects(
    exposure: IsrExposure, *, defects: Defects, bad_amplifiers: Sequence[str] = ()
) -> IsrExposure:
    """Flag the defects of the detector.

    Parameters
    ----------
    exposure
        Assembled exposure.
    defects
        Boxes in pixels of the trimmed detector; what lies beyond the edge is ignored.
    bad_amplifiers
        Amplifiers to flag as a whole, by detector and amplifier, such as
        ``"R42_S21_C07"``.  Those of other detectors are ignored.

    Returns
    -------
    exposure
        The same pixels, with BAD in all boxes.

    Raises
    ------
    InputDataError
        Raised if the exposure is not assembled.
    RequestError
        Raised if this detector has no amplifier of a name.

    Notes
    -----
    `AmplifierState.is_bad` stays: it tells which amplifiers the earlier steps left out.
    """
    check_assembled(exposure, step="flag_defects")
    boxes = [*defects.boxes, *_find_boxes(exposure, bad_amplifiers)]
    after = exposure.with_header({"LSST ISR DEFECTS APPLIED": True})
    if not boxes:
        return after
    mask = exposure.mask.copy()
    bit = np.uint16(IsrPlane.BAD)
    for box in boxes:
        # A negative index would count from the far edge.
        rows = slice(max(box.y.start, 0), max(box.y.stop, 0))
        columns = slice(max(box.x.start, 0), max(box.x.stop, 0))
        mask[rows, columns] |= bit
    return after.with_pixels(mask=mask)


def _find_boxes(exposure: IsrExposure, bad_amplifiers: Sequence[str]) -> list[Box]:
    """Return the boxes of those amplifiers that are of this detector."""
    boxes = {amplifier.name: amplifier.bbox for amplifier in exposure.detector.amplifiers}
    found = []
    for full_name in bad_amplifiers:
        detector, _, name = full_name.rpartition("_")
        if detector != exposure.detector.name:
            continue
        if name not in boxes:
            raise RequestError(f"{full_name!r}: detector {detector} has the amplifiers {', '.join(boxes)}.")
        found.append(boxes[name])
    return found
