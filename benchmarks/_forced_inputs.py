"""A field of stars in memory, and visit images in a Butler repository, one file each."""

from __future__ import annotations

__all__ = ("Field", "drop_from_page_cache", "make_field", "make_visits")

import dataclasses
import functools
import os
from pathlib import Path

import galsim
import numpy as np
import piff
from lsst.daf.butler import Butler, DatasetRef, FileDataset
from lsst.images import Box
from lsst.images.psfs import PiffWrapper

from lsst.dax.image.forced import Pixels
from lsst.dax.image.psfs import PsfEvaluator, make_psf_evaluator
from lsst.dax.image.simulation import MiniSurvey, SurveyConfig, VisitPlan
from lsst.dax.image.simulation._config import INSTRUMENT
from lsst.dax.image.simulation._psf import GRID_SIZE, STAMP_SIZE, MoffatField, make_psf_picture
from lsst.dax.image.simulation._repository import (
    _FORMATTER,
    RUN,
    _make_repository_config,
    _register_datasets,
    insert_dimensions,
    put_sky_map,
)
from lsst.dax.image.simulation._scene import make_detector_scene
from lsst.dax.image.simulation._truth import make_truth
from lsst.dax.image.simulation._visit import make_visit_image
from lsst.dax.image.simulation._visit_plan import make_visit_plans

BAND = "i"
_ORDER = 4  # of the polynomials of Rubin's PSF models: 15 terms
_PIXEL_SCALE = 0.2
_SKY = 400.0


@dataclasses.dataclass(frozen=True)
class Field:
    """Isolated stars with noise, and their point spread function."""

    pixels: Pixels
    """Image, variance and a mask without bad pixels; no plane is left out, as at the observatory."""

    psf: PiffWrapper
    """Piff pixel grid."""

    evaluator: PsfEvaluator
    """Our evaluator of it."""

    x: np.ndarray
    """Columns of the stars: neighbours on the image follow each other."""

    y: np.ndarray
    """Rows."""

    flux: np.ndarray
    """True fluxes, a fifth of them 0."""


