"""From the units of an image to nanojansky and AB magnitudes."""

from __future__ import annotations

__all__ = (
    "ABMagnitudes",
    "Corrections",
    "correct_aperture",
    "find_calibration",
    "limiting_magnitude",
    "to_ab_magnitudes",
)

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import MaskedImage
from lsst.images.fields import BaseField

from ..errors import InconsistentUnitsError
from ..flags import FLAGS
from .components import ImageComponents

type Floats = NDArray[np.float64]

AB_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy, rounded as the observatory rounds it (31.40006)."""

_MAG_PER_RELATIVE = 2.5 / np.log(10.0)


@dataclass(frozen=True)
class Corrections:
    """Factors of fluxes, one per position."""

    factor: Floats
    """Factor of flux and error, shape ``(n,)``; NaN where it is not usable."""

    flags: NDArray[np.int64]
    """Flag words, shape ``(n,)``."""


@dataclass(frozen=True)
class ABMagnitudes:
    """AB magnitudes of fluxes."""

    magnitude: Floats
    """AB magnitude; NaN below the smallest signal-to-noise ratio."""

    magnitude_err: Floats
    """Standard deviation of the magnitude, to first order."""

    limit: Floats
    """Magnitude of so many standard deviations of the flux, at all positions."""


def find_calibration(
    image: MaskedImage | ImageComponents,
    *,
    x: Floats,
    y: Floats,
    photometric_scaling: u.Quantity | BaseField | None = None,
) -> Corrections:
    """Return the factors from an image's units to nJy at positions.

    Parameters
    ----------
    image
        Image with a unit, or its components.  No pixel is read.
    x, y
        Positions in parent pixels, shape ``(n,)``; NaN where there is none.
    photometric_scaling
        Flux of one unit of the image, constant or a field with a unit; that
        of the image if `None`.  Not used for an image in units of flux.

    Returns
    -------
    calibration
        Factors in nJy per unit, and the flag ``NO_CALIBRATION`` where the
        factor at a known position is not positive.

    Raises
    ------
    InconsistentUnitsError
        Raised if there is no way from the image's unit to nJy.
    """
    unit = image.unit or u.dimensionless_unscaled
    if unit.is_equivalent(u.nJy):
        factor = np.full(x.shape, unit.to(u.nJy))
        return Corrections(factor, np.zeros(x.shape, dtype=np.int64))
    scaling = (
        getattr(image, "photometric_scaling", None) if photometric_scaling is None else photometric_scaling
    )
    if scaling is None:
        raise InconsistentUnitsError(f"An image in {unit} without a photometric scaling has no flux in nJy.")
    scaled = (scaling.unit or u.dimensionless_unscaled) * unit
    if not scaled.is_equivalent(u.nJy):
        raise InconsistentUnitsError(
            f"A photometric scaling in {scaling.unit} takes {unit} to {scaled}, not nJy."
        )
    if isinstance(scaling, u.Quantity):
        values = np.broadcast_to(np.asarray(scaling.value, dtype=np.float64), x.shape)
    else:
        values = _evaluate(scaling, x, y)
    return _check_factors(values * scaled.to(u.nJy), x, y, flag="NO_CALIBRATION")


def correct_aperture(
    image: MaskedImage | ImageComponents, name: str | None, *, x: Floats, y: Floats
) -> Corrections:
    """Return the aperture corrections of one kind of flux at positions.

    Parameters
    ----------
    image
        Image, with ``aperture_corrections`` if its kind has them, or its
        components.
    name
        Key of the correction, as ``base_PsfFlux_instFlux``; `None` for no
        correction.
    x, y
        Positions in parent pixels, shape ``(n,)``; NaN where there is none.

    Returns
    -------
    corrections
        Factors.  Where the image has none of this name they are 1, with the
        flag ``NO_APERTURE_CORRECTION``; where one is not positive, NaN with
        ``BAD_APERTURE_CORRECTION``.

    Notes
    -----
    The error is multiplied by the same factor: that of the correction itself
    is not added, as in the observatory's catalogues.
    """
    if name is None:
        return Corrections(np.ones(x.shape), np.zeros(x.shape, dtype=np.int64))
    fields: Mapping[str, Any] = getattr(image, "aperture_corrections", {})
    if name not in fields:
        flags = np.full(x.shape, FLAGS["NO_APERTURE_CORRECTION"].value, dtype=np.int64)
        return Corrections(np.ones(x.shape), flags)
    return _check_factors(_evaluate(fields[name], x, y), x, y, flag="BAD_APERTURE_CORRECTION")


def to_ab_magnitudes(
    flux: u.Quantity, flux_err: u.Quantity, *, min_snr: float = 3.0, limit_snr: float = 5.0
) -> ABMagnitudes:
    """Return AB magnitudes, and limits.

    Parameters
    ----------
    flux, flux_err
        Fluxes and their standard deviations, in units of flux density.
    min_snr
        Smallest signal-to-noise ratio of a detection.
    limit_snr
        Standard deviations that make a limit.

    Returns
    -------
    magnitudes
        Magnitudes of detections, and limits of all.

    Raises
    ------
    InconsistentUnitsError
        Raised if a unit is not one of flux density.
    """
    values, errors = _to_njy(flux), _to_njy(flux_err)
    with np.errstate(divide="ignore", invalid="ignore"):
        is_detected = values >= min_snr * errors
        magnitude = AB_ZERO_POINT - 2.5 * np.log10(values)
        magnitude_err = _MAG_PER_RELATIVE * errors / values
        return ABMagnitudes(
            np.where(is_detected, magnitude, np.nan),
            np.where(is_detected, magnitude_err, np.nan),
            AB_ZERO_POINT - 2.5 * np.log10(limit_snr * errors),
        )


def limiting_magnitude(flux_err: u.Quantity, *, snr: float = 5.0) -> Floats:
    """Return the AB magnitude of a source with a given signal-to-noise ratio.

    Parameters
    ----------
    flux_err
        Standard deviation of the flux of a source of no flux.
    snr
        Signal-to-noise ratio.

    Returns
    -------
    magnitude
        AB magnitude; NaN where the error is not positive.

    Raises
    ------
    InconsistentUnitsError
        Raised if the unit is not one of flux density.
    """
    errors = _to_njy(flux_err)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = np.where(errors > 0, AB_ZERO_POINT - 2.5 * np.log10(snr * errors), np.nan)
    return result


def _to_njy(flux: u.Quantity) -> Floats:
    """Return the values of a flux density in nJy."""
    if not flux.unit.is_equivalent(u.nJy):
        raise InconsistentUnitsError(f"A magnitude needs a flux density such as nJy; got {flux.unit}.")
    values: Floats = flux.to_value(u.nJy)
    return np.asarray(values, dtype=np.float64)


def _evaluate(field: BaseField, x: Floats, y: Floats) -> Floats:
    """Evaluate a field at those positions that are known."""
    values = np.full(x.shape, np.nan)
    is_known = np.isfinite(x) & np.isfinite(y)
    if is_known.any():
        values[is_known] = field(x=x[is_known], y=y[is_known])
    return values


def _check_factors(values: Floats, x: Floats, y: Floats, *, flag: str) -> Corrections:
    """Return factors with those that are not positive replaced by NaN and flagged."""
    is_usable = np.isfinite(values) & (values > 0.0)
    is_known = np.isfinite(x) & np.isfinite(y)
    return Corrections(
        np.where(is_usable, values, np.nan), np.where(is_known & ~is_usable, FLAGS[flag].value, 0)
    )
