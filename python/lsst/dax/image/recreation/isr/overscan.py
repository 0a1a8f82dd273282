"""Subtraction of the serial and of the parallel overscan."""

from __future__ import annotations

__all__ = ("DeviationSign", "subtract_parallel_overscan", "subtract_serial_overscan")

import dataclasses
import enum
from collections.abc import Callable
from dataclasses import dataclass

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images import Box
from lsst.images.cameras import Amplifier

from ...errors import InputDataError, RequestError
from ._amplifier_checks import check_choice, check_unit, check_untrimmed, keep_finite
from ._overscan_region import OverscanRegion, flag_deviant, flag_saturated, is_flooded
from ._row_bands import split_rows
from ._threads import map_threads
from .exposure import AmplifierState, HeaderValue, IsrExposure, IsrPlane, OverscanStatistics, raw_geometry
from .exposure import box_slices as slices
from .overscan_fits import OverscanFit, fit_overscan, measure_statistics

type FloatImage = npt.NDArray[np.float32]
type MaskBits = npt.NDArray[np.uint16]

# NumPy takes a member of IntFlag for a 64-bit integer.
_EXCLUDED = np.uint16(IsrPlane.BAD | IsrPlane.SATURATED)


class DeviationSign(enum.StrEnum):
    """Which deviations from the median of an overscan condemn a pixel."""

    POSITIVE = "positive"
    """Only those above, as charge that spilled into it."""
    ABSOLUTE = "absolute"
    """Those above and below."""


@dataclass(frozen=True, eq=False)
class _Result:
    """What is to be done about the overscan of one amplifier."""

    state: AmplifierState
    """State with the statistics."""
    boxes: tuple[Box, ...] = ()
    """Boxes of the image to subtract the levels from."""
    levels: FloatImage | None = None
    """Levels, of shape (height, 1) or (1, width) of the boxes; `None` for no correction."""
    flagged: tuple[Box, MaskBits] | None = None
    """Box in which the mask changes, and the mask in it; `None` for no change."""


def subtract_serial_overscan(
    exposure: IsrExposure,
    *,
    fit_type: str = OverscanFit.MEDIAN_PER_ROW,
    order: int = 1,
    skip: tuple[int, int] = (3, 3),
    max_deviation_adu: float = 1000.0,
    threads: int = 1,
) -> IsrExposure:
    """Subtract the level of the serial overscan, row by row.

    Parameters
    ----------
    exposure
        Untrimmed exposure in adu.
    fit_type
        How the levels are found, one of `OverscanFit`.
    order
        Order of a polynomial, or bins of a spline.
    skip
        Columns of the overscan that do not count, next to the data and at the far side.
    max_deviation_adu
        Pixels farther than this from the median of the overscan are BAD, in adu.
    threads
        Threads to use.

    Returns
    -------
    exposure
        Exposure whose data, parallel overscan and serial overscan are
        corrected, with statistics in its amplifiers; prescans are not corrected.

    Raises
    ------
    RequestError
        Raised if there is no such fit, or the order does not suit the overscan.
    InconsistentUnitsError
        Raised if the image is not in adu.
    InputDataError
        Raised if the exposure is trimmed, or no column is left.

    Notes
    -----
    The region is the columns of the serial overscan in the rows of data and
    parallel overscan.  Bad amplifiers are passed over.  Where all pixels of
    the region are masked nothing is subtracted.  A row that is BAD in all its
    columns is BAD in those that were skipped too.  Pixels that are BAD or
    SATURATED never count.  The levels are rounded to single precision before
    they are subtracted.  The statistics of the residual are those of the
    unmasked pixels of all the columns, including those that were skipped.
    """
    fit = check_choice(OverscanFit, fit_type)
    check_unit(exposure, u.adu, "Serial overscan")
    check_untrimmed(exposure, "Serial overscan")

    def measure(amplifier: Amplifier, state: AmplifierState) -> _Result:
        """Measure the overscan of one amplifier."""
        geometry = raw_geometry(amplifier)
        data, parallel = geometry.data_bbox, geometry.parallel_overscan_bbox
        corrected = Box.factory[
            min(data.y.start, parallel.y.start) : max(data.y.stop, parallel.y.stop),
            min(data.x.start, parallel.x.start) : max(data.x.stop, parallel.x.stop),
        ]
        columns = geometry.serial_overscan_bbox.x
        box = Box.factory[corrected.y.start : corrected.y.stop, columns.start : columns.stop]
        region = OverscanRegion.cut(
            exposure.image[slices(box)],
            exposure.mask[slices(box)],
            skip=_order_skip(skip, is_beyond=data.x.start < columns.start),
            name=f"serial overscan of amplifier {amplifier.name}",
        )
        checked = flag_deviant(region, limit=max_deviation_adu, is_absolute=True)
        levels, statistics = _fit(checked, fit=fit, order=order)
        return _Result(
            state=dataclasses.replace(state, serial_overscan=statistics),
            boxes=(corrected, box),
            levels=None if levels is None else levels[:, np.newaxis],
            flagged=(box, checked.mask) if checked.is_changed else None,
        )

    return _subtract(exposure, measure, kind="SERIAL", threads=threads)


