"""Growth of saturated trails along rows."""

from __future__ import annotations

__all__ = ("widen_saturation_trails",)

import numpy as np

from ._footprints import find_runs
from ._pixelwise import check_assembled
from .exposure import IsrExposure, IsrPlane

_GROWTH = np.array([0, 0, 0, 0, 0, 0, 1, 1, 3, 3, 4])  # by length of the run; the last holds beyond


def widen_saturation_trails(exposure: IsrExposure) -> IsrExposure:
    """Flag pixels left and right of wide saturated trails.

    Parameters
    ----------
    exposure
        Assembled exposure.

    Returns
    -------
    exposure
        The same pixels; runs of saturated pixels along a row are longer on
        either side: by 0 up to a length of 5, by 1 pixel for 6 and 7, by 3 for 8
        and 9, by 4 from 10 on.

    Raises
    ------
    InputDataError
        Raised if the exposure is not assembled.

    Notes
    -----
    For DECam; LSSTCam does without.  The lengths are those before the growth.
    """
    check_assembled(exposure, step="widen_saturation_trails")
    runs = find_runs(exposure.mask, plane=IsrPlane.SATURATED)
    growth = _GROWTH[np.minimum(runs.stop - runs.start, _GROWTH.size - 1)]
    grown = np.flatnonzero(growth)
    if not grown.size:
        return exposure
    mask = exposure.mask.copy()
    starts = np.maximum(runs.start[grown] - growth[grown], 0)
    stops = runs.stop[grown] + growth[grown]
    for row, start, stop in zip(runs.row[grown], starts, stops, strict=True):
        mask[row, start:stop] |= np.uint16(IsrPlane.SATURATED)
    return exposure.with_pixels(mask=mask)