def make_field(*, shape: tuple[int, int], n_stars: int) -> Field:
    """Draw stars on a jittered grid, under a PSF that varies with the position."""
    rng = np.random.default_rng(1)
    rows, columns = shape
    psf = _make_psf(Box.factory[0:rows, 0:columns])
    evaluator = make_psf_evaluator(psf)
    per_row = round((n_stars * columns / rows) ** 0.5)
    per_column = -(-n_stars // per_row)
    j, i = np.divmod(np.arange(n_stars), per_row)
    step_x, step_y = (columns - 60) / per_row, (rows - 60) / per_column
    x = 30.0 + (i + 0.5) * step_x + rng.uniform(-4.0, 4.0, n_stars)
    y = 30.0 + (j + 0.5) * step_y + rng.uniform(-4.0, 4.0, n_stars)
    flux = np.where(rng.random(n_stars) < 0.2, 0.0, 10.0 ** rng.uniform(2.5, 6.0, n_stars))
    model = np.zeros(shape)
    stamps = evaluator.stellar_images(x, y)
    height, width = stamps.array.shape[1:]
    for k in range(n_stars):
        cut = slice(stamps.y0[k], stamps.y0[k] + height), slice(stamps.x0[k], stamps.x0[k] + width)
        model[cut] += flux[k] * stamps.array[k]
    image = rng.normal(model, np.sqrt(model + _SKY)).astype(np.float32)
    pixels = Pixels(
        image=image,
        variance=np.clip(image + _SKY, 1.0, None).astype(np.float32),
        mask=np.zeros((*shape, 3), np.uint8),
        drop=np.zeros(3, np.uint8),
        x0=0,
        y0=0,
    )
    return Field(pixels, psf, evaluator, x, y, flux)


def _make_psf(bbox: Box) -> PiffWrapper:
    """Return a Piff pixel grid of fourth order, of stars of 3.2 to 4.9 pixels."""
    middle, radius = (float(bbox.x.center), float(bbox.y.center)), 0.5 * max(bbox.x.size, bbox.y.size)
    profile = MoffatField(
        fwhm_px=3.6,
        ellipticity=(0.02, -0.01),
        slopes=(0.1, 0.07, 0.05, 0.03, 0.02, -0.03, 0.02),
        origin=middle,
        radius_px=radius,
    )
    model = piff.PixelGrid(scale=_PIXEL_SCALE, size=GRID_SIZE, interp="Lanczos(11)", centered=False)
    interpolation = piff.BasisPolynomial(order=_ORDER, keys=("x", "y"))
    grid = [
        (x, y) for y in np.linspace(bbox.y.min, bbox.y.max, 9) for x in np.linspace(bbox.x.min, bbox.x.max, 9)
    ]
    basis = np.array(
        [interpolation.basis(piff.Star.makeTarget(x=x, y=y, u=x, v=y, scale=1.0)) for x, y in grid]
    )
    pictures = np.array([make_psf_picture(profile, x=x, y=y, size=GRID_SIZE).ravel() for x, y in grid])
    pictures /= pictures.sum(axis=1, keepdims=True)
    column_scale = np.max(np.abs(basis), axis=0)  # powers of pixel numbers reach 1e14
    coefficients, *_ = np.linalg.lstsq(basis / column_scale, pictures)
    interpolation.q = (coefficients / column_scale[:, None]).T.copy()
    whole = piff.SimplePSF(model, interpolation)
    whole.wcs, whole.pointing, whole.stars = {0: galsim.PixelScale(_PIXEL_SCALE)}, None, []
    return PiffWrapper(whole, bbox, STAMP_SIZE)


@dataclasses.dataclass(frozen=True, eq=False)
class OneBandSurvey(MiniSurvey):
    """A survey that observes in one band."""

    @functools.cached_property
    def visits(self) -> tuple[VisitPlan, ...]:
        """Its visits."""
        return tuple(plan for plan in make_visit_plans(self.config) if plan.band == BAND)


def make_visits(root: Path, count: int, *, quick: bool) -> tuple[MiniSurvey, list[Path]]:
    """Make a repository of so many visit images that hold the survey's centre.

    Parameters
    ----------
    root
        Where to make it.
    count
        Number of visits.
    quick
        Whether the images are of a megapixel, not of sixteen.

    Returns
    -------
    survey
        The survey; its repository has only visit images.
    paths
        The files.  Their pixels are those of one simulated visit, lossless,
        and each has the number of its own visit; no two share anything on disk.
    """
    config = SurveyConfig(
        detector_shape=(1000, 1018) if quick else (4000, 4072),
        detector_grid=(1, 1),
        visits_per_band=count,
        star_density=0.5,
        galaxy_density=0.5,
    )
    survey = OneBandSurvey(root=root, config=config, truth=make_truth(config))
    first = survey.visits[0]
    key = {"instrument": INSTRUMENT, "detector": 0}
    repository = _make_repository_config()
    repository["datastore", "formatters", "VisitImage"] = _FORMATTER
    Butler.makeRepo(str(root), config=repository)
    with Butler.from_config(str(root), writeable=True, run=RUN) as butler:
        insert_dimensions(butler, survey)
        _register_datasets(butler)
        put_sky_map(butler, survey)
        scene = make_detector_scene(config, survey.truth, first, 0)
        ref = butler.put(
            make_visit_image(config, first, 0, scene), "visit_image", key | {"visit": first.visit}
        )
        source = Path(butler.getURI(ref).ospath)
        whole = source.read_bytes()
        paths, datasets = [source], []
        for plan in survey.visits[1:]:
            # Numbers of visits have the same length: all offsets stay.
            path = source.with_name(f"visit_{plan.visit}.fits")
            path.write_bytes(whole.replace(str(first.visit).encode(), str(plan.visit).encode()))
            data_id = butler.registry.expandDataId(key | {"visit": plan.visit})
            datasets.append(
                FileDataset(str(path), [DatasetRef(ref.datasetType, data_id, RUN)], formatter=_FORMATTER)
            )
            paths.append(path)
        butler.ingest(*datasets, transfer="direct")
    return survey, paths


def drop_from_page_cache(path: Path) -> None:
    """Make the system forget a file, so that the next reader waits for the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # pages that are not written yet would stay
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