def subtract_parallel_overscan(
    exposure: IsrExposure,
    *,
    fit_type: str = OverscanFit.MEDIAN_PER_ROW,
    order: int = 1,
    skip: tuple[int, int] = (3, 3),
    max_deviation_adu: float = 100.0,
    deviation: str = DeviationSign.POSITIVE,
    max_excess_adu: float | None = 5.0,
    threads: int = 1,
) -> IsrExposure:
    """Subtract the level of the parallel overscan, column by column.

    Parameters
    ----------
    exposure
        Untrimmed exposure, in adu or electron, whose serial overscan was
        subtracted and whose saturation was flagged.
    fit_type
        How the levels are found, one of `OverscanFit`.
    order
        Order of a polynomial, or bins of a spline.
    skip
        Rows of the overscan that do not count, next to the data and at the far side.
    max_deviation_adu
        Pixels farther than this from the median of the overscan are BAD, in
        adu (multiplied by the gain where the image is in electron).
    deviation
        Which deviations count, one of `DeviationSign`.
    max_excess_adu
        Columns whose median is above the running median of 5 columns by this
        or more are BAD, in adu (likewise); `None` does not look.
    threads
        Threads to use.

    Returns
    -------
    exposure
        Exposure whose data and parallel overscan are corrected, with statistics
        in its amplifiers, in the unit of the image.

    Raises
    ------
    RequestError
        Raised if there is no such fit or deviation, or the order does not suit the overscan.
    InconsistentUnitsError
        Raised if the image is neither in adu nor in electron.
    InputDataError
        Raised if the exposure is trimmed, no row is left, or data and parallel overscan differ in columns.

    Notes
    -----
    In the overscan, pixels at or above 3/4 of the level of saturation are
    SATURATED, and so are those within 7 steps along rows and columns of one.
    Nothing is subtracted where all pixels are masked, or where the median of
    the overscan is above half of that of the data (finite pixels, masked or
    not) and the latter above 10000: then the overscan is full of charge.
    Columns that are too far from the median in all their rows, and those with
    an excess, are BAD in all rows, with two columns on either side; the
    excess is not looked for within 5 columns of the ends.  The rest is as in
    `subtract_serial_overscan`.
    """
    fit = check_choice(OverscanFit, fit_type)
    is_absolute = check_choice(DeviationSign, deviation) is DeviationSign.ABSOLUTE
    if exposure.unit != u.adu:
        check_unit(exposure, u.electron, "Parallel overscan")
    check_untrimmed(exposure, "Parallel overscan")

    def measure(amplifier: Amplifier, state: AmplifierState) -> _Result:
        """Measure the overscan of one amplifier; its columns are the rows of the region."""
        geometry = raw_geometry(amplifier)
        data, box = geometry.data_bbox, geometry.parallel_overscan_bbox
        if data.x != box.x:
            raise InputDataError(
                f"The data of amplifier {amplifier.name} are columns {data.x}, its parallel overscan {box.x}."
            )
        region = OverscanRegion.cut(
            exposure.image[slices(box)].T,
            exposure.mask[slices(box)].T,
            skip=_order_skip(skip, is_beyond=data.y.start < box.y.start),
            name=f"parallel overscan of amplifier {amplifier.name}",
        )
        scale = state.gain if exposure.unit == u.electron else 1.0
        checked = flag_saturated(region, level=state.saturation)
        if is_flooded(checked, exposure.image[slices(data)]):
            levels, statistics = _leave(checked)
        else:
            excess = None if max_excess_adu is None else max_excess_adu * scale
            limit = max_deviation_adu * scale
            checked = flag_deviant(checked, limit=limit, is_absolute=is_absolute, max_excess=excess, grow=2)
            levels, statistics = _fit(checked, fit=fit, order=order)
        return _Result(
            state=dataclasses.replace(state, parallel_overscan=statistics),
            boxes=(data, box),
            levels=None if levels is None else levels[np.newaxis, :],
            flagged=(box, checked.mask.T) if checked.is_changed else None,
        )

    return _subtract(exposure, measure, kind="PARALLEL", threads=threads)


def _order_skip(skip: tuple[int, int], *, is_beyond: bool) -> tuple[int, int]:
    """Return how many lines to skip at low and at high coordinates.

    ``is_beyond`` tells that the overscan lies at higher coordinates than the data.
    """
    near, far = skip
    if near < 0 or far < 0:
        raise RequestError(f"Lines of the overscan to skip must not be negative; they are {near} and {far}.")
    return (near, far) if is_beyond else (far, near)


