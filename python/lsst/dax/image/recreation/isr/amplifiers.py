"""Gains, and which amplifiers are bad."""

from __future__ import annotations

__all__ = ("apply_gains", "check_amplifiers", "correct_gains", "flag_bad_amplifiers", "set_gains")

import dataclasses
import math

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images.cameras import Amplifier

from ...errors import InputDataError
from ._amplifier_checks import check_unit, find_amplifier, keep_finite
from ._row_bands import split_rows
from ._threads import map_threads
from .calibrations import Defects, GainCorrection, PhotonTransferCurve
from .exposure import AmplifierState, HeaderValue, IsrExposure, IsrPlane, box_slices


def set_gains(exposure: IsrExposure, *, ptc: PhotonTransferCurve) -> IsrExposure:
    """Take the gain and the read noise of every amplifier from the photon transfer curve.

    Parameters
    ----------
    exposure
        Exposure; its pixels are not changed.
    ptc
        Gains (electron per adu) and read noises (electron).

    Returns
    -------
    exposure
        Exposure with new amplifiers.  A gain that is NaN stays NaN, and makes
        the amplifier bad in `flag_bad_amplifiers`.

    Raises
    ------
    CalibrationMismatchError
        Raised if the curve lacks an amplifier.
    """
    states = []
    for state in exposure.amplifiers:
        its = find_amplifier(ptc.amplifiers, state.name, kind="ptc", source=ptc.info.source)
        states.append(dataclasses.replace(state, gain=its.gain, read_noise=its.read_noise))
    changed = exposure.with_amplifiers(tuple(states), step="set_gains")
    return changed.with_header(_gain_cards(changed.amplifiers))


def flag_bad_amplifiers(exposure: IsrExposure, *, defects: Defects | None = None) -> IsrExposure:
    """Find the amplifiers that are useless, and flag all their pixels.

    An amplifier is bad if one single defect covers its data, or if its gain is
    not finite.

    Parameters
    ----------
    exposure
        Exposure whose gains are set.
    defects
        Bad pixels of the trimmed detector.

    Returns
    -------
    exposure
        Exposure with BAD over the raw pixels, with overscans, of the bad amplifiers.

    Raises
    ------
    InputDataError
        Raised if no good amplifier is left.
    """
    boxes = () if defects is None else defects.boxes
    bad = {
        amplifier.name
        for amplifier, state in zip(exposure.detector.amplifiers, exposure.amplifiers, strict=True)
        if not math.isfinite(state.gain) or any(box.contains(amplifier.bbox) for box in boxes)
    }
    return _flag_bad(exposure, bad, step="flag_bad_amplifiers")


def correct_gains(exposure: IsrExposure, *, gain_correction: GainCorrection | None = None) -> IsrExposure:
    """Multiply the gains by the factors of a gain correction.

    Parameters
    ----------
    exposure
        Exposure whose gains are set and not applied yet.
    gain_correction
        Factors by amplifier; without them nothing changes.

    Returns
    -------
    exposure
        Exposure with new gains; the read noises (electron) stay.

    Raises
    ------
    InconsistentUnitsError
        Raised if the image is not in adu: its gains are applied.
    CalibrationMismatchError
        Raised if the correction lacks an amplifier.
    """
    if gain_correction is None:
        return exposure
    check_unit(exposure, u.adu, "Gain correction")
    source = gain_correction.info.source
    states = []
    for state in exposure.amplifiers:
        factor = find_amplifier(
            gain_correction.adjustments, state.name, kind="gain_correction", source=source
        )
        states.append(dataclasses.replace(state, gain=state.gain * factor))
    changed = exposure.with_amplifiers(tuple(states), step="correct_gains")
    cards = {**_gain_cards(changed.amplifiers), "LSST ISR GAINCORRECTION APPLIED": True}
    return changed.with_header(cards)


def apply_gains(exposure: IsrExposure, *, threads: int = 1) -> IsrExposure:
    """Turn counts into electrons.

    Parameters
    ----------
    exposure
        Exposure in adu.
    threads
        Threads to use.

    Returns
    -------
    exposure
        Exposure in electron; its image, variance and levels of saturation are scaled.

    Raises
    ------
    InconsistentUnitsError
        Raised if the image is not in adu, such as when gains were applied before.

    Notes
    -----
    The image is multiplied by the gain g, rounded to single precision, and the
    variance by the square of that, rounded again.  Amplifiers without a finite
    gain become NaN in image and variance.  A variance that is zero everywhere
    is not touched unless a gain is not finite.
    """
    check_unit(exposure, u.adu, "Applying gains")
    gains = np.array([state.gain for state in exposure.amplifiers], dtype=np.float32)
    image = _scale(exposure, exposure.image, gains, threads=threads)
    variance = exposure.variance
    if not np.isfinite(gains).all() or variance.any():
        variance = _scale(exposure, variance, gains * gains, threads=threads)
    states = tuple(
        dataclasses.replace(
            state, saturation=state.saturation * state.gain, suspect=state.suspect * state.gain
        )
        for state in exposure.amplifiers
    )
    cards: dict[str, HeaderValue] = {**_gain_cards(states), "LSST ISR UNITS": "electron"}
    for state in states:
        levels = (("SATURATION", state.saturation), ("SUSPECT", state.suspect))
        for name, level in levels:
            if (key := f"LSST ISR {name} LEVEL {state.name}") in exposure.header:
                cards[key] = level
    electrons = dataclasses.replace(exposure, image=image, variance=variance, unit=u.electron)
    return electrons.with_amplifiers(states, step="apply_gains").with_header(keep_finite(cards))


