"""Non-linearity of the amplifiers."""

from __future__ import annotations

__all__ = ("correct_linearity",)

import math
from collections.abc import Callable
from functools import cache
from types import ModuleType

import astropy.units as u
import numpy as np
from scipy.interpolate import Akima1DInterpolator

from ...errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError
from ._boxes import KernelBox, check_inside, fill_image, kernel_box
from ._intervals import make_interval_table
from ._threads import map_threads
from .calibrations import AmplifierLinearity, FloatArray, LinearityType, Linearizer
from .exposure import FloatImage, IsrExposure

type _Correction = Callable[[FloatImage, KernelBox, FloatImage], None]

# How far below its last knot a spline is followed, in the unit of the image.
_SPLINE_MARGIN = 0.1
_DOUBLE_SPLINE_MARGIN = 0.01


def correct_linearity(exposure: IsrExposure, *, linearizer: Linearizer, threads: int = 1) -> IsrExposure:
    """Correct every amplifier for its non-linearity.

    Parameters
    ----------
    exposure
        Exposure, in adu or electron.  Before assembly prescans and overscans are corrected too.
    linearizer
        Corrections.  If they are in adu and the image in electron, they are scaled by the
        amplifier's gain.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    corrected
        Exposure with a new image; variance and mask are as before.

    Raises
    ------
    CalibrationMismatchError
        Raised if the linearizer lacks an amplifier, or a lookup table that one needs.
    InconsistentUnitsError
        Raised if the linearizer is in electron and the image is not, or if a unit is something else.
    InputDataError
        Raised if the coefficients make no sense: too few, or knots that do not increase.

    Notes
    -----
    With the pixel ``I`` and the coefficients ``c``:

    - Spline: ``c`` is the knots followed by the values.  The first value is subtracted from all, and the
      knot (0, 0) put in front unless the first is at zero.  Then ``I - A(min(max(I, first), last - 0.1))``
      with the Akima spline ``A`` of `scipy.interpolate.Akima1DInterpolator`.
    - DoubleSpline: ``c`` is the numbers of knots of two splines, followed by knots and values of each.
      They are subtracted one after the other, the second a function of what the first left; the margin of
      0.1 is 0.01 here.  A spline of no knots is zero.
    - Squared: ``I (1 + c[0] I)``.
    - Polynomial: ``I + sum(c[i] I**(2 + i))``.
    - LookupTable: ``I + table[int(c[0]), int(c[1] + I)]``; beyond its ends the table has the value
      of the end.
    - Proportional, None: ``I``.

    For coefficients in adu and an image in electron, ``g F(I / g)`` with the gain ``g`` replaces a correction
    ``F(I)``; that is, knots and values of splines are multiplied by it.  Everything is evaluated in
    double precision and stored as float32, after each of two splines.

    An amplifier whose correction needs a gain that is not finite is left as it is; one with coefficients that
    are not finite becomes NaN.  Bad amplifiers are corrected like the others.
    """
    _check_units(exposure, linearizer)
    missing = {amplifier.name for amplifier in exposure.amplifiers} - set(linearizer.amplifiers)
    if missing:
        raise CalibrationMismatchError(
            f"The linearizer {linearizer.info.source} lacks amplifiers {sorted(missing)} of detector "
            f"{exposure.detector.name}; it has {sorted(linearizer.amplifiers)}."
        )
    work = []
    for amplifier, state in zip(exposure.detector.amplifiers, exposure.amplifiers, strict=True):
        box = exposure.amplifier_bbox(amplifier)
        check_inside(exposure, amplifier, box)
        correct: _Correction = _leave
        scale = state.gain if _needs_gain(exposure, linearizer) else 1.0
        if math.isfinite(scale):
            what = f"amplifier {state.name} of the linearizer {linearizer.info.source}"
            correct = _prepare(linearizer, linearizer.amplifiers[state.name], scale, what)
        work.append((correct, box))
    source = np.ascontiguousarray(exposure.image)
    # Nothing else is left to copy if the amplifiers fill the image.
    is_full = fill_image([box for _, box in work], source.shape)
    image = np.empty_like(source) if is_full else source.copy()
    map_threads(lambda item: item[0](source, kernel_box(item[1]), image), work, threads=threads)
    return exposure.with_pixels(image=image).with_header({"LSST ISR LINEARIZER APPLIED": True})


@cache
def _kernels() -> ModuleType:
    """Return the compiled part; numba is slow to import."""
    from ..._kernels import isr_linearity_nb  # noqa: PLC0415

    return isr_linearity_nb


def _check_units(exposure: IsrExposure, linearizer: Linearizer) -> None:
    """Check that the linearizer can be brought into the unit of the image."""
    for what, unit in (("exposure", exposure.unit), ("linearizer", linearizer.unit)):
        if unit not in (u.adu, u.electron):
            raise InconsistentUnitsError(f"The unit of the {what} is {unit}, neither adu nor electron.")
    if exposure.unit == u.adu and linearizer.unit == u.electron:
        raise InconsistentUnitsError(
            f"The linearizer {linearizer.info.source} is in {linearizer.unit}, the exposure in "
            f"{exposure.unit}."
        )


def _needs_gain(exposure: IsrExposure, linearizer: Linearizer) -> bool:
    """Tell whether the corrections have to be scaled."""
    return bool(exposure.unit != linearizer.unit)