def _fit(
    region: OverscanRegion, *, fit: OverscanFit, order: int
) -> tuple[FloatImage | None, OverscanStatistics]:
    """Return the levels of a region, if there is any, and its statistics."""
    excluded = (region.fit_mask & _EXCLUDED) != 0
    levels = fit_overscan(region.fit_values, excluded, fit=fit, order=order)
    if np.isnan(levels).any():
        return _leave(region)
    single = levels.astype(np.float32)
    of_fit = measure_statistics(levels)
    residual = region.values - single[:, np.newaxis]
    return single, _combine(
        residual, region, mean=of_fit.mean, median=of_fit.median, stdev=of_fit.stdev_clipped
    )


def _leave(region: OverscanRegion) -> tuple[None, OverscanStatistics]:
    """Return the statistics of a region whose level counts as zero."""
    return None, _combine(region.values, region, mean=0.0, median=0.0, stdev=0.0)


def _combine(
    residual: FloatImage, region: OverscanRegion, *, mean: float, median: float, stdev: float
) -> OverscanStatistics:
    """Return the statistics of levels and residual together."""
    excluded = (region.mask & _EXCLUDED) != 0
    rest = measure_statistics(residual[~excluded] if excluded.any() else residual)
    return OverscanStatistics(
        mean=mean,
        median=median,
        stdev=stdev,
        residual_mean=rest.mean,
        residual_median=rest.median,
        residual_stdev=rest.stdev_clipped,
    )


def _subtract(
    exposure: IsrExposure,
    measure: Callable[[Amplifier, AmplifierState], _Result],
    *,
    kind: str,
    threads: int,
) -> IsrExposure:
    """Measure the overscans of all good amplifiers and subtract them."""

    def measure_good(pair: tuple[Amplifier, AmplifierState]) -> _Result:
        """Measure, unless the amplifier is bad."""
        return _Result(state=pair[1]) if pair[1].is_bad else measure(*pair)

    pairs = zip(exposure.detector.amplifiers, exposure.amplifiers, strict=True)
    results = map_threads(measure_good, pairs, threads=threads)
    changed = exposure.with_pixels(
        image=_subtract_levels(exposure.image, results, threads=threads),
        mask=_replace_mask(exposure.mask, results),
    )
    changed = changed.with_amplifiers(
        tuple(result.state for result in results), step=f"subtract_{kind.lower()}_overscan"
    )
    return changed.with_header(_make_cards(results, kind=kind, unit=exposure.unit))


def _subtract_levels(image: FloatImage, results: list[_Result], *, threads: int) -> FloatImage:
    """Return an image from which the levels are subtracted."""
    corrections = [
        (box, np.broadcast_to(result.levels, box.shape))
        for result in results
        if result.levels is not None
        for box in result.boxes
    ]
    subtracted = np.empty_like(image)

    def subtract(rows: tuple[int, int]) -> None:
        """Fill some rows; they are still in the cache when the levels are subtracted."""
        start, stop = rows
        subtracted[start:stop] = image[start:stop]
        for box, levels in corrections:
            low, high = max(start, box.y.start), min(stop, box.y.stop)
            if low < high:
                part = levels[low - box.y.start : high - box.y.start]
                subtracted[low:high, box.x.start : box.x.stop] -= part

    map_threads(subtract, split_rows(image.shape[0]), threads=threads)
    return subtracted


def _replace_mask(mask: MaskBits, results: list[_Result]) -> MaskBits:
    """Return a mask with what was found in the overscans; the same mask if that is nothing."""
    found = [result.flagged for result in results if result.flagged is not None]
    if not found:
        return mask
    replaced = mask.copy()
    for box, bits in found:
        replaced[slices(box)] = bits
    return replaced


def _make_cards(results: list[_Result], *, kind: str, unit: u.UnitBase) -> dict[str, HeaderValue]:
    """Return what a header says about overscans."""
    cards: dict[str, HeaderValue] = {
        f"LSST ISR OVERSCAN {kind} APPLIED": True,
        f"LSST ISR OVERSCAN {kind} UNITS": str(unit),
    }
    for result in results:
        state = result.state
        statistics = state.serial_overscan if kind == "SERIAL" else state.parallel_overscan
        if state.is_bad or statistics is None:
            continue
        values = {
            f"{kind} MEAN": statistics.mean,
            f"{kind} MEDIAN": statistics.median,
            f"{kind} STDEV": statistics.stdev,
            f"RESIDUAL {kind} MEAN": statistics.residual_mean,
            f"RESIDUAL {kind} MEDIAN": statistics.residual_median,
            f"RESIDUAL {kind} STDEV": statistics.residual_stdev,
        }
        cards |= {f"LSST ISR OVERSCAN {name} {state.name}": value for name, value in values.items()}
    return keep_finite(cards)
