"""Fluxes of point sources at fixed positions."""

from __future__ import annotations

__all__ = ("Background", "PsfFluxes", "Weights", "fit_psf_flux")

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._kernels import flux_psf_nb as nb
from ..choices import as_choice
from ..errors import RequestError
from ..flags import FLAGS
from ..psfs import PsfStamps
from .background import LocalBackground
from .pixels import Pixels

type Floats = NDArray[np.float64]


class Weights(enum.Enum):
    """Which noise the error of a flux is for."""

    NONE = "none"
    """The variance of each pixel, the source's own noise in it, is propagated
    through the unweighted fit: the observatory's estimator."""

    FLAT = "flat"
    """One inverse variance for all pixels of a stamp, that of the sky around
    it.  The flux is the same, as a common weight has no effect on it; the
    error is that of a source of no flux.  Right for difference images and for
    weights of stacks, too small for bright sources."""


class Background(enum.Enum):
    """What is taken off the pixels before a flux is measured."""

    NONE = "none"
    """Nothing: the image is background-subtracted."""

    ANNULUS = "annulus"
    """The clipped mean of an annulus around the source."""

    FIT = "fit"
    """A constant that is fitted together with the flux."""


@dataclass(frozen=True)
class PsfFluxes:
    """PSF fluxes in the units of the image, all of shape ``(n,)``."""

    flux: Floats
    """Flux; NaN where a flag says why there is none."""

    flux_err: Floats
    """Standard deviation of the flux."""

    flux_err_sky: Floats
    """Standard deviation of the flux that a source of no flux would have here."""

    chi2: Floats
    """Sum of the squared residuals over their variances."""

    area: Floats
    """Effective area of the PSF, (sum m)² / sum m², in pixels."""

    n_pixels: NDArray[np.int64]
    """Number of pixels that were used."""

    masked_fraction: Floats
    """Fraction of the PSF that was not used: left out, or off the image."""

    background: Floats
    """Background per pixel that was taken off; 0 for `Background.NONE`."""

    background_err: Floats
    """Standard deviation of the background."""

    flags: NDArray[np.int64]
    """Flag words; see `lsst.dax.image.flags`."""


def fit_psf_flux(
    pixels: Pixels,
    stamps: PsfStamps,
    *,
    weights: Weights = Weights.NONE,
    background: LocalBackground | Background = Background.NONE,
) -> PsfFluxes:
    r"""Fit the flux of point sources of fixed positions, one at a time.

    Parameters
    ----------
    pixels
        Pixels of the image.
    stamps
        Pictures of point sources of unit flux, one per position.
    weights
        Which noise the errors are for.  There is no weighting by the variance
        of single pixels: in a variance plane made from the data it favours
        pixels that fluctuated low, and biases a source of no flux by minus
        its effective area in electrons.
    background
        Background that was measured around each position, or a choice of
        none or of a fitted constant.

    Returns
    -------
    fluxes
        One per picture.  A source without a flux has a flag and NaN.

    Raises
    ------
    RequestError
        Raised if an option is no choice, or the background is
        `Background.ANNULUS`: `measure_local_background` measures it.

    Notes
    -----
    With the model :math:`m` over the pixels that are on the image and not
    left out, :math:`f = \sum m d / \sum m^2` and
    :math:`\sigma_f = \sqrt{\sum m^2 v} / \sum m^2`.  This is the estimator of
    the observatory's ``base_PsfFlux``, which uses all pixels of the stamp;
    a stamp that the image's edge cuts is fitted on the rest and flagged.
    """
    weights = as_choice(weights, Weights, "weights")
    if not isinstance(background, LocalBackground):
        background = as_choice(background, Background, "background")
    if background is Background.ANNULUS:
        raise RequestError("The background of an annulus is measured before; pass its LocalBackground.")
    fits_constant = background is Background.FIT
    sums = np.zeros((len(stamps), nb.N_SUMS))
    rim = np.empty(len(stamps))
    start_x, start_y = stamps.x0 - pixels.x0, stamps.y0 - pixels.y0
    height, width = stamps.array.shape[1:]
    planes = pixels.mask, pixels.drop
    nb.sum_over_stamps(
        pixels.image, pixels.variance, *planes, pixels.drops_not_finite, stamps.array, start_x, start_y, sums
    )
    nb.find_median_rim(pixels.variance, *planes, start_x, start_y, height, width, rim)
    with np.errstate(divide="ignore", invalid="ignore"):
        if fits_constant:
            solved = _solve_with_constant(sums, rim)
        else:
            measured = background if isinstance(background, LocalBackground) else None
            solved = _solve_flux(sums, rim, measured)
        chi2 = _sum_residuals(sums, solved.flux, solved.background)
        area = sums[:, nb.SUM_M] ** 2 / sums[:, nb.SUM_MM]
        masked = np.maximum(0.0, 1.0 - sums[:, nb.SUM_M] / stamps.sums)  # no rounding below zero
    flux_err = solved.flux_err if weights is Weights.NONE else solved.flux_err_sky
    flags = _find_flags(pixels, stamps, sums, solved.flux, flux_err)
    if isinstance(background, LocalBackground):
        flags |= np.where(background.n_pixels == 0, FLAGS["NO_BACKGROUND"].value, 0)
    failed = ~(np.isfinite(solved.flux) & np.isfinite(flux_err))
    blank = [np.where(failed, np.nan, column) for column in (solved.flux, flux_err, chi2, area)]
    return PsfFluxes(
        flux=blank[0],
        flux_err=blank[1],
        flux_err_sky=solved.flux_err_sky,
        chi2=blank[2],
        area=blank[3],
        # A picture that does not exist has no place, and no pixels there.
        n_pixels=np.where(stamps.flags == 0, sums[:, nb.SUM_COUNT], 0.0).astype(np.int64),
        masked_fraction=masked,
        background=solved.background,
        background_err=solved.background_err,
        flags=flags,
    )


