"""When and where each visit looks, and the sky projections of its detectors."""

from __future__ import annotations

__all__ = (
    "EXPOSURE_SECONDS",
    "VisitPlan",
    "detector_bbox",
    "detector_offset",
    "detector_region",
    "detector_sky_projection",
    "make_visit_plans",
    "visit_region",
)

import dataclasses
import math

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import Angle, SkyCoord
from astropy.time import Time
from astropy.wcs import WCS, Sip

from lsst.images import Box, DetectorFrame, SkyProjection
from lsst.sphgeom import ConvexPolygon, UnitVector3d

from ._config import BANDS, INSTRUMENT, SurveyConfig
from ._truth import first_night

EXPOSURE_SECONDS = 30.0
"""Exposure time of every visit."""

DETECTOR_GAP_PX = 12
"""Gap between neighbouring detectors."""

REGION_PADDING_PX = 1.0
"""Width by which a detector's region exceeds its pixel edges."""

_TYPICAL_FWHM = {"g": 0.80, "r": 0.74, "i": 0.70}
"""Median seeing by band, in arcsec."""


@dataclasses.dataclass(frozen=True, eq=False)
class VisitPlan:
    """One visit: its identity, its pointing and the conditions.

    Compared and hashed by identity; `visit` is the key to compare by.
    """

    visit: int
    """Identifier: observing day times 100000 plus sequence number."""

    band: str
    """Band."""

    day_obs: int
    """Observing day as YYYYMMDD."""

    begin: Time
    """Start of the exposure, TAI."""

    boresight: SkyCoord
    """ICRS position at the centre of the focal plane."""

    rotation: float
    """Position angle of the pixel y axis, East of North, in degrees."""

    fwhm: float
    """FWHM of the effective PSF at the boresight, in arcsec."""

    ellipticity: tuple[float, float]
    """Reduced shear (g1, g2) of the PSF at the boresight, along pixel axes."""

    psf_slopes: tuple[float, ...]
    """Change of relative size (along x, y and radius squared), g1 (x, y) and
    g2 (x, y) of the PSF from the boresight to the focal plane's corner."""

    sky: float
    """Sky background in nJy per square arcsec."""

    transparency: float
    """Throughput relative to a clear night."""

    @property
    def sequence(self) -> int:
        """Sequence number: the visit identifier without the observing day."""
        return self.visit % 100000

    @property
    def observation_id(self) -> str:
        """Name of the observation."""
        return f"MC_S_{self.day_obs}_{self.sequence:06d}"

    @property
    def boresight_angle(self) -> Angle:
        """Rotation as an angle."""
        return Angle(self.rotation, unit=u.deg)

    @property
    def physical_filter(self) -> str:
        """Name of the filter."""
        return BANDS[self.band].physical_filter

    @property
    def end(self) -> Time:
        """End of the exposure."""
        return self.begin + EXPOSURE_SECONDS * u.s

    @property
    def mid(self) -> Time:
        """Middle of the exposure: the time of all that is in the image."""
        return self.begin + 0.5 * EXPOSURE_SECONDS * u.s


def make_visit_plans(config: SurveyConfig) -> tuple[VisitPlan, ...]:
    """Plan all visits of a survey: one per band in each night, five minutes apart."""
    nights = np.unique(np.linspace(0, config.time_span_days, config.visits_per_band).round().astype(int))
    # More visits than days: the rest of a night's visits follow each other.
    nights = np.resize(nights, config.visits_per_band)
    plans = []
    for number, night in enumerate(np.sort(nights).tolist()):
        for position, band in enumerate(BANDS):
            plans.append(_plan_visit(config, number=number, night=night, band=band, position=position))
    return tuple(plans)


def _plan_visit(config: SurveyConfig, *, number: int, night: int, band: str, position: int) -> VisitPlan:
    # Sequence numbers count through the survey, so that they stay unique
    # where one night holds several visits of a band.
    sequence = number * len(BANDS) + position
    day = first_night() + night * u.d
    day_obs = int(day.strftime("%Y%m%d"))
    rng = np.random.default_rng([config.seed, 2, sequence])
    dither = 0.06 * min(config.detector_shape) * config.pixel_scale
    east, north = rng.uniform(-dither, dither, 2)
    boresight = config.center_position.spherical_offsets_by(east * u.arcsec, north * u.arcsec)
    slopes = rng.uniform(-1, 1, 7) * [0.03, 0.03, 0.03, 0.02, 0.02, 0.02, 0.02]
    return VisitPlan(
        visit=day_obs * 100000 + 100 + sequence,
        band=band,
        day_obs=day_obs,
        begin=day + 13 * u.h + sequence * 300 * u.s,
        boresight=boresight,
        # Half turns and small angles, so that the patches near the centre are
        # covered whatever the visit.
        rotation=float(180.0 * (sequence % 2) + rng.uniform(-18.0, 18.0)),
        fwhm=float(_TYPICAL_FWHM[band] * rng.uniform(0.95, 1.2)),
        ellipticity=(float(rng.uniform(-0.03, 0.03)), float(rng.uniform(-0.03, 0.03))),
        psf_slopes=tuple(slopes.tolist()),
        sky=float(BANDS[band].sky * rng.uniform(0.8, 1.5)),
        transparency=float(rng.uniform(0.85, 1.0)),
    )


