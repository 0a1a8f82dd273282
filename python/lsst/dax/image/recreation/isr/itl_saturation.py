"""Charge that bleeds along the edges of ITL sensors, and columns that sag."""

from __future__ import annotations

__all__ = ("flag_itl_saturation",)

import math
from dataclasses import dataclass

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images.cameras import Amplifier

from ...errors import InconsistentUnitsError, InputDataError
from ._footprints import Footprint, find_footprints
from ._pixelwise import check_assembled
from .exposure import IsrExposure, IsrPlane, MaskBits, box_slices

_SATURATED = np.uint16(IsrPlane.SATURATED)

# The model's numbers, in pixels.
_ROWS = 200  # how far a bleed reaches from the edge
_ROWS_LEVEL = 50  # where its level is measured
_ROWS_WIDTH = 100  # where its width is measured
_COLUMNS_LEVEL = 5  # either side of the core
_COLUMNS_WIDTH = 250
_ROWS_END = 100  # ends of a trail that may be bleed, left out to find its core
_WIDTH_LEVEL = 0.45  # of the saturation: what counts as bleed
_SAG_FRACTION = 1.0 / 5.0  # of a group's height


@dataclass(frozen=True)
class _Core:
    """The core of a saturated star."""

    x: int
    """Column."""
    width: int
    """Saturated columns at the core's row."""


def flag_itl_saturation(
    exposure: IsrExposure,
    *,
    min_area: int = 10_000,
    max_area: int = 100_000,
    threshold: float = 5000.0,
    decay_per_row: float = 0.02,
) -> IsrExposure:
    """Flag what bright stars do at the edges and in the columns of ITL sensors.

    Parameters
    ----------
    exposure
        Assembled exposure in electron, its amplifiers' saturation levels known;
        that of another vendor comes back as it is.
    min_area, max_area
        Saturated groups count from ``min_area`` pixels on and below ``max_area``.
    threshold
        Excess of the columns of the star at the edge over the median of the
        amplifier from which on they bleed, in electron.
    decay_per_row
        How fast the bleed narrows away from the edge, as an exponent per row.

    Returns
    -------
    exposure
        The same pixels, with SATURATED where charge bleeds along the edge and
        in columns that sag.

    Raises
    ------
    InconsistentUnitsError
        Raised if the exposure is of an ITL sensor and not in electron.
    InputDataError
        Raised if the exposure is not assembled, or if there are such groups and
        no good amplifier has a saturation level.

    Notes
    -----
    The model of the LSST pipelines (``maskITLEdgeBleed`` and ``maskITLSatSag``
    of ``ip_isr``).  All groups are found before any pixel is flagged.

    A group has as many cores as its row at the centroid (truncated to integers)
    has runs.  One core lies at the centroid.  Two are parted in the middle
    between the runs; each lies in the column and row with most saturated pixels
    (of a group of more than 200 rows the outer 100 rows do not count) and, unlike
    one core, it counts only if its own area is within the limits, both excluded.
    Of more than two none counts.

    For both amplifiers whose columns hold a core: a C1 amplifier stands for the
    lower edge of the detector, a C0 amplifier for the upper one.  There is bleed
    if the median of 50 rows from the edge and 10 columns (5 before the core and 5
    from it on) exceeds the amplifier's by the threshold.  With the greatest
    number W of pixels above 0.45 of the saturation (median of the good
    amplifiers) among 100 rows from the edge and 500 columns, and the width w of
    the core, half the width of the flagged part is the integer part of
    ``(W exp(-decay y) + w) / 2`` for the 200 rows y from the edge.

    A column in which more than a fifth of the rows of a group are saturated sags,
    and is flagged over the whole detector.
    """
    check_assembled(exposure, step="flag_itl_saturation")
    if exposure.detector.physical_type != "ITL":
        return exposure
    if exposure.unit != u.electron:
        raise InconsistentUnitsError(
            f"flag_itl_saturation needs electron; exposure {exposure.info.exposure} is in {exposure.unit}."
        )
    footprints = find_footprints(
        exposure.mask,
        plane=IsrPlane.SATURATED,
        wanted=lambda area, _height: (area >= min_area) & (area < max_area),
    )
    if not footprints:
        return exposure
    saturation = _find_saturation(exposure)
    mask = exposure.mask.copy()
    for footprint in footprints:
        pixels = footprint.to_array()
        for core in _find_cores(footprint, pixels, min_area=min_area, max_area=max_area):
            for amplifier in exposure.detector.amplifiers:
                if amplifier.bbox.x.start <= core.x < amplifier.bbox.x.stop:
                    width = _find_bleed_width(exposure, amplifier, core, threshold, saturation)
                    if width is not None:
                        _flag_bleed(_from_edge(mask, amplifier), core, width, decay_per_row)
        sagging = np.flatnonzero(pixels.sum(axis=0) > pixels.shape[0] * _SAG_FRACTION)
        mask[:, sagging + footprint.x_min] |= _SATURATED
    return exposure.with_pixels(mask=mask)