def check_amplifiers(
    exposure: IsrExposure,
    *,
    ptc: PhotonTransferCurve,
    median_shift_sigma: float | None = None,
    noise_limit_electron: float | None = 25.0,
) -> IsrExposure:
    """Find amplifiers that misbehaved in this exposure, and flag all their pixels.

    Parameters
    ----------
    exposure
        Exposure whose serial overscan was subtracted, and whose gains are set.
    ptc
        Read noises (electron), and expected levels of the serial overscan with
        their scatter (adu).
    median_shift_sigma
        An amplifier whose serial overscan is farther than this from the
        expected level, in units of the scatter, is bad; `None` checks no level.
    noise_limit_electron
        An amplifier is bad whose read noise, of the photon transfer curve or of
        this exposure's serial overscan, is above this; `None` checks no noise.

    Returns
    -------
    exposure
        Exposure with BAD over the raw pixels of the bad amplifiers.

    Raises
    ------
    CalibrationMismatchError
        Raised if the curve lacks an amplifier.
    InputDataError
        Raised if a good amplifier has no overscan statistics, or no good amplifier is left.

    Notes
    -----
    The noise of the exposure is the residual of the serial overscan in adu,
    times the gain with its correction.  A level, scatter or noise that is NaN
    condemns no amplifier.
    """
    shift = math.inf if median_shift_sigma is None else median_shift_sigma
    noise = math.inf if noise_limit_electron is None else noise_limit_electron
    if math.isinf(shift) and math.isinf(noise):
        return exposure
    bad = set()
    for state in exposure.amplifiers:
        its = find_amplifier(ptc.amplifiers, state.name, kind="ptc", source=ptc.info.source)
        if state.is_bad:
            continue
        overscan = state.serial_overscan
        if overscan is None:
            raise InputDataError(
                f"The check of amplifier {state.name} needs statistics of its serial overscan, "
                "but 'subtract_serial_overscan' did not run."
            )
        away = abs(overscan.median - its.overscan_median_adu)
        is_shifted = math.isfinite(shift) and away > shift * its.overscan_median_sigma_adu
        is_noisy = its.read_noise > noise or overscan.residual_stdev * state.gain > noise
        if is_shifted or is_noisy:
            bad.add(state.name)
    return _flag_bad(exposure, bad, step="check_amplifiers")


def _flag_bad(exposure: IsrExposure, bad: set[str], *, step: str) -> IsrExposure:
    """Return the exposure with more bad amplifiers, flagged with their overscans."""
    if not bad:
        return exposure
    states = tuple(
        dataclasses.replace(state, is_bad=state.is_bad or state.name in bad) for state in exposure.amplifiers
    )
    changed = exposure.with_amplifiers(states, step=step)
    mask = exposure.mask.copy()
    for amplifier in exposure.detector.amplifiers:
        if amplifier.name in bad:
            mask[box_slices(exposure.amplifier_bbox(amplifier))] |= np.uint16(IsrPlane.BAD)
    return changed.with_pixels(mask=mask)


def _gain_cards(states: tuple[AmplifierState, ...]) -> dict[str, HeaderValue]:
    """Return what a header says about gains and read noises."""
    cards: dict[str, HeaderValue] = {}
    for state in states:
        cards[f"LSST ISR GAIN {state.name}"] = state.gain
        cards[f"LSST ISR READNOISE {state.name}"] = state.read_noise
    return keep_finite(cards)


def _scale(
    exposure: IsrExposure,
    plane: npt.NDArray[np.float32],
    factors: npt.NDArray[np.float32],
    *,
    threads: int,
) -> npt.NDArray[np.float32]:
    """Return a plane whose amplifiers are multiplied by one number each."""
    scaled = np.empty_like(plane)
    amplifiers: list[Amplifier] = list(exposure.detector.amplifiers)
    boxes = [exposure.amplifier_bbox(amplifier) for amplifier in amplifiers]

    def scale(rows: tuple[int, int]) -> None:
        """Fill rows of the new plane, through which the same amplifiers run."""
        start, stop = rows
        # Whole rows are one pass through memory; what no amplifier covers is
        # multiplied by one, which changes no bit.
        row = np.ones(plane.shape[1], np.float32)
        for box, factor in zip(boxes, factors, strict=True):
            if box.y.start <= start and stop <= box.y.stop:
                row[box.x.start : box.x.stop] = factor
        np.multiply(plane[start:stop], row, out=scaled[start:stop])

    map_threads(scale, split_rows(plane.shape[0], boxes), threads=threads)
    return scaled
