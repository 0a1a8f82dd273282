"""Images, grids and oracles of the resampling tests, and the case of the benchmark."""

from __future__ import annotations

__all__ = (
    "FRAME",
    "Case",
    "add_gaussians",
    "evaluate_positions",
    "make_benchmark_case",
    "make_sip_projection",
    "make_source",
    "make_tan",
)

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from lsst.images import Box, GeneralFrame, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from numpy.typing import NDArray

from lsst.dax.image._kernels.resample_positions_nb import find_areas, find_positions, find_slopes
from lsst.dax.image._kernels.resample_vectors_nb import STRIP_ROWS, TILE
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import SourceCoordinates

FRAME = GeneralFrame(unit=u.pix)

SCHEMA = MaskSchema(
    [
        MaskPlane("BAD", "A bad pixel."),
        MaskPlane("SATURATED", "Saturated."),
        MaskPlane("DETECTION_EDGE", "Close to the edge."),
        MaskPlane("NO_DATA", "No data."),
    ]
)


@dataclass(frozen=True)
class Case:
    """A source and a target, and the stars of both."""

    image: MaskedImage
    """Source."""

    grid: TargetGrid
    """Target."""

    x: NDArray[np.float64]
    """Target columns of the stars."""

    y: NDArray[np.float64]
    """Target rows of the stars."""

    sigma: float
    """Their standard deviation, in target pixels."""


def make_tan(
    *,
    ra: float = 150.0,
    dec: float = 2.0,
    x: float = 0.0,
    y: float = 0.0,
    scale: float = 0.2,
    rotation: float = 0.0,
    mirrored: bool = False,
) -> SkyProjection[Any]:
    """Return a TAN projection with its reference point at pixel (x, y), its scale in arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [x + 1.0, y + 1.0]
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    parity = 1.0 if mirrored else -1.0
    wcs.wcs.cd = scale / 3600.0 * np.array([[parity * cos, sin], [-parity * sin, cos]])
    return SkyProjection.from_fits_wcs(wcs, FRAME)


def make_sip_projection(
    *, shape: tuple[int, int], scale: float = 0.1999, ra: float = 150.0, dec: float = 2.0
) -> Any:
    """Return a cubic TAN-SIP projection around the middle of an image, which bends it by some pixels."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cd = scale / 3600.0 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    header = wcs.to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["A_ORDER"] = header["B_ORDER"] = 3
    size = max(shape) / 2
    for name, pixels, power in (("A_2_0", 4.0, 2), ("A_1_1", 1.2, 2), ("B_0_2", -4.0, 2), ("B_2_0", 1.6, 2)):
        header[name] = pixels / size**power
    for name, pixels in (("A_3_0", 0.08), ("B_1_2", 0.16)):
        header[name] = pixels / size**3
    return SkyProjection.from_fits_wcs(WCS(header), FRAME)


def make_source(
    pixels: NDArray[Any],
    projection: SkyProjection[Any],
    *,
    variance: NDArray[Any] | None = None,
    x0: int = 0,
    y0: int = 0,
    schema: MaskSchema = SCHEMA,
) -> MaskedImage:
    """Return a masked image of float32 pixels with an empty mask, and a variance of 1 if none is given."""
    bbox = Box.factory[y0 : y0 + pixels.shape[0], x0 : x0 + pixels.shape[1]]
    noise = np.ones(pixels.shape) if variance is None else variance
    image = Image(pixels.astype(np.float32), bbox=bbox, unit=u.nJy, sky_projection=projection)
    return MaskedImage(
        image,
        mask=Mask(schema=schema, bbox=bbox),
        variance=Image(noise.astype(np.float32), bbox=bbox, unit=u.nJy**2),
    )


