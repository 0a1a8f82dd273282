"""Charge that bleeds along the edge of e2v sensors."""

from __future__ import annotations

__all__ = ("flag_edge_bleed",)

import numpy as np

from ._footprints import find_footprints
from ._pixelwise import check_assembled
from .exposure import IsrExposure, IsrPlane, box_slices


def flag_edge_bleed(
    exposure: IsrExposure, *, min_area: int = 10_000, max_area: int = 100_000, rows: int = 350
) -> IsrExposure:
    """Flag the edge of an amplifier of an e2v sensor below a bright star whose trail reaches it.

    Parameters
    ----------
    exposure
        Assembled exposure; that of another vendor comes back as it is.
    min_area, max_area
        Saturated groups count from ``min_area`` pixels on and below ``max_area``.
    rows
        Rows from the lower edge of the detector to flag.

    Returns
    -------
    exposure
        The same pixels, with SATURATED in the first rows of every lower
        amplifier (C00 to C07) that holds the centroid, truncated to integers,
        of a saturated group that reaches row 0.

    Raises
    ------
    InputDataError
        Raised if the exposure is not assembled.

    Notes
    -----
    The model of the LSST pipelines (``maskE2VEdgeBleed`` of ``ip_isr``).  All
    groups are found before any pixel is flagged.
    """
    check_assembled(exposure, step="flag_edge_bleed")
    if exposure.detector.physical_type != "E2V":
        return exposure
    footprints = find_footprints(
        exposure.mask,
        plane=IsrPlane.SATURATED,
        wanted=lambda area, _height: (area >= min_area) & (area < max_area),
    )
    touching = [footprint for footprint in footprints if footprint.y_min == 0]
    if not touching:
        return exposure
    mask = exposure.mask.copy()
    lower = [amplifier for amplifier in exposure.detector.amplifiers if amplifier.name.startswith("C0")]
    for footprint in touching:
        x, y = (int(coordinate) for coordinate in footprint.centroid)
        for amplifier in lower:
            if amplifier.bbox.contains(x=x, y=y):
                # The view of the amplifier counts its rows from its own lower edge.
                mask[box_slices(amplifier.bbox)][:rows] |= np.uint16(IsrPlane.SATURATED)
    return exposure.with_pixels(mask=mask)
