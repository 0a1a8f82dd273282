"""Whether errors of fluxes are right: measured where there is nothing."""

from __future__ import annotations

__all__ = ("ErrorScale", "find_empty_positions", "measure_error_scale", "scale_errors")

import dataclasses
from collections.abc import Sequence

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray
from scipy import ndimage

from lsst.images import MaskedImage
from lsst.images.fields import BaseField
from lsst.images.psfs import PointSpreadFunction

from ..errors import NoCoverageError, RequestError, UnsupportedProductError
from ..psfs import PsfEvaluator, PsfTables
from .analysis import find_usable
from .measure import measure
from .options import ForcedOptions
from .schema import require_columns

type Floats = NDArray[np.float64]

SOURCE_PLANES = ("DETECTED", "DETECTED_NEGATIVE", "NO_DATA", "BAD", "SATURATED", "DETECTION_EDGE")
"""Mask planes of pixels that are not empty sky."""

_SIGMA_PER_QUARTILES = 0.7413
_MIN_POSITIONS = 20
_TRIALS = 20  # positions drawn for each one wanted


@dataclasses.dataclass(frozen=True)
class ErrorScale:
    """How fluxes of empty sky scatter, in their own errors."""

    scale: float
    """Standard deviation of flux over error, from the quartiles; 1 where the errors are right."""

    scale_err: float
    """Standard error of the scale, for Gaussian noise."""

    mean: float
    """Median of flux over error; 0 where the background is right."""

    n_positions: int
    """Number of positions."""


def find_empty_positions(
    image: MaskedImage,
    n: int,
    *,
    seed: int,
    margin_px: int = 15,
    planes: Sequence[str] = SOURCE_PLANES,
) -> tuple[Floats, Floats]:
    """Return random positions without a detected source around them.

    Parameters
    ----------
    image
        Image with a mask.
    n
        Number of positions.
    seed
        Seed of the random numbers.
    margin_px
        Distance, along rows and columns, within which no pixel has one of the
        planes and none lies off the image.
    planes
        Mask planes; those that the image does not have are passed over.

    Returns
    -------
    x, y
        Positions in parent pixels, each of shape ``(n,)``, or fewer where the
        image has fewer empty pixels than positions.

    Raises
    ------
    NoCoverageError
        Raised if no pixel is empty.
    RequestError
        Raised if the number of positions is not positive, or the margin is negative.
    """
    if n < 1 or margin_px < 0:
        raise RequestError(f"Got {n} positions with a margin of {margin_px} pixels.")
    is_full = ~np.isfinite(image.image.array)
    for plane in set(planes) & set(image.mask.schema.names):
        is_full |= image.mask.get(plane)
    size = 2 * margin_px + 1
    # Beyond the edge there is no sky.
    is_full = ndimage.maximum_filter(is_full, size=size, mode="constant", cval=True)
    rows, columns = np.nonzero(~is_full)
    if not rows.size:
        raise NoCoverageError(
            f"No pixel of {image.bbox} is {margin_px} pixels away from the edge and all of {tuple(planes)}."
        )
    rng = np.random.default_rng(seed)
    chosen = rng.choice(rows.size, size=min(n, rows.size), replace=False)
    dx, dy = rng.uniform(-0.5, 0.5, (2, chosen.size))
    return columns[chosen] + image.bbox.x.start + dx, rows[chosen] + image.bbox.y.start + dy


def measure_error_scale(
    image: MaskedImage,
    *,
    n: int = 500,
    seed: int,
    options: ForcedOptions | None = None,
    psf: PointSpreadFunction | PsfTables | PsfEvaluator | None = None,
    photometric_scaling: u.Quantity | BaseField | None = None,
) -> ErrorScale:
    """Measure fluxes of empty sky and compare their scatter with their errors.

    The noise of resampled images and of differences is correlated, which a
    variance plane does not tell; and sources too faint to be detected add
    to it.

    Parameters
    ----------
    image
        Image, with its detected sources in the mask.
    n
        Number of positions.
    seed
        Seed of the random positions.
    options, psf, photometric_scaling
        As for `measure`.

    Returns
    -------
    scale
        Factor for errors, with its own error.

    Raises
    ------
    UnsupportedProductError
        Raised if the image has no sky projection.
    NoCoverageError
        Raised if there are fewer than 20 usable fluxes.
    """
    if image.sky_projection is None:
        raise UnsupportedProductError(f"A {type(image).__name__} without a sky projection has no positions.")
    x, y = find_empty_positions(image, n, seed=seed)
    positions = image.sky_projection.pixel_to_sky(x=x, y=y)
    table = measure(image, positions, options=options, psf=psf, photometric_scaling=photometric_scaling)
    usable = find_usable(table)
    pulls = (table["flux"] / table["flux_err"])[usable].to_value(u.dimensionless_unscaled)
    if pulls.size < _MIN_POSITIONS:
        raise NoCoverageError(
            f"Of {x.size} empty positions {pulls.size} have a flux; needed: {_MIN_POSITIONS}."
        )
    low, middle, high = np.percentile(pulls, (25.0, 50.0, 75.0))
    scale = float(_SIGMA_PER_QUARTILES * (high - low))
    # 1.166 = relative error of a standard deviation from quartiles, times the root of n.
    return ErrorScale(scale, 1.166 * scale / np.sqrt(pulls.size), float(middle), pulls.size)


def scale_errors(table: QTable, scale: float | Floats) -> QTable:
    """Multiply the errors of fluxes by a factor, and keep the factor in the table.

    Parameters
    ----------
    table
        Fluxes as of `measure`.  Not modified.
    scale
        Factor, one for all or of shape ``(n,)``.

    Returns
    -------
    table
        A copy with ``flux_err``, ``flux_err_sky``, ``snr``, ``depth`` and
        ``chi2`` of the new errors, and the column ``error_scale``.

    Raises
    ------
    RequestError
        Raised if a factor is not positive, or the errors were scaled before.
    """
    require_columns(table, ("flux_err", "flux_err_sky", "snr", "depth", "chi2"))
    factor = np.broadcast_to(np.asarray(scale, np.float64), (len(table),)).copy()
    if not (factor > 0.0).all():
        raise RequestError(f"Errors are multiplied by positive numbers; the smallest is {factor.min()}.")
    if "error_scale" in table.colnames:
        raise RequestError("The errors of this table were scaled before: it has a column 'error_scale'.")
    out = table.copy()
    for name in ("flux_err", "flux_err_sky"):
        out[name] = table[name] * factor
    out["snr"] = table["snr"] / factor
    out["depth"] = table["depth"] - 2.5 * np.log10(factor) * u.mag
    out["chi2"] = table["chi2"] / factor**2
    out["error_scale"] = factor
    return out
