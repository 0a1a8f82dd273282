"""Which images a coadd takes, and how much each counts: decided on metadata alone."""

from __future__ import annotations

__all__ = (
    "CellChoice",
    "Conditions",
    "Rejection",
    "Verdict",
    "choose_for_cell",
    "find_rank",
    "find_weight",
    "judge_conditions",
    "judge_identity",
    "measure_conditions",
)

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.time import Time
from numpy.typing import NDArray

from lsst.images import ObservationSummaryStats

from .rules import Weighting
from .selection_rules import Criterion, PsfQuality, Selection

NANOJANSKY_ZERO_POINT = 31.4
"""AB magnitude of a source of 1 nJy."""

SIGMA_TO_FWHM = math.sqrt(8.0 * math.log(2.0))
"""FWHM of a Gaussian of a standard deviation of 1."""

DEPTH_SIGNIFICANCE = 5.0
"""Standard deviations of the point source that the depth is the magnitude of."""


_LARGEST_ZERO_POINT = 100.0  # beyond which a number is no magnitude


class Rejection(enum.Enum):
    """Why an image does not go in."""

    BAND = "band"
    TIME = "time"
    DAY_OBS = "day_obs"
    NOT_LISTED = "not_listed"
    """Its visit is not among those that are asked for."""

    EXCLUDED = "excluded"
    """Its visit is excluded by name."""

    NO_PSF = "no_psf"
    NO_SCALING = "no_scaling"
    """Nothing says what its pixels are in nJy."""

    UNKNOWN = "unknown"
    """It lacks a number that a limit, a criterion or its weight needs."""

    SEEING = "seeing"
    SKY_LEVEL = "sky_level"
    DEPTH = "depth"
    AIRMASS = "airmass"
    EFFECTIVE_TIME = "effective_time"
    PSF_QUALITY = "psf_quality"
    NO_CELL = "no_cell"
    """It covers no cell of the region as `CellRules` ask for."""

    NOT_BEST = "not_best"
    """In each cell that it covers, the visits of `Selection.best` are others."""

    TOO_FEW = "too_few"
    """Each cell that it covers has fewer visits than `Selection.min_visits`."""


@dataclass(frozen=True)
class Verdict:
    """Why one image does not go in."""

    reason: Rejection
    """Kind of reason."""

    text: str
    """What the image has and what was asked for."""


@dataclass(frozen=True)
class Conditions:
    """What the summary statistics of an image say, in natural units; NaN for what they do not say."""

    fwhm_arcsec: float
    """FWHM of the PSF: 2.3548 times the determinant radius, which is that of a Gaussian of the same
    second moments.  Wings make it larger than the width at half of the peak."""

    psf_area_px2: float
    """Effective area of the PSF in square pixels: one over the sum of its squared values."""

    pixel_scale_arcsec: float
    """Side of a pixel."""

    nanojansky_per_count: float
    """Calibration of what the statistics are in (electrons or ADU of the whole exposure, not per second)."""

    sky_njy_per_arcsec2: float
    """Brightness of the sky that was subtracted."""

    sky_variance_njy2: float
    """Mean variance of a pixel."""

    depth_mag: float
    """AB magnitude of a point source of five standard deviations of the sky's noise."""

    airmass: float
    """Secant of the zenith distance."""

    exposure_time_s: float
    """Exposure time."""

    effective_time_s: float
    """Effective exposure time: that of the same depth under reference conditions."""

    ellipticity_residual: float
    """Length of the median difference of the ellipticities of stars and PSF model."""

    statistics: ObservationSummaryStats
    """What all this was made from."""


@dataclass(frozen=True, eq=False)
class CellChoice:
    """Which images a cell takes."""

    chosen: NDArray[np.bool_]
    """Whether it takes each, in the order in which they were given."""

    reasons: tuple[Rejection | None, ...]
    """Why not; `None` for those that it takes."""


def measure_conditions(statistics: ObservationSummaryStats) -> Conditions:
    """Convert summary statistics to natural units.

    Parameters
    ----------
    statistics
        Statistics of a visit image.

    Returns
    -------
    conditions
        The same in arcsec, nJy, magnitudes and seconds.

    Notes
    -----
    Statistics of the sky are in the counts that the image had before it was
    calibrated: electrons, as the observatory's pipelines have them now.  The
    zero point is the AB magnitude of one such count in the whole exposure, so
    that a count is ``10**((31.4 - zeroPoint) / 2.5)`` nJy whatever the
    exposure time.
    """
    s = statistics
    is_scaled = abs(s.zeroPoint) < _LARGEST_ZERO_POINT
    scale = 10.0 ** ((NANOJANSKY_ZERO_POINT - s.zeroPoint) / 2.5) if is_scaled else math.nan
    variance = _positive(s.meanVar) * scale**2
    noise = DEPTH_SIGNIFICANCE * math.sqrt(variance * _positive(s.psfArea))
    pixel_scale = _positive(s.pixelScale)
    is_up = 0.0 <= s.zenithDistance < 90.0
    return Conditions(
        fwhm_arcsec=SIGMA_TO_FWHM * _positive(s.psfSigma) * pixel_scale,
        psf_area_px2=_positive(s.psfArea),
        pixel_scale_arcsec=pixel_scale,
        nanojansky_per_count=scale,
        sky_njy_per_arcsec2=s.skyBg * scale / pixel_scale**2,
        sky_variance_njy2=variance,
        depth_mag=NANOJANSKY_ZERO_POINT - 2.5 * math.log10(noise),
        airmass=1.0 / math.cos(math.radians(s.zenithDistance)) if is_up else math.nan,
        exposure_time_s=_positive(s.expTime),
        effective_time_s=_positive(s.effTime),
        ellipticity_residual=math.hypot(s.psfStarDeltaE1Median, s.psfStarDeltaE2Median),
        statistics=s,
    )


