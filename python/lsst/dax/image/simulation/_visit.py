"""The calibrated visit image: noise, defects and everything that goes with it."""

from __future__ import annotations

__all__ = (
    "EDGE_WIDTH_PX",
    "add_conditions",
    "make_aperture_corrections",
    "make_background",
    "make_obs_info",
    "make_photometric_scaling",
    "make_summary_stats",
    "make_visit_image",
    "psf_stars",
)

import math

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astro_metadata_translator import ObservationInfo

from lsst.images import (
    BackgroundMap,
    Box,
    Image,
    Mask,
    MaskPlane,
    MaskSchema,
    ObservationSummaryStats,
    VisitImage,
    get_legacy_visit_image_mask_planes,
)
from lsst.images.aperture_corrections import ApertureCorrectionMap
from lsst.images.fields import ChebyshevField

from ._camera import READ_NOISE_ELECTRONS, SATURATION_ELECTRONS, detector_name, make_detector
from ._config import BANDS, INSTRUMENT, SurveyConfig
from ._psf import MoffatField, make_aperture_correction, make_piff_psf
from ._scene import DetectorScene
from ._visit_plan import EXPOSURE_SECONDS, VisitPlan

type FloatArray = npt.NDArray[np.float64]
type BoolArray = npt.NDArray[np.bool_]

EDGE_WIDTH_PX = 5
"""Width of the DETECTION_EDGE frame."""

REFERENCE_FWHM = 0.7
"""FWHM in arcsec that effective exposure times are relative to."""

ZENITH_DISTANCE = 30.0
"""Zenith distance of every visit in degrees."""

APERTURE_CORRECTION_ERROR = 1e-4
"""Stated uncertainty of the aperture corrections; the fit is better than that."""


def make_visit_image(
    config: SurveyConfig, plan: VisitPlan, detector: int, scene: DetectorScene
) -> VisitImage:
    """Make the image of one detector in one visit.

    Parameters
    ----------
    config, plan, detector
        Which image.
    scene
        Its noise-free sky.

    Returns
    -------
    image
        Background-subtracted image in nJy.

    Notes
    -----
    Pixels are Poisson deviates of the expected electrons of sky and sources,
    plus cosmic rays, plus Gaussian read noise, cut off at full well; then
    multiplied by the photometric scaling, and the true background subtracted.
    The variance is that of the model, not of the realization, so it is
    independent of the noise.  Bad columns are interpolated from their
    neighbours (BAD, INTERPOLATED); cosmic rays (COSMIC_RAY) and clipped pixels
    (SATURATED) keep their wrong values.
    """
    bbox = scene.bbox
    noise_rng = np.random.default_rng([config.seed, 3, plan.visit, detector])
    scaling = make_photometric_scaling(config, plan, detector, bbox)
    background = make_background(config, plan, detector, bbox)
    scale, sky = scaling.render(bbox).array, background.render(bbox).array
    expected = (scene.model + sky) / scale
    electrons = noise_rng.poisson(expected).astype(np.float64)
    rays = _draw_cosmic_rays(bbox, noise_rng)
    electrons += rays + noise_rng.normal(0.0, READ_NOISE_ELECTRONS, bbox.shape)
    saturated = electrons >= SATURATION_ELECTRONS
    pixels = np.minimum(electrons, SATURATION_ELECTRONS) * scale - sky
    variance = (expected + READ_NOISE_ELECTRONS**2) * scale**2
    bad = _bad_columns(config, detector, bbox)
    _interpolate_columns(pixels, bad)
    _interpolate_columns(variance, bad)
    mask = _make_mask(scene, variance, saturated=saturated, rays=rays > 0, bad=bad)
    backgrounds = BackgroundMap()
    backgrounds.add("visit_image_background", background, "The true sky background.", is_subtracted=True)
    return VisitImage(
        Image(pixels.astype(np.float32), bbox=bbox, unit=u.nJy, sky_projection=scene.sky_projection),
        mask=mask,
        variance=Image(variance.astype(np.float32), bbox=bbox, unit=u.nJy**2),
        obs_info=make_obs_info(plan, detector),
        summary_stats=add_conditions(
            make_summary_stats(config, scene, sky=sky, scale=scale, variance=variance), config, plan
        ),
        photometric_scaling=scaling,
        psf=make_piff_psf(scene.psf, bbox=bbox, pixel_scale=config.pixel_scale, stars=psf_stars(scene, bbox)),
        detector=make_detector(config, detector, visit=plan.visit),
        aperture_corrections=make_aperture_corrections(scene.psf, bbox),
        backgrounds=backgrounds,
        band=plan.band,
    )