@dataclass(frozen=True)
class _Solution:
    """Fluxes and backgrounds with their errors, shape ``(n,)`` each."""

    flux: Floats
    flux_err: Floats
    flux_err_sky: Floats
    background: Floats
    background_err: Floats


def _solve_flux(sums: Floats, sky_variance: Floats, background: LocalBackground | None) -> _Solution:
    """Solve for the flux above a known background."""
    m, mm = sums[:, nb.SUM_M], sums[:, nb.SUM_MM]
    level = np.zeros_like(m) if background is None else background.mean
    level_err = np.zeros_like(m) if background is None else background.error
    level_part = (m / mm * level_err) ** 2
    return _Solution(
        flux=(sums[:, nb.SUM_MD] - level * m) / mm,
        flux_err=np.sqrt(sums[:, nb.SUM_MMV] / mm**2 + level_part),
        flux_err_sky=np.sqrt(sky_variance / mm + level_part),
        background=level,
        background_err=level_err,
    )


def _solve_with_constant(sums: Floats, sky_variance: Floats) -> _Solution:
    """Solve for the flux and a constant below it."""
    n, m, mm = sums[:, nb.SUM_COUNT], sums[:, nb.SUM_M], sums[:, nb.SUM_MM]
    v, mv, mmv = sums[:, nb.SUM_V], sums[:, nb.SUM_MV], sums[:, nb.SUM_MMV]
    d, md = sums[:, nb.SUM_D], sums[:, nb.SUM_MD]
    det = n * mm - m * m
    det = np.where(det > 1e-12 * n * mm, det, np.nan)  # one pixel, or a flat model: no solution
    return _Solution(
        flux=(n * md - m * d) / det,
        flux_err=np.sqrt(n * n * mmv - 2.0 * n * m * mv + m * m * v) / det,
        flux_err_sky=np.sqrt(sky_variance * n / det),
        background=(mm * d - m * md) / det,
        background_err=np.sqrt(mm * mm * v - 2.0 * mm * m * mv + m * m * mmv) / det,
    )


def _sum_residuals(sums: Floats, flux: Floats, level: Floats) -> Floats:
    """Return the sum of (d - level - f m)² / v."""
    data = sums[:, nb.SUM_WDD] - 2.0 * level * sums[:, nb.SUM_WD] + level**2 * sums[:, nb.SUM_W]
    cross = sums[:, nb.SUM_WMD] - level * sums[:, nb.SUM_WM]
    result: Floats = data - 2.0 * flux * cross + flux**2 * sums[:, nb.SUM_WMM]
    return result


def _find_flags(
    pixels: Pixels, stamps: PsfStamps, sums: Floats, flux: Floats, flux_err: Floats
) -> NDArray[np.int64]:
    """Return why fluxes are missing or doubtful."""
    height, width = stamps.array.shape[1:]
    rows, columns = pixels.image.shape
    left, low = stamps.x0 - pixels.x0, stamps.y0 - pixels.y0
    is_cut = (left < 0) | (low < 0) | (left + width > columns) | (low + height > rows)
    is_off = (left + width <= 0) | (low + height <= 0) | (left >= columns) | (low >= rows)
    has_psf = stamps.flags == 0
    has_pixels = sums[:, nb.SUM_COUNT] > 0
    is_finite = np.isfinite(flux) & np.isfinite(flux_err)
    flags = stamps.flags.copy()
    for name, condition in (
        ("NO_COVERAGE", is_off),
        ("EDGE", is_cut & ~is_off),
        ("NO_PIXELS", ~is_off & ~has_pixels),
        ("NOT_FINITE", has_pixels & ~is_finite),
    ):
        # A picture that does not exist has no place either.
        flags[condition & has_psf] |= FLAGS[name].value
    return flags
