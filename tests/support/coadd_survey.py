"""Repositories of visit images alone, with more visits than the mini survey has."""

from __future__ import annotations

__all__ = (
    "BAND",
    "CONFIG",
    "FLUX",
    "PLAIN_CONFIG",
    "SKY_SIGMA",
    "TRAILED",
    "TRANSIENT_FLUX",
    "add_artifacts",
    "find_transient",
    "make_field",
    "make_plain_image",
    "make_repository",
    "make_star_grid",
    "make_star_positions",
    "make_stars",
)

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Butler
from lsst.images import (
    BackgroundMap,
    Box,
    Image,
    Mask,
    MaskSchema,
    VisitImage,
    get_legacy_visit_image_mask_planes,
)
from lsst.images.fields import ChebyshevField
from lsst.images.psfs import GaussianPointSpreadFunction

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.simulation import MiniSurvey, SurveyConfig
from lsst.dax.image.simulation._camera import make_detector
from lsst.dax.image.simulation._repository import RUN, _register_datasets, insert_dimensions, put_sky_map
from lsst.dax.image.simulation._scene import make_detector_scene
from lsst.dax.image.simulation._truth import make_truth
from lsst.dax.image.simulation._visit import make_obs_info, make_summary_stats, make_visit_image
from lsst.dax.image.simulation._visit_plan import (
    VisitPlan,
    detector_bbox,
    detector_sky_projection,
    make_visit_plans,
)

BAND = "r"
CONFIG = SurveyConfig(visits_per_band=9, detector_grid=(1, 1), detector_shape=(400, 400))
PLAIN_CONFIG = SurveyConfig(visits_per_band=12, detector_grid=(1, 1), detector_shape=(400, 400))
FLUX = 2e4
SKY_SIGMA = 10.0
TRAILED = (2, 7)
"""Numbers of the visits in which a satellite crosses all stars' field."""
TRANSIENT_FLUX = 1e4
_TRANSIENT_VISIT = 5
_SPACING_PX = 36

type Draw = Callable[[VisitPlan, int], VisitImage]


def make_repository(root: Path, config: SurveyConfig, draw: Draw, *, bands: Iterable[str]) -> MiniSurvey:
    """Make a repository of the visit images that a function draws, stored without loss."""
    survey = MiniSurvey(root=root, config=config, truth=make_truth(config))
    Butler.makeRepo(str(root))
    butler = Butler.from_config(str(root), writeable=True)
    try:
        insert_dimensions(butler, survey)
        _register_datasets(butler)
        put_sky_map(butler, survey)
        for plan in survey.visits:
            for detector in range(config.detector_count) if plan.band in bands else ():
                key = {"instrument": survey.instrument, "visit": plan.visit, "detector": detector}
                butler.put(draw(plan, detector), "visit_image", key, run=RUN)
    finally:
        butler.close()
    return survey


def make_field(root: Path) -> MiniSurvey:
    """Make nine visits of the mini survey in two bands."""
    truth = make_truth(CONFIG)

    def draw(plan: VisitPlan, detector: int) -> VisitImage:
        scene = make_detector_scene(CONFIG, truth, plan, detector)
        return make_visit_image(CONFIG, plan, detector, scene)

    return make_repository(root, CONFIG, draw, bands=("g", BAND))


def make_star_positions(config: SurveyConfig) -> SkyCoord:
    """Return stars well apart from each other, each at another place in its pixel."""
    rng = np.random.default_rng(3)
    projection = config.sky_map.tract_sky_projection(config.tract)
    middle = projection.sky_to_pixel(config.center_position)
    steps = _SPACING_PX * np.arange(-7, 8)
    x, y = (steps + float(middle.x))[None, :], (steps + float(middle.y))[:, None]
    x, y = np.broadcast_arrays(x, y)
    dx, dy = rng.uniform(-0.5, 0.5, (2, *x.shape))
    return projection.pixel_to_sky(x=(x + dx).ravel(), y=(y + dy).ravel())


def make_stars(
    root: Path, *, noise: float = SKY_SIGMA, change: Callable[[VisitPlan, np.ndarray], None] | None = None
) -> MiniSurvey:
    """Make visits of equal stars, with something done to the pixels of each."""
    positions = make_star_positions(PLAIN_CONFIG)

    def draw(plan: VisitPlan, detector: int) -> VisitImage:
        do = None if change is None else partial(change, plan)
        return make_plain_image(PLAIN_CONFIG, plan, detector, positions, noise=noise, change=do)

    return make_repository(root, PLAIN_CONFIG, draw, bands=(BAND,))


