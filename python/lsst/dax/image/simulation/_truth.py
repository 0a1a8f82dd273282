"""The truth: what is in the sky, and where and how bright it is at any time."""

from __future__ import annotations

__all__ = ("evaluate_fluxes", "evaluate_positions", "field_radius_px", "first_night", "make_truth")

import math

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import CartesianRepresentation, SkyCoord
from astropy.table import QTable
from astropy.time import Time

from ._config import BANDS, SurveyConfig

FIRST_NIGHT = "2025-11-01T12:00:00"
"""Start (TAI) of the observing day of the first visits."""

TRANSIENT_LEAD_DAYS = 6.0
"""The transient appears this long before the last night."""

MINIMUM_SEPARATION_PX = 18.0
"""Least distance between two sources that are not a deliberate pair."""

# Offsets (x, y) from the field centre in tract pixels of a 240-pixel detector.
# They keep clear of the gap in the middle of the focal plane and stay on a
# detector for every dither and rotation.
_SPECIAL = (
    # kind, offset x, offset y, flux g, r, i in nJy
    ("star", -55.0, -45.0, 70e3, 100e3, 115e3),
    ("saturated", 130.0, -45.0, 5.5e6, 7.0e6, 7.5e6),
    ("proper_motion", -150.0, -30.0, 30e3, 60e3, 110e3),
    ("variable", 70.0, 35.0, 22e3, 25e3, 24e3),
    ("transient", -80.0, 45.0, 32e3, 30e3, 25e3),
    ("pair", 62.0, -42.0, 20e3, 30e3, 35e3),
    ("pair", 68.0, -40.0, 14e3, 18e3, 20e3),
)

PROPER_MOTION = (-1500.0, 1000.0)
"""Motion (RA cos Dec, Dec) of the moving star, in mas/yr."""


def first_night() -> Time:
    """Return the start of the survey's first observing day."""
    return Time(FIRST_NIGHT, scale="tai", format="isot")


def field_radius_px(config: SurveyConfig) -> float:
    """Return the radius of the disc that every visit stays in, in pixels."""
    rows, columns = config.detector_grid
    height, width = config.detector_shape
    return 0.5 * math.hypot(rows * (height + 12), columns * (width + 12)) + 0.1 * max(height, width) + 20.0


def make_truth(config: SurveyConfig) -> QTable:
    """Make the truth catalogue of a survey.

    Parameters
    ----------
    config
        The survey.

    Returns
    -------
    truth
        One row per source.  ``id``; ``kind`` (star, galaxy, saturated,
        proper_motion, variable, transient, pair); ``ra``, ``dec`` (ICRS, at
        ``epoch``); ``pm_ra_cosdec``, ``pm_dec``; ``epoch`` (of the position);
        ``flux_g``, ``flux_r``, ``flux_i`` (total, nJy; the mean of a variable,
        the peak of a transient); ``half_light_radius``, ``sersic_index``,
        ``axis_ratio``, ``position_angle`` (of the major axis of a galaxy, East
        of North; radius 0 for point sources); ``amplitude`` (relative),
        ``period``, ``phase`` of a variable; ``decay`` time of a transient;
        ``reference_time`` (phase zero of a variable, start of a transient).
    """
    rng = np.random.default_rng([config.seed, 1])
    special_x, special_y = _special_offsets(config)
    radius = field_radius_px(config)
    area = math.pi * (radius * config.pixel_scale / 60.0) ** 2
    n_stars, n_galaxies = round(config.star_density * area), round(config.galaxy_density * area)
    x, y = _scatter(n_stars + n_galaxies, rng, radius=radius, taken=_taken(config, special_x, special_y))
    n_stars = min(n_stars, len(x))
    n_galaxies = len(x) - n_stars
    projection = config.sky_map.tract_sky_projection(config.tract)
    center = projection.sky_to_pixel(config.center_position)
    sky = projection.pixel_to_sky(
        x=center.x + np.concatenate([special_x, x]), y=center.y + np.concatenate([special_y, y])
    )
    truth = _empty_truth(len(sky), first_night())
    truth["ra"], truth["dec"] = sky.ra.to(u.deg), sky.dec.to(u.deg)
    kinds = [row[0] for row in _SPECIAL] + ["star"] * n_stars + ["galaxy"] * n_galaxies
    truth["kind"] = np.array(kinds)
    star_flux = _draw_fluxes(n_stars, rng, brightest=18.3, faintest=23.5, slope=0.15)
    galaxy_flux = _draw_fluxes(n_galaxies, rng, brightest=20.0, faintest=24.0, slope=0.3)
    special_flux = np.array([row[3:] for row in _SPECIAL])
    flux = np.concatenate([special_flux, star_flux, galaxy_flux])
    for column, band in enumerate(BANDS):
        truth[f"flux_{band}"] = flux[:, column] * u.nJy
    _set_shapes(truth, truth["kind"] == "galaxy", rng)
    _set_time_dependence(truth, config)
    return truth