def _find_saturation(exposure: IsrExposure) -> float:
    """Return the median saturation level of the good amplifiers."""
    levels = [state.saturation for state in exposure.amplifiers if not state.is_bad]
    finite = [level for level in levels if not math.isnan(level)]
    if not finite:
        raise InputDataError(
            f"Detector {exposure.detector.name} of exposure {exposure.info.exposure} has saturated pixels, "
            f"but none of its {len(levels)} good amplifiers has a saturation level."
        )
    return float(np.median(finite))


def _find_cores(
    footprint: Footprint, pixels: npt.NDArray[np.bool_], *, min_area: int, max_area: int
) -> list[_Core]:
    """Return the cores of a group; see the notes of `flag_itl_saturation`."""
    x, y = footprint.centroid
    row = pixels[int(y) - footprint.y_min]
    edges = np.diff(np.concatenate(([False], row, [False])).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if starts.size > 2:
        return []
    if starts.size < 2:
        return [_Core(int(x), int(row.sum()))]
    middle = int((starts[1] + stops[0]) / 2)
    cores = []
    for first, part in ((0, pixels[:, :middle]), (middle, pixels[:, middle:])):
        if not min_area < part.sum() < max_area:
            continue
        skip = _ROWS_END if part.shape[0] > 2 * _ROWS_END else 0
        core_row = skip + int(part[skip : part.shape[0] - skip].sum(axis=1).argmax())
        column = first + int(part.sum(axis=0).argmax())
        cores.append(_Core(column + footprint.x_min, int(part[core_row].sum())))
    return cores


def _from_edge[T: np.generic](plane: npt.NDArray[T], amplifier: Amplifier) -> npt.NDArray[T]:
    """Return a view of the rows at the edge that an amplifier stands for, the outermost first."""
    return plane[:_ROWS] if amplifier.name.startswith("C1") else plane[::-1][:_ROWS]


def _find_bleed_width(
    exposure: IsrExposure, amplifier: Amplifier, core: _Core, threshold: float, saturation: float
) -> int | None:
    """Return the greatest width of the bleed at an edge, or `None` if there is none."""
    image = _from_edge(exposure.image, amplifier)
    left, right = max(core.x - _COLUMNS_LEVEL, 0), core.x + _COLUMNS_LEVEL
    sky = float(np.median(exposure.image[box_slices(amplifier.bbox)]))
    level = float(np.median(image[:_ROWS_LEVEL, left:right]))
    if not level > sky + threshold:
        return None
    left, right = max(core.x - _COLUMNS_WIDTH, 0), core.x + _COLUMNS_WIDTH
    # In double precision: a Python float would be rounded to the image's float32.
    limit = np.float64(_WIDTH_LEVEL * saturation)
    return int((image[:_ROWS_WIDTH, left:right] > limit).sum(axis=1).max())


def _flag_bleed(out_rows: MaskBits, core: _Core, width: int, decay_per_row: float) -> None:
    """Flag the bleed of a core in rows that begin at the edge of the detector."""
    for y, row in enumerate(out_rows):
        half_width = int((width * math.exp(-decay_per_row * y) + core.width) / 2.0)
        row[max(core.x - half_width, 0) : core.x + half_width] |= _SATURATED