def _prepare(linearizer: Linearizer, linearity: AmplifierLinearity, gain: float, what: str) -> _Correction:
    """Return the correction of an amplifier as a function of source, box and result."""
    coefficients = np.array(linearity.coefficients, dtype=np.float64)
    match linearity.form:
        case LinearityType.PROPORTIONAL | LinearityType.NONE:
            return _leave
        case LinearityType.SPLINE:
            parts, margin = [coefficients], _SPLINE_MARGIN
        case LinearityType.DOUBLE_SPLINE:
            parts, margin = _split_double(coefficients, what), _DOUBLE_SPLINE_MARGIN
        case LinearityType.SQUARED:
            parts, margin = [_first(coefficients, 1, what)], 0.0
        case LinearityType.POLYNOMIAL:
            parts, margin = [coefficients], 0.0
        case LinearityType.LOOKUP_TABLE:
            parts, margin = [_first(coefficients, 2, what)], 0.0
    if not all(np.isfinite(part).all() for part in parts):
        return _blank
    match linearity.form:
        case LinearityType.SQUARED:
            return _bind(_kernels().scale_by_signal, float(parts[0][0] / gain))
        case LinearityType.POLYNOMIAL:
            powers = gain ** np.arange(1.0, parts[0].size + 1)
            return _bind(_kernels().add_polynomial, parts[0] / powers)
        case LinearityType.LOOKUP_TABLE:
            row = _table_row(linearizer, int(parts[0][0]), what)
            return _bind(_kernels().add_lookup, row, float(parts[0][1]), gain)
        case _:
            splines = [_make_spline(part, gain, margin, what) for part in parts if part.size]
            return _bind(_kernels().subtract_splines, *_pack(splines)) if splines else _leave


def _leave(source: FloatImage, box: KernelBox, image: FloatImage) -> None:
    """Leave an amplifier as it is."""
    x, y, width, height = box
    image[y : y + height, x : x + width] = source[y : y + height, x : x + width]


def _blank(source: FloatImage, box: KernelBox, image: FloatImage) -> None:  # noqa: ARG001
    """Blank an amplifier whose correction is unknown."""
    x, y, width, height = box
    image[y : y + height, x : x + width] = np.nan


def _bind(kernel: Callable[..., None], *arguments: FloatArray | float) -> _Correction:
    """Return a kernel with its coefficients."""

    def correct(source: FloatImage, box: KernelBox, image: FloatImage) -> None:
        kernel(source, box, *arguments, image)

    return correct


def _first(coefficients: FloatArray, n: int, what: str) -> FloatArray:
    """Return the first coefficients."""
    if coefficients.size < n:
        raise InputDataError(f"The form of {what} takes {n} coefficients, not {coefficients.size}.")
    return coefficients[:n]


def _table_row(linearizer: Linearizer, row: int, what: str) -> FloatArray:
    """Return a row of the lookup tables."""
    n_rows = 0 if linearizer.table is None else len(linearizer.table)
    if linearizer.table is None or not 0 <= row < n_rows:
        raise CalibrationMismatchError(
            f"Row {row} of the lookup tables of {what} is wanted; there are {n_rows}."
        )
    return np.ascontiguousarray(linearizer.table[row], dtype=np.float64)


def _split_double(coefficients: FloatArray, what: str) -> list[FloatArray]:
    """Return the coefficients of the two splines."""
    numbers = _first(coefficients, 2, what)
    if not np.isfinite(numbers).all():
        return [numbers]
    n1, n2 = int(numbers[0]), int(numbers[1])
    if n1 < 0 or n2 < 0 or coefficients.size != 2 + 2 * n1 + 2 * n2:
        raise InputDataError(
            f"Two splines of {n1} and {n2} knots have {2 + 2 * n1 + 2 * n2} coefficients, but {what} has "
            f"{coefficients.size}."
        )
    return [coefficients[2 : 2 + 2 * n1], coefficients[2 + 2 * n1 :]]


def _make_spline(
    coefficients: FloatArray, gain: float, margin: float, what: str
) -> tuple[Akima1DInterpolator, float]:
    """Return a spline in the unit of the image, and the highest argument for it."""
    if coefficients.size % 2 or coefficients.size < 4:
        raise InputDataError(
            f"A spline has two knots or more, and as many values: {what} has {coefficients}."
        )
    centers, values = np.split(coefficients, 2)
    if gain != 1.0:
        centers, values = centers * gain, values * gain
    if values[0] != 0:
        values = values - values[0]
    if centers[0] != 0:
        centers, values = np.concatenate(([0.0], centers)), np.concatenate(([0.0], values))
    high = float(centers[-1]) - margin
    if not (np.diff(centers) > 0).all() or high <= centers[0]:
        raise InputDataError(f"The knots of {what} must increase, and by more than {margin}: {centers}.")
    return Akima1DInterpolator(centers, values, method="akima"), high


def _pack(splines: list[tuple[Akima1DInterpolator, float]]) -> tuple[FloatArray, ...]:
    """Return splines as the kernel takes them: knots, pieces, tables and limits."""
    n = max(spline.x.size for spline, _ in splines)
    knots, pieces = np.full((len(splines), n), np.inf), np.zeros((len(splines), n - 1, 4))
    tables, limits = [], []
    for k, (spline, high) in enumerate(splines):
        knots[k, : spline.x.size] = spline.x
        pieces[k, : spline.x.size - 1] = spline.c.T[:, ::-1]
        table, origin, cells_per_unit = make_interval_table(spline.x)
        tables.append(table)
        limits.append([spline.x[0], high, origin, cells_per_unit])
    return knots, pieces, np.array(tables), np.array(limits)
