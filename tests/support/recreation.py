"""Small visit images, and what they are stitched from."""

from __future__ import annotations

__all__ = ("make_components", "make_isr_image", "make_mask", "make_original")

from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astro_metadata_translator import ObservationInfo
from astropy.wcs import WCS
from lsst.images import (
    BackgroundMap,
    DetectorFrame,
    Image,
    Mask,
    MaskedImage,
    MaskSchema,
    ObservationSummaryStats,
    SkyProjection,
    VisitImage,
    get_legacy_visit_image_mask_planes,
)
from lsst.images.cameras import Detector
from lsst.images.fields import ChebyshevField, ProductField
from lsst.images.psfs import GaussianPointSpreadFunction

from lsst.dax.image.recreation import VisitComponents
from tests.support.isr import make_detector, make_exposure


def make_components(detector: Detector | None = None, **changes: Any) -> VisitComponents:
    """Return components with a sloping background and a scaling of two factors."""
    detector = make_detector() if detector is None else detector
    bbox = detector.bbox
    frame = DetectorFrame(instrument="LSSTCam", visit=2025052300201, detector=detector.id, bbox=bbox)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150.0, 2.0], [50.0, 40.0], [-5.6e-5, 5.6e-5]
    background = ChebyshevField(bbox, np.array([[900.0, 7.0], [-11.0, 0.5]]), unit=u.electron)
    other = ChebyshevField(bbox, np.array([[5.0]]), unit=u.electron)
    backgrounds = BackgroundMap()
    backgrounds.add("subtracted", background, is_subtracted=True)
    # As in real files, the mark ends up on what was not subtracted.
    backgrounds.add("skyCorr", other, is_subtracted=True)
    scaling = ProductField(
        [
            ChebyshevField(bbox, np.array([[0.5, 0.01], [0.02, 0.0]]), unit=u.nJy / u.electron),
            ChebyshevField(bbox, np.array([[1.0], [0.003]])),
        ]
    )
    values: dict[str, Any] = {
        "detector": detector,
        "sky_projection": SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=bbox),
        "psf": GaussianPointSpreadFunction(1.7, bbox, 25),
        "background": background,
        "photometric_scaling": scaling,
        "obs_info": ObservationInfo.makeObservationInfo(
            instrument="LSSTCam", physical_filter="r_57", visit_id=2025052300201, observation_id="MC_O_1"
        ),
        "band": "r",
        "aperture_corrections": {"base_PsfFlux_instFlux": ChebyshevField(bbox, np.array([[1.01]]))},
        "summary_stats": ObservationSummaryStats(psfSigma=1.7),
        "backgrounds": backgrounds,
        "metadata": {"id": 47152417142},
    }
    return VisitComponents(**{**values, **changes})


def make_isr_image(
    detector: Detector, image: npt.NDArray[Any] | float, *, variance: Any = 4.0, mask: Any = None
) -> MaskedImage:
    """Return the outcome of instrument signature removal."""
    exposure = make_exposure(detector, image=image, variance=variance, mask=mask, is_assembled=True)
    return exposure.to_masked_image()


def make_mask(detector: Detector, **planes: npt.NDArray[np.bool_]) -> Mask:
    """Return a mask with the observatory's planes, some of them set."""
    mask = Mask(schema=MaskSchema(list(get_legacy_visit_image_mask_planes().values())), bbox=detector.bbox)
    for name, where in planes.items():
        mask.set(name, where)
    return mask


def make_original(components: VisitComponents, *, pixels: Any = 0.0, variance: Any = 1.0) -> VisitImage:
    """Return a visit image with some pixels that has these components."""
    bbox = components.detector.bbox
    shape = bbox.shape
    return VisitImage(
        Image(np.broadcast_to(np.float32(pixels), shape).copy(), bbox=bbox, unit=u.nJy),
        mask=components.mask if components.mask is not None else make_mask(components.detector),
        variance=Image(np.broadcast_to(np.float32(variance), shape).copy(), bbox=bbox, unit=u.nJy**2),
        sky_projection=components.sky_projection,
        obs_info=components.obs_info,
        summary_stats=components.summary_stats,
        photometric_scaling=components.photometric_scaling,
        psf=components.psf,
        detector=components.detector,
        aperture_corrections=components.aperture_corrections,
        backgrounds=components.backgrounds,
        band=components.band,
        metadata=dict(components.metadata),
    )
