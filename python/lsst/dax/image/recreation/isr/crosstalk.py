"""Crosstalk between the amplifiers of a detector."""

from __future__ import annotations

__all__ = ("correct_crosstalk", "correct_inter_chip_crosstalk")

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images import Box
from lsst.images.cameras import Amplifier

from ...errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError, RequestError
from ._boxes import check_inside, fill_image, kernel_box
from ._threads import map_threads
from .calibrations import Crosstalk, FloatArray
from .exposure import FloatImage, IsrExposure, IsrPlane, MaskBits, box_slices, raw_geometry

# A stripe of rows is one thread's work.
_STRIPE = 128
# Boxes of fewer pixels are sorted as they are, larger ones after a look at
# about this many of their pixels.
_SAMPLE = 16384


def correct_crosstalk(
    exposure: IsrExposure,
    *,
    crosstalk: Crosstalk,
    use_quadratic: bool = True,
    mask_subtrahend: bool = True,
    min_pixel_to_mask: float = 1.0,
    threads: int = 1,
) -> IsrExposure:
    """Subtract from every amplifier what the others induce in it.

    Each target amplifier loses the sum, over the source amplifiers, of a
    coefficient times the source's pixel and of another times its square.  Pixels
    that are read out at the same time belong together, so the amplifiers are
    aligned at their readout corners; prescans and overscans take part.  The
    sources are the pixels before the correction.

    Parameters
    ----------
    exposure
        Untrimmed exposure, in adu or electron.
    crosstalk
        Coefficients.  If they are for the other unit, the pixels are converted with the gains of
        the amplifiers, corrected, and converted back.
    use_quadratic
        Whether to use the coefficients of the squares.
    mask_subtrahend
        Whether what was subtracted decides on the plane CROSSTALK, or how bright the source is.
    min_pixel_to_mask
        Limit for the plane CROSSTALK, in the unit of the coefficients.  With ``mask_subtrahend``:
        smallest distance of the subtracted value from its median over the amplifier's data (from zero, in
        prescans and overscans).  Without: how far a source pixel must be above the median of the
        detector's pixels that are not BAD.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    corrected
        Exposure with a new image and mask.  The variance is as before: the noise of the sources is ignored.

    Raises
    ------
    InputDataError
        Raised if the exposure is assembled, if its amplifiers differ in size, or if no gain is usable.
    CalibrationMismatchError
        Raised if the coefficients are for another number of amplifiers.
    InconsistentUnitsError
        Raised if a unit is neither adu nor electron.
    RequestError
        Raised if the limit is not positive.

    Notes
    -----
    Coefficients that are zero, not finite or not valid do not count, nor do those of bad amplifiers, as
    sources or targets; a term that does not count is left out, so that an infinity or NaN in its source has
    no effect.  A quadratic coefficient does not count where the linear one does not.

    Everything is float32: sources in the order of the detector, of each first the linear term is added and
    then the quadratic one, its square taken first.  Unit conversions multiply by float32(gain) or by
    float32(1/gain); a gain that is not finite and positive is replaced by the median of the others.  The
    medians of the subtracted values ignore NaN.
    """
    source = np.ascontiguousarray(exposure.image)
    _check(exposure, min_pixel_to_mask)
    geometry = _make_geometry(exposure)
    terms = _make_terms(exposure, crosstalk, use_quadratic=use_quadratic)
    before, after = _make_factors(exposure, crosstalk)
    boxes = [raw_geometry(amplifier).bbox for amplifier in exposure.detector.amplifiers]
    # Nothing else is left to copy if the amplifiers fill the image.
    image = np.empty_like(source) if fill_image(boxes, source.shape) else source.copy()
    subtrahend = np.empty_like(source)

    def subtract(begin: int) -> None:
        rows = begin, min(begin + _STRIPE, int(geometry[0, 3]))
        _kernels().subtract_crosstalk(
            source,
            geometry,
            before,
            after,
            terms.indices,
            terms.numbers,
            terms.coefficients,
            rows,
            subtrahend,
            image,
        )

    map_threads(subtract, range(0, int(geometry[0, 3]), _STRIPE), threads=threads)
    bit, mask = int(IsrPlane.CROSSTALK), exposure.mask.copy()
    if mask_subtrahend:
        _flag_subtrahend(exposure, subtrahend, limit=min_pixel_to_mask, threads=threads, out_mask=mask)
    else:
        limit = min_pixel_to_mask + _detector_median(exposure, geometry, before)
        _kernels().flag_sources(source, geometry, before, terms.contributes, limit, bit, mask)
    return exposure.with_pixels(image=image, mask=mask).with_header({"LSST ISR CROSSTALK APPLIED": True})


