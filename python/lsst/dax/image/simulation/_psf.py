"""The analytic point spread function of the survey, and its persisted form."""

from __future__ import annotations

__all__ = (
    "GRID_SIZE",
    "STAMP_SIZE",
    "MoffatField",
    "make_aperture_correction",
    "make_piff_psf",
    "make_psf_picture",
)

import dataclasses
import math
from collections.abc import Iterable

import galsim
import numpy as np
import numpy.typing as npt
import piff

from lsst.images import Box
from lsst.images.fields import ChebyshevField
from lsst.images.psfs import PiffWrapper

from ._config import SurveyConfig
from ._visit_plan import VisitPlan, boresight_pixel, focal_plane_radius_px

MOFFAT_BETA = 4.0
"""Exponent of the profile; its wings fall as the eighth power of the radius."""

GRID_SIZE = 25
"""Side of the persisted pixel grid, as in DP2."""

STAMP_SIZE = 27
"""Side of the pictures that the persisted PSF returns, as in DP2."""


@dataclasses.dataclass(frozen=True)
class MoffatField:
    """An elliptical Moffat profile whose parameters vary over an image.

    This is the effective PSF: optics, atmosphere and pixel response together.
    A star is its samples at pixel centres, with no further integration.
    """

    fwhm_px: float
    """Full width at half maximum at the origin, in pixels."""

    ellipticity: tuple[float, float] = (0.0, 0.0)
    """Reduced shear (g1, g2) along the pixel axes at the origin."""

    slopes: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    """Change of relative size (x, y, radius squared), g1 (x, y), g2 (x, y)
    over ``radius_px``."""

    origin: tuple[float, float] = (0.0, 0.0)
    """Pixel (x, y) that the slopes start from."""

    radius_px: float = 1.0
    """Length scale of the slopes, in pixels."""

    @classmethod
    def of_visit(cls, config: SurveyConfig, plan: VisitPlan, detector: int) -> MoffatField:
        """Return the PSF of a visit in the pixels of one of its detectors."""
        return cls(
            fwhm_px=plan.fwhm / config.pixel_scale,
            ellipticity=plan.ellipticity,
            slopes=plan.psf_slopes,
            origin=boresight_pixel(config, detector),
            radius_px=focal_plane_radius_px(config),
        )

    def parameters(self, *, x: float, y: float) -> tuple[float, float, float]:
        """Return FWHM in pixels, g1 and g2 at a pixel position."""
        dx, dy = (x - self.origin[0]) / self.radius_px, (y - self.origin[1]) / self.radius_px
        s = self.slopes
        size = 1.0 + s[0] * dx + s[1] * dy + s[2] * (dx * dx + dy * dy)
        g1 = self.ellipticity[0] + s[3] * dx + s[4] * dy
        g2 = self.ellipticity[1] + s[5] * dx + s[6] * dy
        return self.fwhm_px * size, g1, g2

    def profile(self, *, x: float, y: float) -> galsim.GSObject:
        """Return the profile of unit flux at a pixel position, in units of pixels."""
        fwhm, g1, g2 = self.parameters(x=x, y=y)
        return galsim.Moffat(beta=MOFFAT_BETA, fwhm=fwhm).shear(g1=g1, g2=g2)

    def scale_radius_px(self, *, x: float, y: float) -> float:
        """Return the Moffat scale radius at a pixel position."""
        return self.parameters(x=x, y=y)[0] / (2.0 * math.sqrt(2.0 ** (1.0 / MOFFAT_BETA) - 1.0))

    def moments(self, *, x: float, y: float) -> tuple[float, float, float]:
        """Return the second moments xx, yy, xy in square pixels.

        A round Moffat profile has ``r0**2 / (2 (beta - 2))`` on each axis; the
        shear that GalSim applies keeps the area.
        """
        _, g1, g2 = self.parameters(x=x, y=y)
        shear = galsim.Shear(g1=g1, g2=g2).getMatrix()
        round_moment = self.scale_radius_px(x=x, y=y) ** 2 / (2.0 * (MOFFAT_BETA - 2.0))
        matrix = round_moment * shear @ shear.T
        return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 1])