def make_star_grid() -> TargetGrid:
    """Return whole cells of 50 pixels around the middle, where all visits are."""
    projection = PLAIN_CONFIG.sky_map.tract_sky_projection(PLAIN_CONFIG.tract)
    middle = projection.sky_to_pixel(PLAIN_CONFIG.center_position)
    y, x = (round(float(value)) // 50 * 50 for value in (middle.y, middle.x))
    return TargetGrid(projection, Box.factory[y - 100 : y + 100, x - 100 : x + 100])


def find_transient() -> tuple[float, float]:
    """Return x and y of the transient on the grid: between four stars."""
    projection = PLAIN_CONFIG.sky_map.tract_sky_projection(PLAIN_CONFIG.tract)
    middle = projection.sky_to_pixel(PLAIN_CONFIG.center_position)
    return float(middle.x) - 1.5 * _SPACING_PX, float(middle.y) + 0.5 * _SPACING_PX


def add_artifacts(plan: VisitPlan, values: np.ndarray) -> None:
    """Add cosmic rays to a visit, to two of them a satellite trail, and a transient to one."""
    visits = [each.visit for each in make_visit_plans(PLAIN_CONFIG) if each.band == BAND]
    number = visits.index(plan.visit)
    rng = np.random.default_rng([17, number])
    rows, columns = np.indices(values.shape)
    if number in TRAILED:
        angle = np.radians(30.0 if number == TRAILED[0] else 80.0)
        away = (columns - 200) * np.sin(angle) - (rows - 200) * np.cos(angle)
        values += 30.0 * SKY_SIGMA * np.exp(-0.5 * (away / 2.0) ** 2)
    for _ in range(12):
        row, column = rng.integers(10, 390, 2)
        angle, steps = rng.uniform(0.0, np.pi), np.arange(0.0, rng.integers(3, 9), 0.5)
        path = np.unique(
            np.stack([row + steps * np.sin(angle), column + steps * np.cos(angle)]).astype(int), axis=1
        )
        values[*path] += 200.0 * SKY_SIGMA
    if number == _TRANSIENT_VISIT:
        x, y = find_transient()
        grid = make_star_grid()
        sky = grid.sky_projection.pixel_to_sky(x=x, y=y)
        place = detector_sky_projection(PLAIN_CONFIG, plan, 0).sky_to_pixel(sky)
        sigma = plan.fwhm / PLAIN_CONFIG.pixel_scale / 2.3548
        r2 = (rows - float(place.y)) ** 2 + (columns - float(place.x)) ** 2
        values += TRANSIENT_FLUX * np.exp(-0.5 * r2 / sigma**2) / (2.0 * np.pi * sigma**2)


def make_plain_image(
    config: SurveyConfig,
    plan: VisitPlan,
    detector: int,
    stars: SkyCoord,
    *,
    noise: float = SKY_SIGMA,
    change: Callable[[np.ndarray], None] | None = None,
) -> VisitImage:
    """Make an image of equal stars with a Gaussian PSF and white noise of a constant variance."""
    truth = make_truth(config)[:0]
    scene = make_detector_scene(config, truth, plan, detector)
    bbox, projection = detector_bbox(config), detector_sky_projection(config, plan, detector)
    psf = GaussianPointSpreadFunction(plan.fwhm / config.pixel_scale / 2.3548, bounds=bbox, stamp_size=31)
    rng = np.random.default_rng([plan.visit % 2**31, detector])
    values = rng.normal(0.0, noise, tuple(bbox.shape))
    places = projection.sky_to_pixel(stars)
    for x, y in zip(np.atleast_1d(places.x).tolist(), np.atleast_1d(places.y).tolist(), strict=True):
        if not (-12 < x < bbox.x.stop + 12 and -12 < y < bbox.y.stop + 12):
            continue
        rows = np.arange(max(0, round(y) - 15), min(bbox.y.stop, round(y) + 16))
        columns = np.arange(max(0, round(x) - 15), min(bbox.x.stop, round(x) + 16))
        r2 = (rows[:, None] - y) ** 2 + (columns - x) ** 2
        profile = np.exp(-0.5 * r2 / psf.sigma**2) / (2.0 * np.pi * psf.sigma**2)
        values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += FLUX * profile
    if change is not None:
        change(values)
    variance = np.full(tuple(bbox.shape), SKY_SIGMA**2)
    flat = np.ones(tuple(bbox.shape))
    return VisitImage(
        Image(values.astype(np.float32), bbox=bbox, unit=u.nJy, sky_projection=projection),
        mask=Mask(schema=MaskSchema(list(get_legacy_visit_image_mask_planes().values())), bbox=bbox),
        variance=Image(variance.astype(np.float32), bbox=bbox, unit=u.nJy**2),
        obs_info=make_obs_info(plan, detector),
        summary_stats=make_summary_stats(config, scene, sky=flat, scale=flat, variance=variance),
        photometric_scaling=ChebyshevField(bbox, np.array([[1.0]]), unit=u.nJy / u.electron),
        psf=psf,
        detector=make_detector(config, detector, visit=plan.visit),
        aperture_corrections={"base_PsfFlux_instFlux": ChebyshevField(bbox, np.array([[1.02]]))},
        backgrounds=BackgroundMap(),
        band=plan.band,
    )