def correct_inter_chip_crosstalk(
    exposure: IsrExposure,
    *,
    sources: Mapping[str, IsrExposure],
    coefficients: Mapping[str, FloatArray],
    min_pixel_to_mask: float = 1.0,
    threads: int = 1,
) -> IsrExposure:
    """Subtract from every amplifier what those of other detectors induce in it.

    Parameters
    ----------
    exposure
        Untrimmed exposure.
    sources
        Untrimmed exposures of other detectors, by name, before their crosstalk was corrected; in the unit
        of the exposure.
    coefficients
        By name of the other detector: coefficient [source, target] of its amplifiers' pixels.
    min_pixel_to_mask
        Smallest distance of the subtracted value from its median over the amplifier's data (from zero, in
        prescans and overscans) that sets the plane CROSSTALK.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    corrected
        Exposure with a new image and mask.

    Raises
    ------
    InputDataError
        Raised if an exposure is assembled, if a source is missing, or if amplifiers differ in size.
    CalibrationMismatchError
        Raised if coefficients are for another number of amplifiers.
    InconsistentUnitsError
        Raised if a source is in another unit.
    RequestError
        Raised if the limit is not positive.

    Notes
    -----
    As `correct_crosstalk`, without quadratic terms: detectors in the order of the coefficients, float32.
    Only the mosaic cameras whose detectors share electronics need it, such as DECam.
    """
    _check(exposure, min_pixel_to_mask)
    subtrahend = np.zeros(exposure.image.shape, np.float32)
    for name, matrix in coefficients.items():
        source = _find_source(exposure, name, sources, matrix)
        for s, state in enumerate(source.amplifiers):
            pixels = _from_corner(source, source.image, source.detector.amplifiers[s])
            for t, amplifier in enumerate(exposure.detector.amplifiers):
                total = _from_corner(exposure, subtrahend, amplifier)
                if state.is_bad or exposure.amplifiers[t].is_bad or not np.isfinite(matrix[s, t]):
                    continue
                if total.shape != pixels.shape:
                    raise InputDataError(
                        f"Crosstalk needs amplifiers of one size, but {state.name} of {name} has pixels of "
                        f"shape {pixels.shape}, {amplifier.name} of {exposure.detector.name} {total.shape}."
                    )
                if matrix[s, t] != 0:
                    total += np.float32(matrix[s, t]) * pixels
    mask = exposure.mask.copy()
    _flag_subtrahend(exposure, subtrahend, limit=min_pixel_to_mask, threads=threads, out_mask=mask)
    return exposure.with_pixels(image=exposure.image - subtrahend, mask=mask)


@cache
def _kernels() -> ModuleType:
    """Return the compiled part; numba is slow to import."""
    from ..._kernels import isr_crosstalk_nb  # noqa: PLC0415

    return isr_crosstalk_nb


def _check(exposure: IsrExposure, min_pixel_to_mask: float) -> None:
    """Check exposure and limit."""
    if exposure.is_assembled:
        raise InputDataError("Crosstalk is corrected in the untrimmed exposure, but this one is assembled.")
    if not (math.isfinite(min_pixel_to_mask) and min_pixel_to_mask > 0):
        raise RequestError(f"The limit of the CROSSTALK mask must be positive, not {min_pixel_to_mask}.")