def make_psf_picture(psf: MoffatField, *, x: float, y: float, size: int) -> npt.NDArray[np.float64]:
    """Return samples of the analytic PSF, centred on the central pixel.

    Not normalized: the sum is the fraction of the flux within the picture.
    """
    image = galsim.ImageD(size, size, scale=1.0)
    psf.profile(x=x, y=y).drawImage(image=image, method="no_pixel")
    return np.asarray(image.array)


def make_piff_psf(
    psf: MoffatField, *, bbox: Box, pixel_scale: float, stars: Iterable[tuple[float, float]]
) -> PiffWrapper:
    """Make the persisted PSF: a Piff pixel grid with polynomials of second order.

    Parameters
    ----------
    psf
        Analytic PSF.
    bbox
        Where it is valid.
    pixel_scale
        Nominal pixel scale in arcsec.
    stars
        Pixel positions (x, y) to name as the stars behind the model.

    Notes
    -----
    The coefficients are least-squares fits, pixel by pixel, to pictures of the
    analytic profile on a 7 x 7 grid of positions; no star of the survey has a
    part in it.
    """
    model = piff.PixelGrid(scale=pixel_scale, size=GRID_SIZE, interp="Lanczos(11)", centered=False)
    interpolation = piff.BasisPolynomial(order=2, keys=("x", "y"))
    x, y = _sample_positions(bbox)
    basis = np.array([interpolation.basis(_target(px, py)) for px, py in zip(x, y, strict=True)])
    pictures = np.array([_normalized_picture(psf, px, py) for px, py in zip(x, y, strict=True)])
    # Powers of pixel numbers reach 1e7 on a large detector: scale the columns.
    column_scale = np.max(np.abs(basis), axis=0)
    coefficients, *_ = np.linalg.lstsq(basis / column_scale, pictures, rcond=None)
    interpolation.q = (coefficients / column_scale[:, np.newaxis]).T.copy()
    implementation = piff.SimplePSF(model, interpolation)
    implementation.wcs = {0: galsim.PixelScale(pixel_scale)}
    implementation.pointing = None
    implementation.stars = [_target(px, py) for px, py in stars]
    return PiffWrapper(implementation, bbox, STAMP_SIZE)


def make_aperture_correction(psf: MoffatField, *, bbox: Box) -> ChebyshevField:
    """Return the factor from PSF flux to total flux.

    A fit of the persisted PSF to a star gives the flux within the pixel grid,
    because that PSF has unit sum there; the correction is the inverse of the
    enclosed fraction.
    """
    x, y = _sample_positions(bbox)
    inverse = [
        1.0 / float(np.sum(make_psf_picture(psf, x=px, y=py, size=GRID_SIZE)))
        for px, py in zip(x, y, strict=True)
    ]
    return ChebyshevField.fit(bbox, np.array(inverse), 2, x=np.array(x), y=np.array(y))


def _sample_positions(bbox: Box) -> tuple[list[float], list[float]]:
    """Return a 7 x 7 grid of positions that reaches the edges of a box."""
    x = np.linspace(bbox.x.min, bbox.x.max, 7)
    y = np.linspace(bbox.y.min, bbox.y.max, 7)
    grid_x, grid_y = np.meshgrid(x, y)
    return grid_x.ravel().tolist(), grid_y.ravel().tolist()


def _normalized_picture(psf: MoffatField, x: float, y: float) -> npt.NDArray[np.float64]:
    picture = make_psf_picture(psf, x=x, y=y, size=GRID_SIZE)
    return (picture / np.sum(picture)).ravel()


def _target(x: float, y: float) -> piff.Star:
    return piff.Star.makeTarget(x=x, y=y, u=x, v=y, scale=1.0)
