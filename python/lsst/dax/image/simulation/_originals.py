"""The persisted visit images of the simulated camera: what a re-creation is compared with.

They are made by the slow reference of `reference_isr` from a simulated raw,
and carry what the observatory's visit images carry.
"""

from __future__ import annotations

__all__ = (
    "CalibrationProvenance",
    "ExposureFields",
    "calibrate",
    "fill_cosmic_rays",
    "make_exposure_fields",
    "make_original_visit_image",
    "pack_detector_exposure_id",
)

import dataclasses
import datetime
import uuid
from collections.abc import Mapping

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images import (
    BackgroundMap,
    Box,
    Image,
    Mask,
    MaskPlane,
    MaskSchema,
    VisitImage,
    get_legacy_visit_image_mask_planes,
)
from lsst.images.fields import ChebyshevField, ProductField

from ..errors import RequestError
from ._camera import make_camera_frames
from ._config import SurveyConfig
from ._electronics import SimulatedRaw
from ._psf import make_piff_psf
from ._reference_detector import CalibrationMasks
from ._reference_planes import BoolArray, Float32Array, FloatArray, Planes, median_of
from ._reference_steps import ReferenceSettings
from ._scene import DetectorScene
from ._sensor import SimulatedCalibrations
from ._visit import (
    EDGE_WIDTH_PX,
    add_conditions,
    make_aperture_corrections,
    make_background,
    make_obs_info,
    make_photometric_scaling,
    make_summary_stats,
    psf_stars,
)
from ._visit_plan import VisitPlan, detector_offset
from .reference_isr import ReferenceResult, run_reference_isr

SUBTRACTED_BACKGROUND = "subtracted"
SKY_CORRECTION = "skyCorr"
"""Names of the two backgrounds, as in Data Preview 2."""

_EPOCH = datetime.date(2010, 1, 1).toordinal()
_CONTROLLERS = "OCHPQS"


@dataclasses.dataclass(frozen=True)
class ExposureFields:
    """Photometry and background of one exposure of one detector."""

    photometric_scaling: ProductField
    """Nanojansky per electron: a mean calibration times a smooth illumination."""

    background: ChebyshevField
    """Sky in electron; it is subtracted."""

    sky_correction: ChebyshevField
    """A large-scale correction of the sky in electron; it is not subtracted."""

    def expected_electrons(self, scene: DetectorScene) -> FloatArray:
        """Return the mean electrons of sky and sources for a pixel of response 1."""
        scale = self.photometric_scaling.render(scene.bbox).array
        electrons: FloatArray = scene.model / scale + self.background.render(scene.bbox).array
        return electrons


@dataclasses.dataclass(frozen=True)
class CalibrationProvenance:
    """Which calibration dataset was used."""

    uuid: uuid.UUID
    """Identifier of the dataset."""

    run: str
    """Collection that it was written to."""


def pack_detector_exposure_id(*, day_obs: int, sequence: int, detector: int, controller: str = "O") -> int:
    """Return the observatory's packed identifier of exposure and detector.

    Parameters
    ----------
    day_obs
        Observing day as YYYYMMDD.
    sequence
        Number of the exposure in that day, less than 32768.
    detector
        Detector, less than 256.
    controller
        Letter of the controller that took the exposure.

    Raises
    ------
    RequestError
        Raised if a number does not fit or the controller is unknown.
    """
    if not (0 <= sequence < 32768 and 0 <= detector < 256 and controller in _CONTROLLERS):
        raise RequestError(
            f"Sequence {sequence}, detector {detector} and controller {controller!r} must be below 32768, "
            f"below 256 and one of {_CONTROLLERS}."
        )
    day = datetime.datetime.strptime(str(day_obs), "%Y%m%d").date().toordinal() - _EPOCH
    return detector + 256 * (sequence + 32768 * (day + 16384 * _CONTROLLERS.index(controller)))


