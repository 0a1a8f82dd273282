"""Dips in the columns of bright trails of ITL sensors."""

from __future__ import annotations

__all__ = ("flag_itl_dip",)

import math

import astropy.units as u
import numpy as np

from ...errors import InconsistentUnitsError
from ._footprints import Footprint, find_footprints
from ._median import find_median
from ._pixelwise import check_assembled
from .exposure import IsrExposure, IsrPlane


def flag_itl_dip(  # one parameter per number of the observatory's rules
    exposure: IsrExposure,
    *,
    min_width: int = 15,
    background_fraction: float = 0.0,
    min_height: int = 50,
    max_width: int = 50,
    width_scale: float = 1.5,
    min_noise_fraction: float = 0.5,
    max_columns: int = 500,
) -> IsrExposure:
    """Flag the columns whose sky is too low around bright trails of some ITL sensors.

    Parameters
    ----------
    exposure
        Assembled exposure in electron.
    min_width
        Least width of a trail, in columns.
    background_fraction
        Depth of the dip per column of width, as a fraction of the sky.  With 0
        nothing is flagged: most sensors have no dips.
    min_height
        A trail is a saturated group of at least so many rows; its width is the
        number of columns in which more than so many pixels are saturated.
    max_width
        Width from which on the dip does not grow, in columns.
    width_scale
        Width to flag over the width of the trail.
    min_noise_fraction
        Depth below which a dip does not matter, in units of the sky's noise.
    max_columns
        If more columns than these would be flagged, none is.

    Returns
    -------
    exposure
        The same pixels, with SUSPECT and ITL_DIP in whole columns.

    Raises
    ------
    InconsistentUnitsError
        Raised if the exposure is not in electron, so that its sky is no variance.
    InputDataError
        Raised if the exposure is not assembled.

    Notes
    -----
    The model of the LSST pipelines (``maskITLDip`` of ``ip_isr``).  The sky is
    the median of all pixels; if one of them is NaN it is unknown, and every wide
    trail has its columns flagged.  A column that two trails flag counts twice.
    """
    check_assembled(exposure, step="flag_itl_dip")
    if background_fraction == 0.0:
        return exposure
    if exposure.unit != u.electron:
        raise InconsistentUnitsError(
            f"flag_itl_dip needs electron; exposure {exposure.info.exposure} is in {exposure.unit}."
        )
    tall = find_footprints(
        exposure.mask, plane=IsrPlane.SATURATED, wanted=lambda _area, height: height >= min_height
    )
    widths = [_find_width(footprint, min_height) for footprint in tall]
    trails = [(footprint, w) for footprint, w in zip(tall, widths, strict=True) if w >= min_width]
    if not trails:
        return exposure
    # The minimum is NaN if a pixel is; no comparison with NaN is true.
    is_known = not np.isnan(exposure.image.min())
    sky = find_median(exposure.image, mask=exposure.mask, without=IsrPlane(0)) if is_known else math.nan
    noise = math.sqrt(sky) if sky >= 0.0 else math.nan
    last_column = exposure.mask.shape[1] - 1
    spans = []
    for footprint, full_width in trails:
        width = min(full_width, max_width)
        if background_fraction * sky * width < min_noise_fraction * noise:
            continue
        half_width = width_scale * width / 2.0
        x = footprint.centroid[0]
        spans.append((max(int(x - half_width), 0), min(int(x + half_width), last_column)))
    if not spans or sum(last - first + 1 for first, last in spans) > max_columns:
        return exposure
    mask = exposure.mask.copy()
    for first, last in spans:
        mask[:, first : last + 1] |= np.uint16(IsrPlane.SUSPECT | IsrPlane.ITL_DIP)
    return exposure.with_pixels(mask=mask)


def _find_width(footprint: Footprint, min_height: int) -> int:
    """Return the number of columns with more than so many saturated pixels."""
    return int((footprint.to_array().sum(axis=0) > min_height).sum())
