"""Serial charge transfer: charge that arrives late."""

from __future__ import annotations

__all__ = ("correct_deferred_charge",)

import math
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import astropy.units as u
import numpy as np
import numpy.typing as npt

from ...errors import CalibrationMismatchError, InconsistentUnitsError, InputDataError
from ._boxes import KernelBox, check_inside, kernel_box
from ._intervals import N_CELLS, make_interval_table
from ._threads import map_threads
from .calibrations import AmplifierChargeTransfer, DeferredCharge, FloatArray, SerialTrap, TrapType
from .exposure import FloatImage, IsrExposure, box_slices, raw_geometry

# How many pixels back an offset or a trap is followed.
_N_OFFSET = 15
_N_TRAP = 6


def correct_deferred_charge(exposure: IsrExposure, *, cti: DeferredCharge, threads: int = 1) -> IsrExposure:
    """Put charge that arrived late in the serial register back where it belongs.

    Undone are, row by row and in the direction of the readout, the drift of the
    local electronics offset, which follows the signal with a fraction of it and
    decays exponentially, and the trap of each amplifier, which catches charge and
    gives it back exponentially.

    Parameters
    ----------
    exposure
        Untrimmed exposure, in electron.
    cti
        Charge transfer of the amplifiers.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    corrected
        Exposure with a new image.  Prescans and parallel overscans are set to zero before the
        correction.  Variance and mask are as before.

    Raises
    ------
    InputDataError
        Raised if the exposure is assembled, or if the parameters of a good amplifier make no sense.
    InconsistentUnitsError
        Raised if the exposure is not in electron.
    CalibrationMismatchError
        Raised if the calibration lacks an amplifier.

    Notes
    -----
    Equations 10 and 13 of Snyder et al. 2021 (JATIS 7, 048002), along a row ``s`` that starts at the readout
    corner, with the drift scale ``A``, its decay time ``tau``, the global inefficiency ``b``, and the trap's
    capture function ``f`` and emission time ``te``; whatever is before the first pixel counts as zero:

    - if ``A > 0``: ``s1[x] = s[x] - max(A max(0, s[x - j]) exp(-j / tau), j = 0..14)``, else ``s1 = s``;
    - ``r = exp(-1 / te)``, ``q[x] = max(f(max(0, s1[x - n - 1])) r**n, n = 0..5)``;
    - ``s2 = s1 - (1 - b) (q (1 - r) - max(0, f(max(0, s1)) - q r))``.

    The capture function is ``min(size, c[0] s)`` (linear), ``size / (1 + exp(-c[1] (s - c[0])))``
    (logistic), or the linear interpolation in a table of signals and captured charges, which are the two
    halves of ``c``, with the value of the nearest end outside of it (spline).  NaN at the end of ``c`` is
    padding.  Everything is evaluated in double precision and stored as float32.

    The inefficiency ``b`` only scales what the trap does; without a trap it has no effect.  A pixel that is
    NaN makes those NaN whose correction depends on it.  Bad amplifiers are corrected like the others, unless
    their parameters are not finite.
    """
    if exposure.is_assembled:
        raise InputDataError(
            "Deferred charge is corrected in the untrimmed exposure, but this one is assembled."
        )
    if exposure.unit != u.electron:
        raise InconsistentUnitsError(
            f"Deferred charge is corrected in electron, but the exposure is in {exposure.unit}."
        )
    missing = {amplifier.name for amplifier in exposure.amplifiers} - set(cti.amplifiers)
    if missing:
        raise CalibrationMismatchError(
            f"The charge transfer calibration {cti.info.source} lacks amplifiers {sorted(missing)} of "
            f"detector {exposure.detector.name}; it has {sorted(cti.amplifiers)}."
        )
    transfers = [
        _prepare(cti.amplifiers[state.name], state.is_bad, f"amplifier {state.name} of {cti.info.source}")
        for state in exposure.amplifiers
    ]
    for amplifier in exposure.detector.amplifiers:
        raw = raw_geometry(amplifier)
        check_inside(exposure, amplifier, raw.bbox, raw.parallel_overscan_bbox)
    image = np.array(exposure.image, order="C")

    def correct(index: int) -> None:
        raw, transfer = raw_geometry(exposure.detector.amplifiers[index]), transfers[index]
        for box in (raw.parallel_overscan_bbox, raw.prescan_bbox):
            if box is not None:
                image[box_slices(box)] = 0.0
        if transfer is not None:
            transfer.restore(kernel_box(raw.bbox), int(raw.readout_corner.as_flips().x), image)

    map_threads(correct, range(len(transfers)), threads=threads)
    return exposure.with_pixels(image=image).with_header({"LSST ISR CTI APPLIED": True})