def evaluate_positions(truth: QTable, time: Time) -> SkyCoord:
    """Return the true ICRS positions at a time.

    Sources move uniformly on straight lines in space with no radial velocity
    and no parallax.
    """
    start = SkyCoord(ra=truth["ra"], dec=truth["dec"])
    years = (time.tai - truth["epoch"].tai).to(u.yr)
    ra, dec = start.ra.rad, start.dec.rad
    east = np.array([-np.sin(ra), np.cos(ra), np.zeros_like(ra)])
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    step_east = (truth["pm_ra_cosdec"] * years).to_value(u.rad)
    step_north = (truth["pm_dec"] * years).to_value(u.rad)
    vector = start.cartesian.xyz.value + step_east * east + step_north * north
    moved = SkyCoord(CartesianRepresentation(vector), frame="icrs")
    return SkyCoord(ra=moved.spherical.lon, dec=moved.spherical.lat, frame="icrs")


def evaluate_fluxes(truth: QTable, band: str, time: Time) -> u.Quantity:
    """Return the true total fluxes in nJy at a time.

    A variable is ``mean * (1 + amplitude * sin(2 pi (t - t0) / period + phase))``;
    a transient is zero before ``t0`` and ``peak * exp(-(t - t0) / decay)`` after.
    """
    days = (time.tai - truth["reference_time"].tai).to_value(u.d)
    factor = np.ones(len(truth))
    variable = truth["kind"] == "variable"
    angle = 2 * np.pi * days / truth["period"].to_value(u.d) + truth["phase"].to_value(u.rad)
    factor[variable] = (1.0 + truth["amplitude"] * np.sin(angle))[variable]
    transient = truth["kind"] == "transient"
    # Clipped at zero so that the exponential of the unused branch cannot overflow.
    fading = np.exp(-np.clip(days, 0.0, None) / truth["decay"].to_value(u.d)) * (days >= 0)
    factor[transient] = fading[transient]
    return truth[f"flux_{band}"] * factor


def _special_offsets(config: SurveyConfig) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the offsets of the special sources from the field centre, in pixels."""
    scale = min(config.detector_shape) / 240.0
    offsets = np.array([row[1:3] for row in _SPECIAL]) * scale
    # The members of a pair keep their distance whatever the detector's size.
    offsets[6] = offsets[5] + (6.0, 2.0)
    return offsets[:, 0], offsets[:, 1]


def _taken(
    config: SurveyConfig, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the points, shape ``(n, 2)``, that ordinary sources keep away from."""
    years = np.linspace(-0.1, config.time_span_days / 365.25, 12)
    step = 1e-3 / config.pixel_scale
    moving = np.stack(
        [x[2] - PROPER_MOTION[0] * years * step, y[2] + PROPER_MOTION[1] * years * step], axis=-1
    )
    return np.concatenate([np.stack([x, y], axis=-1), moving])