def make_exposure_fields(config: SurveyConfig, plan: VisitPlan, detector: int, bbox: Box) -> ExposureFields:
    """Return photometry and background of one exposure.

    Parameters
    ----------
    config, plan, detector
        Which exposure.
    bbox
        Pixels of the detector.
    """
    rng = np.random.default_rng([config.seed, 30, plan.visit, detector])
    mean = make_photometric_scaling(config, plan, detector, bbox)
    illumination = np.zeros((3, 3))
    illumination[0, 0] = 1.0
    illumination[0, 1], illumination[1, 0], illumination[2, 0], illumination[0, 2] = rng.uniform(
        -0.004, 0.004, 4
    )
    sky = make_background(config, plan, detector, bbox)
    electrons = sky.coefficients / float(mean.coefficients[0, 0])
    correction = np.zeros((2, 2))
    correction[0, 0], correction[0, 1], correction[1, 0] = rng.uniform(-3.0, 3.0, 3)
    return ExposureFields(
        photometric_scaling=ProductField([mean, ChebyshevField(bbox, illumination)]),
        background=ChebyshevField(bbox, electrons, unit=u.electron),
        sky_correction=ChebyshevField(bbox, correction, unit=u.electron),
    )


def make_original_visit_image(
    config: SurveyConfig,
    plan: VisitPlan,
    raw: SimulatedRaw,
    *,
    calibrations: SimulatedCalibrations,
    scene: DetectorScene,
    settings: ReferenceSettings | None = None,
    calibration_masks: Mapping[str, CalibrationMasks] | None = None,
    provenance: Mapping[str, CalibrationProvenance] | None = None,
) -> VisitImage:
    """Reduce a simulated raw to the visit image that the observatory would keep.

    Parameters
    ----------
    config, plan
        Survey and visit.
    raw
        Raw of one detector, whose light is `ExposureFields.expected_electrons`.
    calibrations
        Calibrations of the detector.
    scene
        Sky behind the raw.
    settings, calibration_masks
        See `run_reference_isr`.
    provenance
        Dataset of each calibration that was used, by its type.

    Returns
    -------
    image
        Background-subtracted image in nJy, lossless.

    Raises
    ------
    RequestError
        Raised if scene and raw are not of the same size.

    Notes
    -----
    As in Data Preview 2 the background that is named ``subtracted`` was
    subtracted, but the map says that ``skyCorr`` was.  Cosmic rays hold noise
    about the median of the image; their places are the true ones.
    """
    sensor = raw.sensor
    if scene.bbox.shape != sensor.bbox.shape:
        raise RequestError(
            f"The scene has shape {scene.bbox.shape}, detector {sensor.name} {sensor.bbox.shape}."
        )
    exposure_id = pack_detector_exposure_id(
        day_obs=plan.day_obs, sequence=plan.sequence, detector=sensor.detector
    )
    reduced = run_reference_isr(
        raw.counts,
        sensor,
        calibrations,
        detector_exposure_id=exposure_id,
        dark_time=raw.dark_time_s,
        settings=settings,
        calibration_masks=calibration_masks,
    )
    fields = make_exposure_fields(config, plan, sensor.detector, scene.bbox)
    sky = fields.background.render(scene.bbox).array
    scale = fields.photometric_scaling.render(scene.bbox).array
    planes = Planes(reduced.image - sky.astype(np.float32), reduced.mask, reduced.variance)
    rng = np.random.default_rng([config.seed, 31, plan.visit, sensor.detector])
    planes = fill_cosmic_rays(planes, raw.truth.cosmic_rays, rng=rng)
    image, variance = calibrate(planes, scale)
    return VisitImage(
        Image(image, bbox=scene.bbox, unit=u.nJy, sky_projection=scene.sky_projection),
        mask=_make_mask(planes, scene, variance),
        variance=Image(variance, bbox=scene.bbox, unit=u.nJy**2),
        obs_info=make_obs_info(plan, sensor.detector),
        summary_stats=add_conditions(
            make_summary_stats(
                config, scene, sky=sky * scale, scale=scale, variance=variance.astype(np.float64)
            ),
            config,
            plan,
        ),
        photometric_scaling=fields.photometric_scaling,
        psf=make_piff_psf(
            scene.psf, bbox=scene.bbox, pixel_scale=config.pixel_scale, stars=psf_stars(scene, scene.bbox)
        ),
        detector=sensor.to_detector(
            frames=make_camera_frames(config),
            focal_plane_px=detector_offset(config, sensor.detector),
            visit=plan.visit,
        ),
        aperture_corrections=make_aperture_corrections(scene.psf, scene.bbox),
        backgrounds=_make_background_map(fields),
        band=plan.band,
        metadata=_make_metadata(reduced, exposure_id, provenance if provenance is not None else {}),
    )


