"""One image, or a part of it, with all that is needed to measure on it."""

from __future__ import annotations

__all__ = ("Scene", "Setup", "find_reach", "measure_rows")

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import MaskedImage, MaskSchema

from .._kernels import flux_shape_nb as nb
from ..geometry import locate_positions
from ..psfs import PsfStamps
from .aperture_flux import MAX_SINC_RADIUS, measure_apertures, sinc_reach
from .background import measure_local_background
from .components import ImageComponents
from .options import ForcedOptions
from .pixels import Pixels, extract_pixels
from .psf_flux import Background, PsfFluxes, fit_psf_flux
from .schema import PIXEL_PLANES, name_aperture
from .targets import Targets

type Floats = NDArray[np.float64]
type Columns = dict[str, NDArray[Any]]

_STRIPE = 32.0  # rows
_BLOCK_BYTES = 32_000_000  # pictures of the PSF in memory at once
_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
_BACKGROUND_PLANES = ("BAD", "SATURATED", "NO_DATA")


@dataclass(frozen=True)
class Setup:
    """A whole image without its pixels, and how to measure on it."""

    components: ImageComponents
    options: ForcedOptions

    @cached_property
    def stamp_shape(self) -> tuple[int, int]:
        """Rows and columns of the pictures of the PSF."""
        size = self.options.stamp_size
        return self.components.evaluator.stamp_shape if size is None else (size, size)

    @cached_property
    def pixel_scale_arcsec(self) -> float:
        """Side of a pixel in the middle of the image."""
        bbox = self.components.bbox
        x = bbox.x.center + np.array([0.0, 1.0, 0.0])
        y = bbox.y.center + np.array([0.0, 0.0, 1.0])
        # Astropy's own coordinates would take as long as a small measurement.
        to_sky = self.components.sky_projection.pixel_to_sky_transform
        lon, lat = to_sky.apply_forward(x=x, y=y)
        vectors = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        sides = vectors[:, 1:] - vectors[:, :1]
        area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]))
        return float((np.sqrt(area) * u.rad).to_value(u.arcsec))

    def draw(self, x: Floats, y: Floats) -> PsfStamps:
        """Draw the PSF at positions."""
        return self.components.evaluator.stellar_images(
            x, y, size=self.options.stamp_size, normalization=self.options.normalization
        )

    def locate(self, targets: Targets) -> tuple[Floats, Floats]:
        """Return where targets are in parent pixels; NaN where they are not."""
        x, y = np.full((2, len(targets)), np.nan)
        components = self.components
        found = locate_positions(components.sky_projection, targets.positions, bbox=components.bbox)
        x[targets.is_known], y[targets.is_known] = found
        return x, y

    def is_near(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Return whether the picture of a star at a position has pixels of the image."""
        height, width = self.stamp_shape
        bbox = self.components.bbox
        in_x = (x > bbox.x.start - 1 - width // 2) & (x < bbox.x.stop + width // 2)
        in_y = (y > bbox.y.start - 1 - height // 2) & (y < bbox.y.stop + height // 2)
        return in_x & in_y

    def make_scene(self, part: MaskedImage) -> Scene:
        """Return the scene of the image, or of a part of it."""
        return Scene(self, extract_pixels(part, bad_planes=self.options.bad_planes), part.mask.schema)


@dataclass(frozen=True)
class Scene:
    """Pixels that hold all that is needed around some targets."""

    setup: Setup
    pixels: Pixels
    schema: MaskSchema

    @cached_property
    def for_background(self) -> Pixels:
        """The pixels, without those that have no sky in them."""
        planes = [plane for plane in _BACKGROUND_PLANES if plane in self.schema.names]
        drop = self.schema.bitmask(*planes).view(np.uint8) | self.pixels.drop
        return replace(self.pixels, drop=drop)


def measure_rows(scene: Scene, values: Columns, rows: NDArray[np.int64]) -> None:
    """Measure targets one by one.

    Parameters
    ----------
    scene
        Pixels around the targets.
    values
        Columns, in which those of the targets are filled, in the units of the
        image.
    rows
        Targets to measure.
    """
    for part in _find_blocks(scene.setup, values["x"], values["y"], rows):
        for name, array in _measure_block(scene, values["x"][part], values["y"][part]).items():
            values[name][part] = (values[name][part] | array) if name.endswith("flags") else array


def find_reach(setup: Setup, x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return how far from targets pixels count.

    Parameters
    ----------
    setup
        Image and options.
    x, y
        Positions in parent pixels.

    Returns
    -------
    reach_px
        Pixels on each side of the nearest one, shape ``(n,)``, so that a flux
        on these alone is that on the whole image.
    """
    options = setup.options
    fixed = [max(setup.stamp_shape) // 2 + 1.0]
    for radius in options.radii:
        if 0.0 < radius < np.inf:  # the others are refused by what measures
            fixed += [radius + 1.0, sinc_reach(radius) if radius <= MAX_SINC_RADIUS else 0.0]
    reach = np.full(x.size, np.ceil(max(fixed)) + 1.0)
    factor = options.footprint_scaling
    if options.background is Background.ANNULUS:
        factor = max(factor, options.annulus[1])
    for part in _find_blocks(setup, x, y, np.arange(x.size)):
        moments = _find_moments(setup.draw(x[part], y[part]), x[part], y[part])
        width = np.sqrt(np.maximum(moments[:, 0], moments[:, 1]))
        around = np.ceil(factor * width) + 2.0
        reach[part] = np.where(np.isfinite(around), np.maximum(reach[part], around), reach[part])
    return reach.astype(np.int64)


def _find_blocks(setup: Setup, x: Floats, y: Floats, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield some targets, so many at once as fit in memory."""
    height, width = setup.stamp_shape
    size = max(16, _BLOCK_BYTES // (8 * height * width))
    # Neighbours on the image follow each other, so that its pixels stay in the
    # processor's cache.
    indices = rows[np.lexsort((x[rows], y[rows] // _STRIPE))]
    for first in range(0, indices.size, size):
        yield indices[first : first + size]


def _measure_block(scene: Scene, x: Floats, y: Floats) -> Columns:
    """Return the columns of some targets, in the units of the image."""
    options = scene.setup.options
    stamps = scene.setup.draw(x, y)
    moments = _find_moments(stamps, x, y)
    sigma = np.sqrt(np.sqrt(moments[:, 0] * moments[:, 1] - moments[:, 2] ** 2))
    columns: Columns = {"psf_fwhm": _FWHM_PER_SIGMA * sigma * scene.setup.pixel_scale_arcsec}
    if options.background is Background.ANNULUS:
        inner, outer = options.annulus
        around = measure_local_background(
            scene.for_background, x=x, y=y, sigma=sigma, inner_factor=inner, outer_factor=outer
        )
        fluxes = fit_psf_flux(scene.pixels, stamps, weights=options.weights, background=around)
        columns["background_n_pixels"] = around.n_pixels
    else:
        fluxes = fit_psf_flux(scene.pixels, stamps, weights=options.weights, background=options.background)
    for name in ("flux", "flux_err", "flux_err_sky", "chi2", "n_pixels", "area", "masked_fraction", "flags"):
        columns[name] = getattr(fluxes, name)
    columns["background"], columns["background_err"] = fluxes.background, fluxes.background_err
    if options.background is Background.FIT:
        columns["background_n_pixels"] = fluxes.n_pixels
    columns |= _collect_planes(scene, x, y, moments)
    return columns | _measure_apertures(scene, x, y, fluxes)


def _find_moments(stamps: PsfStamps, x: Floats, y: Floats) -> Floats:
    """Return the adaptive moments of the PSF in square pixels, shape ``(n, 3)``."""
    moments = np.empty((len(stamps), 3))
    start = np.sqrt(stamps.effective_areas_px / (4.0 * np.pi))
    nb.find_shapes(stamps.array, x - stamps.x0, y - stamps.y0, start, moments)
    return moments


def _collect_planes(scene: Scene, x: Floats, y: Floats, moments: Floats) -> Columns:
    """Return whether mask planes are set around each target."""
    pixels, schema = scene.pixels, scene.schema
    around = np.empty((x.size, pixels.mask.shape[2]), dtype=np.uint8)
    center = np.empty_like(around)
    nb.collect_planes(
        pixels.mask,
        x - pixels.x0,
        y - pixels.y0,
        moments,
        scene.setup.options.footprint_scaling,
        around,
        center,
    )
    columns: Columns = {}
    for name, plane in PIXEL_PLANES.items():
        if plane in schema.names:
            bits = schema.bitmask(plane).view(np.uint8)
            columns[f"pixel_{name}"] = (around & bits).any(axis=1)
            columns[f"pixel_{name}_center"] = (center & bits).any(axis=1)
    return columns


def _measure_apertures(scene: Scene, x: Floats, y: Floats, fluxes: PsfFluxes) -> Columns:
    """Return the columns of apertures."""
    options = scene.setup.options
    if not options.radii:
        return {}
    has_background = options.background is not Background.NONE
    measured = measure_apertures(
        scene.pixels,
        x=x,
        y=y,
        radii=options.radii,
        rule=options.aperture_rule,
        background=fluxes.background if has_background else None,
        background_err=fluxes.background_err if has_background else None,
    )
    columns: Columns = {}
    for k, radius in enumerate(options.radii):
        name = name_aperture(radius)
        columns[f"{name}_flux"] = measured.flux[:, k]
        columns[f"{name}_flux_err"] = measured.flux_err[:, k]
        columns[f"{name}_area"] = measured.area[:, k]
        columns[f"{name}_flags"] = measured.flags[:, k]
    return columns