def judge_identity(
    selection: Selection, *, visit: int, band: str, day_obs: int, time: Time | None
) -> Verdict | None:
    """Tell why an image does not go in by what it is.

    Parameters
    ----------
    selection
        What is asked for.
    visit, band, day_obs
        Visit, band and day of observation (YYYYMMDD) of the image.
    time
        Middle of its exposure; `None` if nobody knows it.

    Returns
    -------
    verdict
        The first reason; `None` if it may go in.
    """
    if selection.bands is not None and band not in selection.bands:
        return Verdict(Rejection.BAND, f"band {band}, not {', '.join(selection.bands)}")
    if visit in selection.exclude_visits:
        return Verdict(Rejection.EXCLUDED, f"visit {visit} is excluded")
    if selection.visits is not None and visit not in selection.visits:
        return Verdict(
            Rejection.NOT_LISTED, f"visit {visit} is none of the {len(selection.visits)} that are listed"
        )
    if selection.day_obs is not None:
        first, last = selection.day_obs
        if not first <= day_obs <= last:
            return Verdict(Rejection.DAY_OBS, f"day {day_obs}, not within {first} to {last}")
    return _judge_time(selection, time)


def _judge_time(selection: Selection, time: Time | None) -> Verdict | None:
    if selection.begin is None and selection.end is None:
        return None
    if time is None:
        return Verdict(Rejection.UNKNOWN, "no time of the exposure, which begin or end needs")
    if selection.begin is not None and time < selection.begin:
        return Verdict(Rejection.TIME, f"taken at {time.tai.isot}, before {selection.begin.isot} (TAI)")
    if selection.end is not None and time >= selection.end:
        return Verdict(Rejection.TIME, f"taken at {time.tai.isot}, not before {selection.end.isot} (TAI)")
    return None


def judge_conditions(
    selection: Selection, conditions: Conditions, *, weighting: Weighting = Weighting.EQUAL
) -> Verdict | None:
    """Tell why an image does not go in by its conditions.

    Parameters
    ----------
    selection
        What is asked for.
    conditions
        What is known of the image.
    weighting
        How images count, which needs numbers too.

    Returns
    -------
    verdict
        The first reason; `None` if it may go in.
    """
    for reason, name, value, limit, unit, is_most in _list_limits(selection, conditions):
        if limit is None:
            continue
        word = "most" if is_most else "least"
        if math.isnan(value):
            return Verdict(Rejection.UNKNOWN, f"{name} is not known; at {word} {limit:g}{unit} is asked for")
        if value > limit if is_most else value < limit:
            return Verdict(reason, f"{name} is {value:.4g}{unit}; at {word} {limit:g}{unit} is asked for")
    if selection.psf_quality is not None:
        poor = _judge_quality(selection.psf_quality, conditions)
        if poor is not None:
            return poor
    if selection.best is not None and math.isnan(find_rank(conditions, selection.best.criterion)):
        criterion = selection.best.criterion.value
        return Verdict(Rejection.UNKNOWN, f"{criterion} is not known, and the best in it are asked for")
    if not 0.0 < find_weight(conditions, weighting) < math.inf:
        is_scaled = math.isfinite(conditions.nanojansky_per_count)
        missing = "numbers" if is_scaled or weighting is Weighting.EFFECTIVE_TIME else "zero point"
        reason = Rejection.UNKNOWN if missing == "numbers" else Rejection.NO_SCALING
        return Verdict(reason, f"no {missing} for weights by {weighting.value}")
    return None


type _Limit = tuple[Rejection, str, float, float | None, str, bool]


def _list_limits(selection: Selection, conditions: Conditions) -> Iterator[_Limit]:
    """Yield reason, name, value, limit, unit and whether the limit is the most that is allowed."""
    s, c = selection, conditions
    yield Rejection.SEEING, "FWHM", c.fwhm_arcsec, s.max_fwhm_arcsec, " arcsec", True
    yield (
        Rejection.SKY_LEVEL,
        "sky",
        c.sky_njy_per_arcsec2,
        s.max_sky_njy_per_arcsec2,
        " nJy/arcsec2",
        True,
    )
    yield Rejection.DEPTH, "depth", c.depth_mag, s.min_depth_mag, " mag", False
    yield Rejection.AIRMASS, "airmass", c.airmass, s.max_airmass, "", True
    time = (c.effective_time_s, s.min_effective_time_s)
    yield Rejection.EFFECTIVE_TIME, "effective time", *time, " s", False