def _find_source(
    exposure: IsrExposure, name: str, sources: Mapping[str, IsrExposure], matrix: FloatArray
) -> IsrExposure:
    """Return the exposure of another detector, checked against its coefficients."""
    source = sources.get(name)
    if source is None:
        raise InputDataError(
            f"Crosstalk from detector {name} needs its exposure; there are {sorted(sources)}."
        )
    if source.is_assembled:
        raise InputDataError(f"Crosstalk comes from untrimmed exposures, but that of {name} is assembled.")
    if source.unit != exposure.unit:
        raise InconsistentUnitsError(f"Detector {name} is in {source.unit}, the exposure in {exposure.unit}.")
    shape = len(source.amplifiers), len(exposure.amplifiers)
    if matrix.shape != shape:
        raise CalibrationMismatchError(
            f"The crosstalk coefficients from {name} to {exposure.detector.name} have shape {matrix.shape}, "
            f"the amplifiers need {shape}."
        )
    return source


def _from_corner(exposure: IsrExposure, image: FloatImage, amplifier: Amplifier) -> FloatImage:
    """Return the raw pixels of an amplifier, readout corner first, as a view."""
    raw = raw_geometry(amplifier)
    check_inside(exposure, amplifier, raw.bbox, raw.data_bbox)
    flips = raw.readout_corner.as_flips()
    return image[box_slices(raw.bbox)][:: -1 if flips.y else 1, :: -1 if flips.x else 1]


@dataclass(frozen=True, eq=False)
class _Terms:
    """Terms of the sums, as the kernel takes them."""

    indices: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    coefficients: FloatImage
    contributes: npt.NDArray[np.bool_]


def _make_geometry(exposure: IsrExposure) -> npt.NDArray[np.int64]:
    """Return box and flips of every amplifier, shape ``(n, 6)``."""
    rows = []
    for amplifier in exposure.detector.amplifiers:
        raw = raw_geometry(amplifier)
        flips = raw.readout_corner.as_flips()
        box = raw.bbox
        rows.append([*kernel_box(box), flips.x, flips.y])
        first = rows[0]
        if rows[-1][2:4] != first[2:4]:
            raise InputDataError(
                f"Crosstalk needs amplifiers of one size, but {exposure.detector.amplifiers[0].name} has "
                f"{first[3]} x {first[2]} pixels and {amplifier.name} {box.y.size} x {box.x.size}."
            )
        check_inside(exposure, amplifier, box, raw.data_bbox)
    return np.array(rows, dtype=np.int64)


def _make_terms(exposure: IsrExposure, crosstalk: Crosstalk, *, use_quadratic: bool) -> _Terms:
    """Return the terms that count."""
    n = len(exposure.amplifiers)
    for what, array in (
        ("linear coefficients", crosstalk.linear),
        ("quadratic coefficients", crosstalk.quadratic),
        ("flags of validity", crosstalk.valid),
    ):
        if array.shape != (n, n):
            raise CalibrationMismatchError(
                f"The crosstalk {what} {crosstalk.info.source} have shape {array.shape}, but detector "
                f"{exposure.detector.name} has {n} amplifiers."
            )
    good = ~np.array([amplifier.is_bad for amplifier in exposure.amplifiers])
    linear, quadratic = crosstalk.linear, crosstalk.quadratic
    counts = crosstalk.valid & np.isfinite(linear) & (linear != 0) & good[:, None] & good[None, :]
    squares = counts & np.isfinite(quadratic) & (quadratic != 0) & use_quadratic
    terms = _Terms(
        indices=np.zeros((n, 2 * n), np.int64),
        numbers=np.zeros(n, np.int64),
        coefficients=np.zeros((n, 2 * n), np.float32),
        contributes=counts,
    )
    for target in range(n):
        its = [
            (index, value[source, target])
            for source in range(n)
            for which, index, value in ((counts, source, linear), (squares, n + source, quadratic))
            if which[source, target]
        ]
        terms.numbers[target] = len(its)
        for k, (index, value) in enumerate(its):
            terms.indices[target, k], terms.coefficients[target, k] = index, np.float32(value)
    return terms