def detector_bbox(config: SurveyConfig) -> Box:
    """Return the pixel box of every detector."""
    rows, columns = config.detector_shape
    return Box.factory[0:rows, 0:columns]


def detector_offset(config: SurveyConfig, detector: int) -> tuple[float, float]:
    """Return a detector's centre (x, y) in the focal plane, in pixels."""
    row, column = divmod(detector, config.detector_grid[1])
    rows, columns = config.detector_grid
    height, width = config.detector_shape
    return (
        (column - 0.5 * (columns - 1)) * (width + DETECTOR_GAP_PX),
        (row - 0.5 * (rows - 1)) * (height + DETECTOR_GAP_PX),
    )


def focal_plane_radius_px(config: SurveyConfig) -> float:
    """Return the distance of the focal plane's corner from its centre, in pixels."""
    rows, columns = config.detector_grid
    height, width = config.detector_shape
    return 0.5 * math.hypot(
        rows * (height + DETECTOR_GAP_PX) - DETECTOR_GAP_PX,
        columns * (width + DETECTOR_GAP_PX) - DETECTOR_GAP_PX,
    )


def boresight_pixel(config: SurveyConfig, detector: int) -> tuple[float, float]:
    """Return the boresight (x, y) in a detector's pixels."""
    x, y = detector_offset(config, detector)
    height, width = config.detector_shape
    return 0.5 * (width - 1) - x, 0.5 * (height - 1) - y


def detector_wcs(config: SurveyConfig, plan: VisitPlan, detector: int) -> WCS:
    """Return the TAN-SIP projection of a detector.

    The distortion is 1.5 pixels of third order and 0.4 pixels of second order
    at the corner of the focal plane.
    """
    x, y = boresight_pixel(config, detector)
    angle = math.radians(plan.rotation)
    scale = config.pixel_scale / 3600.0
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crval = [plan.boresight.ra.deg, plan.boresight.dec.deg]
    wcs.wcs.crpix = [x + 1.0, y + 1.0]
    wcs.wcs.cd = scale * np.array([[-math.cos(angle), math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    radius = focal_plane_radius_px(config)
    cubic, quadratic = 1.5 / radius**3, 0.4 / radius**2
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = cubic
    a[2, 0], a[1, 1], b[0, 2], b[1, 1] = quadratic, 0.5 * quadratic, -quadratic, 0.3 * quadratic
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def detector_sky_projection(
    config: SurveyConfig, plan: VisitPlan, detector: int
) -> SkyProjection[DetectorFrame]:
    """Return the projection from a detector's pixels to the sky."""
    bbox = detector_bbox(config)
    frame = DetectorFrame(instrument=INSTRUMENT, visit=plan.visit, detector=detector, bbox=bbox)
    return SkyProjection.from_fits_wcs(detector_wcs(config, plan, detector), frame, pixel_bounds=bbox)


def detector_region(config: SurveyConfig, plan: VisitPlan, detector: int) -> ConvexPolygon:
    """Return the convex hull of a detector on the sky, from its pixel edges.

    The edges are sampled, because the distortion bows them outward.
    """
    rows, columns = config.detector_shape
    pad = 0.5 + REGION_PADDING_PX
    fraction = np.linspace(0.0, 1.0, 9)
    x = -pad + fraction * (columns - 1 + 2 * pad)
    y = -pad + fraction * (rows - 1 + 2 * pad)
    edge_x = np.concatenate([x, x, np.full(9, x[0]), np.full(9, x[-1])])
    edge_y = np.concatenate([np.full(9, y[0]), np.full(9, y[-1]), y, y])
    sky = detector_sky_projection(config, plan, detector).pixel_to_sky(x=edge_x, y=edge_y)
    return ConvexPolygon.convexHull(_unit_vectors(sky))


def visit_region(config: SurveyConfig, plan: VisitPlan) -> ConvexPolygon:
    """Return the convex hull of a visit's detectors on the sky."""
    vertices = [
        vertex
        for detector in range(config.detector_count)
        for vertex in detector_region(config, plan, detector).getVertices()
    ]
    return ConvexPolygon.convexHull(vertices)


def _unit_vectors(sky: SkyCoord) -> list[UnitVector3d]:
    vectors: npt.NDArray[np.float64] = sky.cartesian.xyz.value.T
    return [UnitVector3d(*vector) for vector in vectors.tolist()]
