"""Saturated and suspect pixels."""

from __future__ import annotations

__all__ = ("LevelSource", "flag_saturation")

import dataclasses
import enum
import math

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images.cameras import Amplifier

from ...errors import InputDataError
from ._amplifier_checks import check_choice, check_unit, check_untrimmed, find_amplifier, keep_finite
from ._row_bands import split_rows
from ._threads import map_threads
from .calibrations import PhotonTransferCurve
from .exposure import AmplifierState, HeaderValue, IsrExposure, IsrPlane, box_slices, raw_geometry

type Levels = npt.NDArray[np.float64]

# NumPy takes a member of IntFlag for a 64-bit integer.
_SATURATED_OR_SUSPECT = np.uint16(IsrPlane.SATURATED | IsrPlane.SUSPECT)


class LevelSource(enum.StrEnum):
    """Where a level in adu comes from."""

    PTC_TURNOFF = "ptc_turnoff"
    """Turn-off of the photon transfer curve."""
    CAMERA_MODEL = "camera_model"
    """Nominal calibration of the amplifier in the detector."""
    NONE = "none"
    """No level: infinite."""


def flag_saturation(
    exposure: IsrExposure,
    *,
    ptc: PhotonTransferCurve,
    saturation_source: str = LevelSource.PTC_TURNOFF,
    suspect_source: str = LevelSource.PTC_TURNOFF,
    saturation_override_adu: float | None = None,
    suspect_override_adu: float | None = None,
    threads: int = 1,
) -> IsrExposure:
    """Flag pixels at or above the levels of saturation and suspicion.

    Parameters
    ----------
    exposure
        Untrimmed exposure in adu, whose serial overscan was subtracted.
    ptc
        Turn-offs in adu.
    saturation_source, suspect_source
        Where the levels come from, of `LevelSource`.
    saturation_override_adu, suspect_override_adu
        Level for all amplifiers instead, in adu.
    threads
        Threads to use.

    Returns
    -------
    exposure
        Exposure with SATURATED and SUSPECT in the whole raw amplifiers, and with
        the levels in its amplifiers.  An amplifier whose data are all flagged
        becomes bad, with BAD over its data.

    Raises
    ------
    RequestError
        Raised if there is no such source.
    InconsistentUnitsError
        Raised if the image is not in adu.
    CalibrationMismatchError
        Raised if the curve lacks an amplifier.
    InputDataError
        Raised if the exposure is trimmed, the detector has no nominal levels
        that were asked for, or no good amplifier is left.

    Notes
    -----
    Bad amplifiers are passed over.  A pixel in single precision is compared
    with the level in double precision; a level that is NaN flags nothing.
    Nothing is grown here.
    """
    check_unit(exposure, u.adu, "Saturation")
    check_untrimmed(exposure, "Saturation")
    sources = check_choice(LevelSource, saturation_source), check_choice(LevelSource, suspect_source)
    overrides = saturation_override_adu, suspect_override_adu
    states = []
    for amplifier, state in zip(exposure.detector.amplifiers, exposure.amplifiers, strict=True):
        if not state.is_bad:
            saturation, suspect = (
                _find_level(amplifier, ptc, source, is_suspect=is_suspect) if override is None else override
                for source, override, is_suspect in zip(sources, overrides, (False, True), strict=True)
            )
            state = dataclasses.replace(state, saturation=saturation, suspect=suspect)  # noqa: PLW2901
        states.append(state)
    mask = _flag_levels(exposure, states, threads=threads)
    changed = exposure.with_pixels(mask=mask).with_header(_level_cards(states))
    return _flag_full_amplifiers(changed, states)