def make_photometric_scaling(
    config: SurveyConfig, plan: VisitPlan, detector: int, bbox: Box
) -> ChebyshevField:
    """Return nJy per electron over the detector, a few percent from flat."""
    rng = np.random.default_rng([config.seed, 4, detector])
    mean = BANDS[plan.band].nanojansky_per_electron / plan.transparency
    relative = np.zeros((3, 3))
    relative[0, 0] = 1.0
    relative[0, 1], relative[1, 0] = rng.uniform(0.005, 0.02, 2) * rng.choice([-1.0, 1.0], 2)
    relative[0, 2], relative[2, 0], relative[1, 1] = rng.uniform(-0.005, 0.005, 3)
    return ChebyshevField(bbox, mean * relative, unit=u.nJy / u.electron)


def make_background(config: SurveyConfig, plan: VisitPlan, detector: int, bbox: Box) -> ChebyshevField:
    """Return the sky in nJy per pixel, with a gradient of a few percent."""
    rng = np.random.default_rng([config.seed, 5, plan.visit, detector])
    relative = np.zeros((2, 2))
    relative[0, 0] = 1.0
    relative[0, 1], relative[1, 0] = rng.uniform(-0.03, 0.03, 2)
    return ChebyshevField(bbox, plan.sky * config.pixel_scale**2 * relative, unit=u.nJy)


def _draw_cosmic_rays(bbox: Box, rng: np.random.Generator) -> FloatArray:
    """Return the electrons of straight tracks, about 25 per million pixels and at least two."""
    rays = np.zeros(bbox.shape)
    for _ in range(2 + int(rng.poisson(2.5e-5 * bbox.area))):
        length = int(rng.integers(4, 16))
        angle = rng.uniform(0.0, math.pi)
        along = np.arange(length)
        x = np.rint(rng.uniform(0, bbox.x.size) + along * math.cos(angle)).astype(int)
        y = np.rint(rng.uniform(0, bbox.y.size) + along * math.sin(angle)).astype(int)
        inside = (x >= 0) & (x < bbox.x.size) & (y >= 0) & (y < bbox.y.size)
        rays[y[inside], x[inside]] += rng.uniform(1500.0, 6000.0)
    return rays