def _judge_quality(quality: PsfQuality, conditions: Conditions) -> Verdict | None:
    """Tell why the PSF model of an image is too poor; what is not known lets it pass."""
    s = conditions.statistics
    limits: tuple[tuple[str, float, float | None], ...] = (
        ("ellipticity residual", conditions.ellipticity_residual, quality.max_ellipticity_residual),
        ("scaled size scatter", s.psfStarScaledDeltaSizeScatter, quality.max_scaled_size_scatter),
        ("range of the trace radius in pixels", s.psfTraceRadiusDelta, quality.max_trace_radius_delta_px),
        ("range of the aperture flux", s.psfApFluxDelta, quality.max_aperture_flux_delta),
        (
            "scaled range of the aperture correction",
            s.psfApCorrSigmaScaledDelta,
            quality.max_scaled_aperture_correction_delta,
        ),
        ("ellipticity of the stars", s.starEMedian, quality.max_star_ellipticity),
    )
    for name, value, limit in limits:
        if limit is not None and value > limit:  # not so for NaN
            return Verdict(Rejection.PSF_QUALITY, f"{name} is {value:.4g}; at most {limit:g} is asked for")
    if quality.min_stars is not None and s.nPsfStar < quality.min_stars:
        return Verdict(
            Rejection.PSF_QUALITY,
            f"the PSF model is from {s.nPsfStar} stars; at least {quality.min_stars} are asked for",
        )
    return None


def find_weight(conditions: Conditions, weighting: Weighting) -> float:
    """Find how much an image counts.

    Parameters
    ----------
    conditions
        What is known of the image.
    weighting
        What its weight is.

    Returns
    -------
    weight
        In nJy**-2, s, or 1; NaN if it is not known.
    """
    match weighting:
        case Weighting.INVERSE_VARIANCE:
            return 1.0 / conditions.sky_variance_njy2
        case Weighting.POINT_SOURCE:
            return 1.0 / (conditions.sky_variance_njy2 * conditions.psf_area_px2)
        case Weighting.EFFECTIVE_TIME:
            return conditions.effective_time_s
        case Weighting.EQUAL:
            return 1.0


def find_rank(conditions: Conditions, criterion: Criterion | None) -> float:
    """Find where an image stands in what the best are the best in.

    Parameters
    ----------
    conditions
        What is known of the image.
    criterion
        What counts; without it all stand alike.

    Returns
    -------
    rank
        A number that is smaller for a better image; NaN if it is not known.
    """
    match criterion:
        case None:
            return 0.0
        case Criterion.SEEING:
            return conditions.fwhm_arcsec
        case Criterion.DEPTH:
            return -conditions.depth_mag
        case Criterion.SKY_LEVEL:
            return conditions.sky_njy_per_arcsec2
        case Criterion.EFFECTIVE_TIME:
            return -conditions.effective_time_s
        case Criterion.AIRMASS:
            return conditions.airmass


def choose_for_cell(
    selection: Selection,
    *,
    visits: Sequence[int] | NDArray[np.integer],
    bands: Sequence[str],
    ranks: Sequence[float] | NDArray[np.floating],
) -> CellChoice:
    """Choose the images of a cell among those that may go into it.

    Parameters
    ----------
    selection
        What is asked for.
    visits, bands
        Visit and band of each image that covers the cell.
    ranks
        What `find_rank` returns for each.

    Returns
    -------
    choice
        The images of the best visits of each band, all of none of a visit's.

    Notes
    -----
    A visit with several detectors in the cell stands where the best of them
    does; of visits that stand alike the earlier identifier goes first.  The
    order of the images does not matter, nor do images of other cells: so a
    cell takes the same images whatever region is asked for.
    """
    order = dict[str, dict[int, float]]()
    for visit, band, rank in zip(visits, bands, ranks, strict=True):
        of_band = order.setdefault(band, {})
        of_band[int(visit)] = min(float(rank), of_band.get(int(visit), math.inf))
    taken: dict[str, set[int]] = {}
    for band, of_band in order.items():
        best = sorted(of_band, key=lambda visit, ranked=of_band: (ranked[visit], visit))  # type: ignore[misc]
        if len(best) < selection.min_visits:
            best = []
        elif selection.best is not None:
            best = best[: selection.best.count(len(best))]
        taken[band] = set(best)
    reasons = [
        None if int(visit) in taken[band] else (Rejection.NOT_BEST if taken[band] else Rejection.TOO_FEW)
        for visit, band in zip(visits, bands, strict=True)
    ]
    return CellChoice(np.array([reason is None for reason in reasons], dtype=np.bool_), tuple(reasons))


def _positive(value: float) -> float:
    """Return a number that is larger than zero, or NaN."""
    return value if 0.0 < value < math.inf else math.nan