@cache
def _kernels() -> ModuleType:
    """Return the compiled part; numba is slow to import."""
    from ..._kernels import isr_deferred_charge_nb  # noqa: PLC0415

    return isr_deferred_charge_nb


@dataclass(frozen=True, eq=False)
class _Capture:
    """Capture function of a trap, as the kernel takes it."""

    form: int
    coefficients: FloatArray
    knots: FloatArray
    table: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Transfer:
    """Charge transfer of an amplifier, as the kernel takes it."""

    drift_scale: float
    decays: FloatArray
    capture: _Capture
    releases: FloatArray
    transfer: float

    def restore(self, box: KernelBox, flip: int, image: FloatImage) -> None:
        """Undo the charge transfer of a box of an image, in place."""
        capture = self.capture
        _kernels().restore_charge(
            box,
            flip,
            self.drift_scale,
            self.decays,
            capture.form,
            capture.coefficients,
            capture.knots,
            capture.table,
            self.releases,
            self.transfer,
            image,
        )


def _prepare(its: AmplifierChargeTransfer, is_bad: bool, what: str) -> _Transfer | None:  # noqa: FBT001
    """Return what the kernel needs for an amplifier, or `None` if nothing is to be done."""
    trap, coefficients = its.trap, np.zeros(0)
    numbers = [its.drift_scale, its.global_cti]
    if its.drift_scale > 0:
        numbers.append(its.decay_time_px)
    if trap is not None:
        coefficients = _strip(trap.coefficients)
        numbers += [trap.size, trap.emission_time_px, *coefficients]
    if not all(math.isfinite(number) for number in numbers):
        if is_bad:
            return None
        raise InputDataError(f"The charge transfer of {what} is not finite: {its}.")
    if (its.drift_scale > 0 and its.decay_time_px <= 0) or (trap is not None and trap.emission_time_px <= 0):
        raise InputDataError(f"The times of {what} must be positive: {its}.")
    capture = _NO_CAPTURE if trap is None else _make_capture(trap, coefficients, what)
    if its.drift_scale <= 0 and capture is _NO_CAPTURE:
        return None
    retention = 1.0 if trap is None else float(np.exp(-1.0 / trap.emission_time_px))
    decay_time = its.decay_time_px if its.drift_scale > 0 else 1.0
    return _Transfer(
        drift_scale=float(its.drift_scale),
        decays=np.exp(-np.arange(_N_OFFSET) / decay_time),
        capture=capture,
        releases=np.array([retention**n for n in range(_N_TRAP)]),
        transfer=1.0 - its.global_cti,
    )


def _strip(coefficients: FloatArray) -> FloatArray:
    """Return coefficients without the padding at their end."""
    known = np.flatnonzero(~np.isnan(coefficients))
    return np.asarray(coefficients[: known[-1] + 1] if known.size else coefficients[:0], dtype=np.float64)


_NO_CAPTURE = _Capture(
    form=0, coefficients=np.zeros(3), knots=np.zeros((3, 3)), table=np.zeros((1, N_CELLS + 1), np.int32)
)


def _make_capture(trap: SerialTrap, coefficients: FloatArray, what: str) -> _Capture:
    """Return the capture function of a trap."""
    needed = {TrapType.LINEAR: 1, TrapType.LOGISTIC: 2, TrapType.SPLINE: 4}[trap.form]
    if coefficients.size < needed or (trap.form is TrapType.SPLINE and coefficients.size % 2):
        raise InputDataError(
            f"The {trap.form.value} trap of {what} takes {needed} coefficients (a spline more, in pairs), "
            f"not {coefficients.size}."
        )
    if trap.form is not TrapType.SPLINE:
        if trap.size == 0:
            return _NO_CAPTURE
        kernels = _kernels()
        form = kernels.CAPTURE_LINEAR if trap.form is TrapType.LINEAR else kernels.CAPTURE_LOGISTIC
        numbers = np.array([trap.size, *coefficients, 0.0])[:3]
        return _Capture(form, numbers, _NO_CAPTURE.knots, _NO_CAPTURE.table)
    centers, values = np.split(coefficients, 2)
    if not (np.diff(centers) > 0).all():
        raise InputDataError(f"The signals of the spline trap of {what} must increase: {centers}.")
    if not values.any():
        return _NO_CAPTURE
    table, origin, cells_per_unit = make_interval_table(centers)
    knots = np.zeros((3, centers.size + 1))
    knots[0], knots[1, :-1] = [*centers, np.inf], values
    knots[2, :-2] = np.diff(values) / np.diff(centers)
    scale = np.array([origin, cells_per_unit, 0.0])
    return _Capture(_kernels().CAPTURE_SPLINE, scale, knots, table[np.newaxis])