def _find_level(
    amplifier: Amplifier, ptc: PhotonTransferCurve, source: LevelSource, *, is_suspect: bool
) -> float:
    """Return the level of an amplifier in adu."""
    match source:
        case LevelSource.PTC_TURNOFF:
            curve = find_amplifier(ptc.amplifiers, amplifier.name, kind="ptc", source=ptc.info.source)
            return curve.turnoff_adu
        case LevelSource.CAMERA_MODEL:
            nominal = amplifier.nominal_calibrations
            if nominal is None:
                raise InputDataError(
                    f"The level of amplifier {amplifier.name} shall come from the camera model, "
                    "which has no nominal calibrations for it."
                )
            return nominal.suspect_level if is_suspect else nominal.saturation
        case LevelSource.NONE:
            return math.inf


def _level_cards(states: list[AmplifierState]) -> dict[str, HeaderValue]:
    """Return what a header says about the levels."""
    cards: dict[str, HeaderValue] = {}
    for state in states:
        if not state.is_bad:
            cards[f"LSST ISR SATURATION LEVEL {state.name}"] = state.saturation
            cards[f"LSST ISR SUSPECT LEVEL {state.name}"] = state.suspect
    return keep_finite(cards)


def _flag_levels(
    exposure: IsrExposure, states: list[AmplifierState], *, threads: int
) -> npt.NDArray[np.uint16]:
    """Return the mask with the pixels that reach the levels; the same mask if there is none."""
    image = exposure.image
    good = [
        (raw_geometry(amplifier).bbox, state)
        for amplifier, state in zip(exposure.detector.amplifiers, states, strict=True)
        if not state.is_bad
    ]

    def find(rows: tuple[int, int]) -> list[tuple[slice, IsrPlane, npt.NDArray[np.bool_]]]:
        """Return the pixels of some rows that reach a level, with their plane."""
        start, stop = rows
        # NaN is reached by no pixel.
        levels = np.full((2, image.shape[1]), np.nan)
        for box, state in good:
            if box.y.start <= start and stop <= box.y.stop:
                levels[0, box.x.start : box.x.stop] = state.saturation
                levels[1, box.x.start : box.x.stop] = state.suspect
        single = _round_up(levels)
        hits = []
        with np.errstate(invalid="ignore"):
            saturated = image[start:stop] >= single[0]
            is_same = np.array_equal(single[0], single[1], equal_nan=True)
            suspect = saturated if is_same else image[start:stop] >= single[1]
        for plane, hit in ((IsrPlane.SATURATED, saturated), (IsrPlane.SUSPECT, suspect)):
            if hit.any():
                hits.append((slice(start, stop), plane, hit))
        return hits

    bands = split_rows(image.shape[0], [box for box, _ in good])
    found = [hit for hits in map_threads(find, bands, threads=threads) for hit in hits]
    if not found:
        return exposure.mask
    mask = exposure.mask.copy()
    for rows, plane, hit in found:
        mask[rows][hit] |= np.uint16(plane)
    return mask


def _round_up(levels: Levels) -> npt.NDArray[np.float32]:
    """Return the smallest numbers in single precision that are not below the levels."""
    # Beyond the largest number in single precision lies infinity.
    with np.errstate(over="ignore"):
        single = levels.astype(np.float32)
    return np.where(single < levels, np.nextafter(single, np.float32(np.inf)), single)


def _flag_full_amplifiers(exposure: IsrExposure, states: list[AmplifierState]) -> IsrExposure:
    """Return the exposure with amplifiers bad whose data are all saturated or suspect."""
    mask = exposure.mask
    for number, (amplifier, state) in enumerate(zip(exposure.detector.amplifiers, states, strict=True)):
        if state.is_bad:
            continue
        data = box_slices(raw_geometry(amplifier).data_bbox)
        # Where one pixel tells that an amplifier is alive, the others are not read.
        is_alive = not mask[data][0, 0] & _SATURATED_OR_SUSPECT
        if is_alive or not ((mask[data] & _SATURATED_OR_SUSPECT) > 0).all():
            continue
        if mask is exposure.mask:
            mask = exposure.mask.copy()
        mask[data] |= np.uint16(IsrPlane.BAD)
        states[number] = dataclasses.replace(state, is_bad=True)
    return exposure.with_pixels(mask=mask).with_amplifiers(tuple(states), step="flag_saturation")
