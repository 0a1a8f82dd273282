"""The noise-free sky of one detector in one visit."""

from __future__ import annotations

__all__ = ("DetectorScene", "make_detector_scene", "template_time")

import dataclasses

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable
from astropy.time import Time

from lsst.images import Box, DetectorFrame, SkyProjection

from ._config import SurveyConfig
from ._draw import Sources, draw_sources, locate_sources
from ._psf import MoffatField
from ._truth import evaluate_fluxes, evaluate_positions, first_night
from ._visit_plan import VisitPlan, detector_bbox, detector_sky_projection

TIME_DEPENDENT = ("proper_motion", "variable", "transient")
"""Kinds of source that are not the same at every time."""

TEMPLATE_LEAD_DAYS = 30.0
"""The template shows the sky this long before the first night."""


def template_time() -> Time:
    """Return the time of all that is in the templates."""
    return first_night() - TEMPLATE_LEAD_DAYS * u.d


@dataclasses.dataclass(frozen=True)
class DetectorScene:
    """What a detector sees in a visit, and what it would see in the template."""

    bbox: Box
    """Pixel box of the detector."""

    sky_projection: SkyProjection[DetectorFrame]
    """Projection of the detector."""

    psf: MoffatField
    """Analytic PSF."""

    stars: Sources
    """Point sources that are the same at every time."""

    model: npt.NDArray[np.float64]
    """Expected flux of all sources at the middle of the exposure, nJy per pixel."""

    template: npt.NDArray[np.float64]
    """The same with the sources as they were at the time of the template."""


def make_detector_scene(config: SurveyConfig, truth: QTable, plan: VisitPlan, detector: int) -> DetectorScene:
    """Draw what a detector sees in a visit."""
    bbox = detector_bbox(config)
    projection = detector_sky_projection(config, plan, detector)
    psf = MoffatField.of_visit(config, plan, detector)
    changing = np.isin(truth["kind"], TIME_DEPENDENT)
    static, dynamic = truth[~changing], truth[changing]

    def locate(rows: QTable, time: Time) -> Sources:
        return locate_sources(
            rows,
            evaluate_positions(rows, time),
            evaluate_fluxes(rows, plan.band, time),
            sky_projection=projection,
            bbox=bbox,
        )

    sources = locate(static, plan.mid)
    static_model = draw_sources(sources, psf=psf, bbox=bbox)
    now = draw_sources(locate(dynamic, plan.mid), psf=psf, bbox=bbox)
    then = draw_sources(locate(dynamic, template_time()), psf=psf, bbox=bbox)
    return DetectorScene(
        bbox=bbox,
        sky_projection=projection,
        psf=psf,
        stars=locate(static[static["half_light_radius"] == 0 * u.arcsec], plan.mid),
        model=static_model + now,
        template=static_model + then,
    )