def _make_factors(exposure: IsrExposure, crosstalk: Crosstalk) -> tuple[FloatImage, FloatImage]:
    """Return the factors that bring amplifiers into the unit of the coefficients, and back."""
    for what, unit in (("exposure", exposure.unit), ("crosstalk coefficients", crosstalk.unit)):
        if unit not in (u.adu, u.electron):
            raise InconsistentUnitsError(f"The unit of the {what} is {unit}, neither adu nor electron.")
    if exposure.unit == crosstalk.unit:
        ones = np.ones(len(exposure.amplifiers), np.float32)
        return ones, ones
    gains = np.array([amplifier.gain for amplifier in exposure.amplifiers], dtype=np.float64)
    usable = np.isfinite(gains) & (gains > 0)
    if not usable.any():
        raise InputDataError(
            f"Crosstalk coefficients per {crosstalk.unit} need gains for an image in {exposure.unit}, but no "
            f"gain is finite and positive: {gains}."
        )
    gains[~usable] = np.median(gains[usable])
    to_electron, to_adu = gains.astype(np.float32), (1 / gains).astype(np.float32)
    return (to_adu, to_electron) if exposure.unit == u.electron else (to_electron, to_adu)


def _flag_subtrahend(
    exposure: IsrExposure, subtrahend: FloatImage, *, limit: float, threads: int, out_mask: MaskBits
) -> None:
    """Flag pixels from which more than a limit was subtracted, beyond the usual."""

    def flag(index: int) -> None:
        raw = raw_geometry(exposure.detector.amplifiers[index])
        boxes = [raw.data_bbox, *_boxes_around(raw.bbox, raw.data_bbox)]
        offsets = np.zeros(len(boxes), np.float32)
        offsets[0] = _median(subtrahend, raw.data_bbox)
        arrays = np.array([kernel_box(box) for box in boxes])
        _kernels().flag_beyond(subtrahend, arrays, offsets, limit, int(IsrPlane.CROSSTALK), out_mask)

    map_threads(flag, range(len(exposure.amplifiers)), threads=threads)


def _boxes_around(outer: Box, inner: Box) -> list[Box]:
    """Return boxes that cover a box without one inside it."""
    make = Box.factory
    parts = [
        (outer.y.start, inner.y.start, outer.x.start, outer.x.stop),
        (inner.y.stop, outer.y.stop, outer.x.start, outer.x.stop),
        (inner.y.start, inner.y.stop, outer.x.start, inner.x.start),
        (inner.y.start, inner.y.stop, inner.x.stop, outer.x.stop),
    ]
    return [make[y0:y1, x0:x1] for y0, y1, x0, x1 in parts if y1 > y0 and x1 > x0]


def _median(image: FloatImage, box: Box) -> np.float32:
    """Return the median of the pixels of a box that are not NaN, as `numpy.nanmedian` does.

    Of a large box only the pixels near the median are sorted; a sample says
    which these are, and the count of those below whether that was right.
    """
    pixels = image[box_slices(box)]
    n = pixels.size
    stride = max(1, math.isqrt(n // _SAMPLE))
    sample = np.sort(pixels[::stride, ::stride], axis=None)
    sample = sample[~np.isnan(sample)]
    if n > 2 * _SAMPLE and sample.size > _SAMPLE // 2:
        low, high = sample[int(0.47 * sample.size)], sample[int(0.53 * sample.size)]
        inside = np.empty(n + 1, np.float32)
        n_below, n_inside, n_nan = _kernels().count_bracket(image, kernel_box(box), low, high, inside)
        first, second = (n - n_nan - 1) // 2 - n_below, (n - n_nan) // 2 - n_below
        if first >= 0 and second < n_inside:
            ordered = np.partition(inside[:n_inside], (first, second))
            return np.float32(np.mean(ordered[[first, second]]))
    finite = pixels[~np.isnan(pixels)]
    return np.float32(np.median(finite)) if finite.size else np.float32(np.nan)


def _detector_median(exposure: IsrExposure, geometry: npt.NDArray[np.int64], before: FloatImage) -> float:
    """Return the median of all pixels that are numbers and not BAD, in the unit of the coefficients."""
    values = []
    for (x, y, width, height, *_), factor in zip(geometry, before, strict=True):
        where = slice(y, y + height), slice(x, x + width)
        pixels = exposure.image[where] * factor
        values.append(pixels[np.isfinite(pixels) & (exposure.mask[where] & int(IsrPlane.BAD) == 0)])
    pixels = np.concatenate(values)
    if not pixels.size:
        return 0.0
    middle = [(pixels.size - 1) // 2, pixels.size // 2]
    return float(np.mean(np.partition(pixels, middle)[middle], dtype=np.float64))