def evaluate_positions(
    found: SourceCoordinates, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions x and y of a whole grid, NaN off the source, and the areas of the pixels."""
    n_rows, n_columns = found.spacings.shape
    positions = np.full((2, n_rows * TILE, n_columns * TILE), np.nan)
    areas = np.full((n_rows * TILE, n_columns * TILE), np.nan)
    strip, slopes, area = (
        np.empty((2, STRIP_ROWS * TILE)),
        np.empty((4, STRIP_ROWS * TILE)),
        np.empty(STRIP_ROWS * TILE, np.float32),
    )
    for j, i in zip(*np.nonzero(found.spacings), strict=True):
        for row in range(0, TILE, STRIP_ROWS):
            here = np.s_[j * TILE + row : j * TILE + row + STRIP_ROWS, i * TILE : (i + 1) * TILE]
            spacing, start = int(found.spacings[j, i]), int(found.starts[j, i])
            find_positions(found.nodes, start, spacing, row, strip)
            find_areas(found.nodes, start, spacing, row, area)
            find_slopes(found.nodes, start, spacing, row, slopes)
            np.testing.assert_allclose(area, np.abs(slopes[0] * slopes[3] - slopes[1] * slopes[2]), rtol=2e-4)
            positions[(slice(None), *here)] = strip.reshape(2, STRIP_ROWS, TILE)
            areas[here] = area.reshape(STRIP_ROWS, TILE)
    y0, x0 = found.skipped
    return positions[:, y0 : y0 + shape[0], x0 : x0 + shape[1]], areas[y0 : y0 + shape[0], x0 : x0 + shape[1]]


def add_gaussians(
    image: MaskedImage, sky: SkyCoord, fluxes: NDArray[np.float64], sigma_arcsec: float, *, scale: float = 0.2
) -> None:
    """Add round stars of known flux per square pixel of ``scale`` arcsec, with the profile on the sky.

    The profile is a function of the distance on the tangent plane around each
    star, so that the stars are round in every target.  The pixel values are
    those of the profile at the pixels' centres.
    """
    projection = image.sky_projection
    assert projection is not None
    pixels = projection.sky_to_pixel(sky)
    reach = int(np.ceil(8.0 * sigma_arcsec / scale))
    for x, y, star, flux in zip(np.atleast_1d(pixels.x), np.atleast_1d(pixels.y), sky, fluxes, strict=True):
        columns = np.arange(
            max(image.bbox.x.start, int(x) - reach), min(image.bbox.x.stop, int(x) + reach + 1)
        )
        rows = np.arange(max(image.bbox.y.start, int(y) - reach), min(image.bbox.y.stop, int(y) + reach + 1))
        if columns.size == 0 or rows.size == 0:
            continue
        grid_x, grid_y = np.meshgrid(columns.astype(float), rows.astype(float))
        points = projection.pixel_to_sky_transform.apply_forward(x=grid_x, y=grid_y)
        separation = _tangent_distance(points.x, points.y, star.ra.rad, star.dec.rad) * 206264.80624709636
        amplitude = flux * scale**2 / (2.0 * np.pi * sigma_arcsec**2)
        box = Box.factory[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
        image.image[box].array[...] += amplitude * np.exp(-0.5 * (separation / sigma_arcsec) ** 2)


def _tangent_distance(ra: Any, dec: Any, ra0: float, dec0: float) -> NDArray[np.float64]:
    """Return the distances from the tangent points, on the tangent plane."""
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    xi = np.cos(dec) * np.sin(ra - ra0) / cosine
    eta = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)) / cosine
    distance: NDArray[np.float64] = np.hypot(xi, eta)
    return distance


def make_benchmark_case(
    *,
    rotation_deg: float = 30.0,
    source_shape: tuple[int, int] = (4000, 4072),
    target_shape: tuple[int, int] = (4200, 4200),
    n_stars: int = 484,
    fwhm_arcsec: float = 0.706,
    seed: int = 1,
) -> Case:
    """Return a detector with TAN-SIP distortion and a TAN grid of 0.2 arcsec, with isolated round stars.

    The pedestal is 100 and the variance 100; one pixel in ten thousand is
    BAD, and 16 columns at the left are DETECTION_EDGE.  No noise is added.
    """
    rng = np.random.default_rng(seed)
    image = make_source(
        np.full(source_shape, 100.0),
        make_sip_projection(shape=source_shape),
        variance=np.full(source_shape, 100.0),
    )
    image.mask.set("BAD", rng.random(source_shape) < 1e-4)
    edge = np.zeros(source_shape, bool)
    edge[:, :16] = True
    image.mask.set("DETECTION_EDGE", edge)
    grid = TargetGrid.from_center(
        SkyCoord(150.0, 2.0, unit=u.deg),
        pixel_scale=0.2 * u.arcsec,
        shape=target_shape,
        rotation=rotation_deg * u.deg,
    )
    side = round(np.sqrt(n_stars))
    margin = 0.15 * min(target_shape)
    along_x = np.linspace(margin, target_shape[1] - margin, side)
    along_y = np.linspace(margin, target_shape[0] - margin, side)
    x, y = (values.ravel() for values in np.meshgrid(along_x, along_y))
    x, y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)
    sigma = fwhm_arcsec / np.sqrt(8.0 * np.log(2.0))
    add_gaussians(image, grid.sky_projection.pixel_to_sky(x=x, y=y), np.full(x.size, 1e5), sigma)
    return Case(image=image, grid=grid, x=x, y=y, sigma=sigma / 0.2)