def _bad_columns(config: SurveyConfig, detector: int, bbox: Box) -> BoolArray:
    """Return which columns of a detector are bad: the same in every visit, never adjacent."""
    rng = np.random.default_rng([config.seed, 6, detector])
    bad = np.zeros(bbox.x.size, dtype=bool)
    count = max(1, bbox.x.size // 512)
    bad[1 + 2 * rng.choice((bbox.x.size - 2) // 2, count, replace=False)] = True
    return bad


def _interpolate_columns(array: FloatArray, bad: BoolArray) -> None:
    """Replace bad columns, in place, by the mean of their neighbours."""
    columns = np.flatnonzero(bad)
    array[:, columns] = 0.5 * (array[:, columns - 1] + array[:, columns + 1])


def _make_mask(
    scene: DetectorScene, variance: FloatArray, *, saturated: BoolArray, rays: BoolArray, bad: BoolArray
) -> Mask:
    """Return the mask of a visit image, with the observatory's planes."""
    planes: list[MaskPlane | None] = list(get_legacy_visit_image_mask_planes().values())
    mask = Mask(schema=MaskSchema(planes), bbox=scene.bbox)
    bad_pixels = np.broadcast_to(bad, scene.bbox.shape)
    mask.set("BAD", bad_pixels)
    mask.set("INTERPOLATED", bad_pixels)
    mask.set("SATURATED", saturated)
    mask.set("COSMIC_RAY", rays)
    mask.set("DETECTED", scene.model > 3.0 * np.sqrt(np.median(variance)))
    edge = np.ones(scene.bbox.shape, dtype=bool)
    edge[EDGE_WIDTH_PX:-EDGE_WIDTH_PX, EDGE_WIDTH_PX:-EDGE_WIDTH_PX] = False
    mask.set("DETECTION_EDGE", edge)
    return mask


def psf_stars(scene: DetectorScene, bbox: Box) -> list[tuple[float, float]]:
    """Return the positions of the bright stars that a PSF would be fitted to."""
    stars = scene.stars
    inside = np.asarray(bbox.contains(x=stars.x, y=stars.y))
    chosen = inside & (stars.flux > 5e3) & (stars.flux < 1e6)
    return list(zip(stars.x[chosen].tolist(), stars.y[chosen].tolist(), strict=True))


def make_aperture_corrections(psf: MoffatField, bbox: Box) -> ApertureCorrectionMap:
    """Return the aperture corrections of the two fluxes that the PSF model defines."""
    correction = make_aperture_correction(psf, bbox=bbox)
    error = ChebyshevField(bbox, np.array([[APERTURE_CORRECTION_ERROR]]))
    corrections: ApertureCorrectionMap = {}
    for name in ("base_PsfFlux", "modelfit_CModel"):
        corrections[f"{name}_instFlux"] = correction
        corrections[f"{name}_instFluxErr"] = error
    return corrections


def make_obs_info(plan: VisitPlan, detector: int) -> ObservationInfo:
    """Return the observation in standard form."""
    return ObservationInfo.makeObservationInfo(
        telescope="Simulated Telescope",
        instrument=INSTRUMENT,
        exposure_id=plan.visit,
        visit_id=plan.visit,
        physical_filter=plan.physical_filter,
        datetime_begin=plan.begin,
        datetime_end=plan.end,
        exposure_time=EXPOSURE_SECONDS * u.s,
        exposure_time_requested=EXPOSURE_SECONDS * u.s,
        dark_time=(EXPOSURE_SECONDS + 1.0) * u.s,
        boresight_rotation_angle=plan.boresight_angle,
        boresight_rotation_coord="sky",
        detector_num=detector,
        detector_name=f"S{detector:02d}",
        detector_group="R00",
        detector_unique_name=detector_name(detector),
        detector_serial=f"MINI-{detector:03d}",
        object="MINI",
        tracking_radec=plan.boresight,
        science_program="MINI-SURVEY",
        observation_type="science",
        observation_id=plan.observation_id,
        observation_reason="science",
        observation_counter=plan.sequence,
        exposure_group=str(plan.visit),
        observing_day=plan.day_obs,
        has_simulated_content=True,
        can_see_sky=True,
    )


def make_summary_stats(
    config: SurveyConfig,
    scene: DetectorScene,
    *,
    sky: FloatArray,
    scale: FloatArray,
    variance: FloatArray,
) -> ObservationSummaryStats:
    """Return the summary statistics that follow from the truth."""
    bbox = scene.bbox
    x, y = 0.5 * (bbox.x.size - 1), 0.5 * (bbox.y.size - 1)
    xx, yy, xy = scene.psf.moments(x=x, y=y)
    picture = scene.psf.profile(x=x, y=y).drawImage(nx=51, ny=51, scale=1.0, method="no_pixel").array
    center = scene.sky_projection.pixel_to_sky(x=x, y=y)
    corners = scene.sky_projection.pixel_to_sky(
        x=np.array([-0.5, bbox.x.max + 0.5, bbox.x.max + 0.5, -0.5]),
        y=np.array([-0.5, -0.5, bbox.y.max + 0.5, bbox.y.max + 0.5]),
    )
    electron_noise = math.sqrt(float(np.median(variance))) / float(np.mean(scale))
    area = float(np.sum(picture) ** 2 / np.sum(picture**2))
    limit = 5.0 * math.sqrt(float(np.median(variance)) * area)
    return ObservationSummaryStats(
        psfSigma=(xx * yy - xy * xy) ** 0.25,
        psfArea=area,
        psfIxx=xx,
        psfIyy=yy,
        psfIxy=xy,
        ra=center.ra.deg,
        dec=center.dec.deg,
        pixelScale=config.pixel_scale,
        expTime=EXPOSURE_SECONDS,
        zeroPoint=31.4 - 2.5 * math.log10(float(np.mean(scale))),
        skyBg=float(np.mean(sky / scale)),
        skyNoise=electron_noise,
        meanVar=_clipped_mean(variance / scale**2),
        raCorners=tuple(corners.ra.deg.tolist()),
        decCorners=tuple(corners.dec.deg.tolist()),
        nPsfStar=len(psf_stars(scene, bbox)),
        magLim=31.4 - 2.5 * math.log10(limit),
    )


def add_conditions(
    statistics: ObservationSummaryStats, config: SurveyConfig, plan: VisitPlan
) -> ObservationSummaryStats:
    """Return summary statistics with zenith distance and effective exposure time.

    The latter is that of an image of the same depth in a clear dark night of a
    PSF of `REFERENCE_FWHM`.
    """
    band = BANDS[plan.band]
    sigma = REFERENCE_FWHM / math.sqrt(8.0 * math.log(2.0)) / statistics.pixelScale
    dark = band.sky * config.pixel_scale**2 / band.nanojansky_per_electron
    clear = 31.4 - 2.5 * math.log10(band.nanojansky_per_electron)
    scales = {
        "effTimePsfSigmaScale": (sigma / statistics.psfSigma) ** 2,
        "effTimeSkyBgScale": dark / statistics.skyBg,
        "effTimeZeroPointScale": 10.0 ** (0.8 * (statistics.zeroPoint - clear)),
    }
    time = statistics.expTime * math.prod(scales.values())
    return statistics.model_copy(update={**scales, "effTime": time, "zenithDistance": ZENITH_DISTANCE})


def _clipped_mean(values: FloatArray) -> float:
    """Return the mean without what is far from the rest, as sources are from the sky."""
    kept = values[np.isfinite(values)]
    for _ in range(5):
        kept = kept[np.abs(kept - np.median(kept)) <= 3.0 * np.std(kept)]
    return float(np.mean(kept))