def fill_cosmic_rays(planes: Planes, where: BoolArray, *, rng: np.random.Generator) -> Planes:
    """Replace cosmic rays by noise about the median, and flag them CR and INTRP.

    Pixels that are bad, saturated, interpolated or without data are no cosmic rays.
    """
    where = where & ~planes.plane("BAD", "SAT", "INTRP", "NO_DATA")
    noise = np.sqrt(planes.variance[where].astype(np.float64)) * rng.standard_normal(int(where.sum()))
    image = planes.image.copy()
    image[where] = median_of(planes.image) + noise
    return planes.with_image(image).flagged("CR", where).flagged("INTRP", where)


def calibrate(planes: Planes, scale: FloatArray) -> tuple[Float32Array, Float32Array]:
    """Return image and variance in nJy, rounded to single precision at each product."""

    def scaled(values: Float32Array) -> Float32Array:
        return np.asarray(values * scale, dtype=np.float32)

    return scaled(planes.image), scaled(scaled(planes.variance))


def _make_background_map(fields: ExposureFields) -> BackgroundMap:
    """Return both backgrounds, with the wrong one marked as subtracted."""
    backgrounds = BackgroundMap()
    backgrounds.add(
        SUBTRACTED_BACKGROUND, fields.background, "Background that was subtracted.", is_subtracted=True
    )
    backgrounds.add(
        SKY_CORRECTION, fields.sky_correction, "Alternate large-scale correction.", is_subtracted=True
    )
    return backgrounds


def _make_mask(planes: Planes, scene: DetectorScene, variance: npt.NDArray[np.float32]) -> Mask:
    """Return the mask with the names of `lsst.images`, with detections from the truth."""
    known = get_legacy_visit_image_mask_planes()
    schema: list[MaskPlane | None] = list(known.values())
    mask = Mask(schema=MaskSchema(schema), bbox=scene.bbox)
    for name, where in planes.mask.items():
        mask.set(known[name].name, where)
    mask.set("DETECTED", scene.model > 3.0 * np.sqrt(np.median(variance)))
    edge = np.ones(scene.bbox.shape, dtype=bool)
    edge[EDGE_WIDTH_PX:-EDGE_WIDTH_PX, EDGE_WIDTH_PX:-EDGE_WIDTH_PX] = False
    mask.set("DETECTION_EDGE", edge | planes.plane("EDGE"))
    return mask


def _make_metadata(
    reduced: ReferenceResult, exposure_id: int, provenance: Mapping[str, CalibrationProvenance]
) -> dict[str, int | str | float | bool | None]:
    """Return the keys that a visit image inherits from its reduction."""
    # JSON has no NaN: statistics that could not be measured are left out.
    metadata: dict[str, int | str | float | bool | None] = {
        key: value
        for key, value in reduced.header.items()
        if not (isinstance(value, float) and not np.isfinite(value))
    }
    for name, dataset in provenance.items():
        metadata[f"LSST CALIB UUID {name.upper()}"] = str(dataset.uuid)
        metadata[f"LSST CALIB RUN {name.upper()}"] = dataset.run
    metadata["id"] = exposure_id
    return metadata