def _scatter(
    count: int, rng: np.random.Generator, *, radius: float, taken: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Throw points into a disc, each at least the minimum separation from all others.

    Gives up on a point after 30 throws on average, so a survey that is too
    dense has fewer sources than its density says.
    """
    points = np.empty((len(taken) + count, 2))
    points[: len(taken)] = taken
    used = len(taken)
    for _ in range(30 * count):
        if used == len(points):
            break
        distance, angle = radius * math.sqrt(rng.random()), 2 * math.pi * rng.random()
        point = (distance * math.cos(angle), distance * math.sin(angle))
        nearest = np.min(np.hypot(*(points[:used] - point).T))
        if nearest >= MINIMUM_SEPARATION_PX:
            points[used] = point
            used += 1
    return points[len(taken) : used, 0], points[len(taken) : used, 1]


def _draw_fluxes(
    count: int, rng: np.random.Generator, *, brightest: float, faintest: float, slope: float
) -> npt.NDArray[np.float64]:
    """Draw g, r, i fluxes in nJy, shape ``(count, 3)``; r counts rise as ``10**(slope * m)``."""
    low, high = 10 ** (slope * brightest), 10 ** (slope * faintest)
    r = np.log10(low + (high - low) * rng.random(count)) / slope
    g_minus_r = rng.uniform(0.3, 1.2, count)
    r_minus_i = 0.4 * g_minus_r + rng.normal(0.0, 0.05, count)
    magnitudes = np.stack([r + g_minus_r, r, r - r_minus_i], axis=-1)
    return np.asarray(10 ** ((31.4 - magnitudes) / 2.5))


def _empty_truth(count: int, epoch: Time) -> QTable:
    """Return a table of constant point sources."""
    truth = QTable()
    truth["id"] = np.arange(1, count + 1)
    truth["kind"] = np.full(count, "star", dtype="U13")
    truth["ra"] = np.zeros(count) * u.deg
    truth["dec"] = np.zeros(count) * u.deg
    truth["pm_ra_cosdec"] = np.zeros(count) * u.mas / u.yr
    truth["pm_dec"] = np.zeros(count) * u.mas / u.yr
    truth["epoch"] = Time(np.full(count, epoch.mjd), format="mjd", scale="tai")
    for band in BANDS:
        truth[f"flux_{band}"] = np.zeros(count) * u.nJy
    truth["half_light_radius"] = np.zeros(count) * u.arcsec
    truth["sersic_index"] = np.ones(count)
    truth["axis_ratio"] = np.ones(count)
    truth["position_angle"] = np.zeros(count) * u.deg
    truth["amplitude"] = np.zeros(count)
    truth["period"] = np.ones(count) * u.d
    truth["phase"] = np.zeros(count) * u.rad
    truth["decay"] = np.ones(count) * u.d
    truth["reference_time"] = Time(np.full(count, epoch.mjd), format="mjd", scale="tai")
    return truth


def _set_shapes(truth: QTable, galaxy: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Fill in the shapes of the galaxies."""
    count = int(np.count_nonzero(galaxy))
    truth["half_light_radius"][galaxy] = rng.uniform(0.3, 0.9, count) * u.arcsec
    truth["sersic_index"][galaxy] = rng.choice([1.0, 2.0], count)
    truth["axis_ratio"][galaxy] = rng.uniform(0.4, 0.95, count)
    truth["position_angle"][galaxy] = rng.uniform(0.0, 180.0, count) * u.deg


def _set_time_dependence(truth: QTable, config: SurveyConfig) -> None:
    """Fill in the motion and the light curves of the special sources."""
    moving = truth["kind"] == "proper_motion"
    truth["pm_ra_cosdec"][moving] = PROPER_MOTION[0] * u.mas / u.yr
    truth["pm_dec"][moving] = PROPER_MOTION[1] * u.mas / u.yr
    variable = truth["kind"] == "variable"
    truth["amplitude"][variable] = 0.5
    truth["period"][variable] = 3.7 * u.d
    truth["phase"][variable] = 0.6 * u.rad
    transient = truth["kind"] == "transient"
    truth["decay"][transient] = 20.0 * u.d
    last = config.time_span_days if config.visits_per_band > 1 else 0
    start = first_night() + (last - TRANSIENT_LEAD_DAYS) * u.d
    truth["reference_time"][transient] = start
