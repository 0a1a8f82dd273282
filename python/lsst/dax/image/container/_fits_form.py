"""A FITS WCS for sky projections that have none of their own."""

from __future__ import annotations

__all__ = ("with_fits_form",)

from typing import Any

import numpy as np
from astropy.wcs import WCS, Sip
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection

_TOLERANCE_PX = 0.001
_DEGREE = 5
# The polynomial is fitted to at least this much of the sky around the centre.
_MIN_HALF_SIZE_PX = 32.0
_GRID = np.linspace(-1.0, 1.0, 13)
# AST marks what is not on the sky with the largest double.
_UNUSABLE = 1e6


def with_fits_form(projection: SkyProjection[Any], bbox: Box) -> SkyProjection[Any]:
    """Return a projection whose FITS form is true to it.

    Parameters
    ----------
    projection
        Projection of an image, which has no approximation yet.
    bbox
        Pixels of the image.

    Returns
    -------
    projection
        The same projection; with a TAN-SIP approximation of fifth degree
        around the middle of the image, where its FITS form is off by more
        than a thousandth of a pixel and the approximation is closer.

    Notes
    -----
    `lsst.images` has AST write the FITS form and astropy read it back.  For a
    TPV projection AST writes the polynomial in cards of its own (``QVi_m``),
    of which astropy knows nothing: what is left is a plain TAN, off by 10
    pixels for a DECam image.
    """
    center = np.array([bbox.x.center, bbox.y.center])
    half = np.maximum(0.5 * np.array([bbox.x.size, bbox.y.size]), _MIN_HALF_SIZE_PX)
    offsets = np.stack([axis.ravel() for axis in np.meshgrid(_GRID, _GRID)]) * half[:, np.newaxis]
    x, y = center[:, np.newaxis] + offsets
    sky = projection.pixel_to_sky_transform.apply_forward(x=x, y=y)
    radec = np.stack([np.asarray(sky.x, dtype=np.float64), np.asarray(sky.y, dtype=np.float64)])
    if not np.all(np.abs(radec) < _UNUSABLE):
        return projection
    start = np.array([[bbox.x.start], [bbox.y.start]])
    local = center[:, np.newaxis] + offsets - start
    own = projection.as_fits_wcs(bbox)
    error = np.inf if own is None else _error_px(own, local, radec)
    if error < _TOLERANCE_PX:
        return projection
    fitted = _fit_tan_sip(center, offsets, half, np.degrees(radec))
    if not _error_px(fitted, center[:, np.newaxis] + offsets, radec) < error:
        return projection
    approximation = SkyProjection.from_fits_wcs(fitted, projection.pixel_frame, pixel_bounds=bbox)
    return SkyProjection(projection.pixel_to_sky_transform, approximation.pixel_to_sky_transform)


def _error_px(wcs: WCS, pixels: NDArray[np.float64], radec: NDArray[np.float64]) -> float:
    """Return the largest distance of a WCS from sky positions in radians."""
    ra, dec = np.radians(wcs.all_pix2world(*pixels, 0))
    apart = np.hypot(dec - radec[1], np.cos(dec) * np.sin(ra - radec[0]))
    scale = np.radians(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))))
    return float(np.max(apart) / scale)


def _fit_tan_sip(
    center: NDArray[np.float64],
    offsets: NDArray[np.float64],
    half: NDArray[np.float64],
    radec_deg: NDArray[np.float64],
) -> WCS:
    """Fit a TAN-SIP projection to pixels around a centre.

    With the reference point in the centre, the tangent-plane coordinates are
    a polynomial in the offsets without a constant term.  Its linear part is
    the CD matrix; the inverse of that turns the rest into SIP coefficients.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = radec_deg[:, offsets.shape[1] // 2]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cd = np.eye(2)
    plane = np.stack(wcs.wcs_world2pix(*radec_deg, 0))
    powers = [(p, q) for p in range(_DEGREE + 1) for q in range(_DEGREE + 1 - p) if p + q > 0]
    u, v = offsets / half[:, np.newaxis]
    terms = np.stack([u**p * v**q for p, q in powers], axis=-1)
    scales = np.array([half[0] ** p * half[1] ** q for p, q in powers])
    found = np.linalg.lstsq(terms, plane.T)[0] / scales[:, np.newaxis]
    cd = np.stack([found[powers.index((1, 0))], found[powers.index((0, 1))]], axis=-1)
    distortion = np.zeros((2, _DEGREE + 1, _DEGREE + 1))
    for (p, q), coefficient in zip(powers, found, strict=True):
        if p + q > 1:
            distortion[:, p, q] = np.linalg.solve(cd, coefficient)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crpix = center + 1.0
    wcs.wcs.cd = cd
    wcs.sip = Sip(distortion[0], distortion[1], None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs
