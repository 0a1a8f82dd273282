"""What the original processing persisted of a visit image, besides its pixels."""

from __future__ import annotations

__all__ = ("SUBTRACTED_BACKGROUND", "VisitComponents")

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import astropy.units as u
from astro_metadata_translator import ObservationInfo

from lsst.images import BackgroundMap, Mask, ObservationSummaryStats, SkyProjection, VisitImage
from lsst.images.aperture_corrections import ApertureCorrectionMap
from lsst.images.cameras import Detector
from lsst.images.fields import Field
from lsst.images.serialization import ArchiveReadError

from ..errors import InconsistentUnitsError, InputDataError, MissingPsfError

SUBTRACTED_BACKGROUND = "subtracted"
"""Name of the background that was subtracted.

In files of the second data preview `BackgroundMap.subtracted` points to another
entry, which was *not* subtracted; so the entry is always taken by its name.
"""


@dataclass(frozen=True, eq=False)
class VisitComponents:
    """Everything that a visit image is stitched together from, except what the raw gives.

    Raises
    ------
    InconsistentUnitsError
        Raised if the background is not in electron, or the scaling not in nJy
        per electron.
    """

    detector: Detector
    """Geometry of the detector."""
    sky_projection: SkyProjection[Any]
    """Final map between pixels (0-based) and ICRS."""
    psf: Any
    """Final `lsst.images.psfs.PointSpreadFunction`."""
    background: Field
    """Background that was subtracted, in electron."""
    photometric_scaling: Field
    """Calibration in nJy per electron."""
    obs_info: ObservationInfo
    """Description of the observation."""
    band: str
    """Band."""
    aperture_corrections: ApertureCorrectionMap
    """Aperture corrections by algorithm."""
    summary_stats: ObservationSummaryStats
    """Summary statistics of the original."""
    backgrounds: BackgroundMap
    """All backgrounds of the original, with the subtracted one marked."""
    mask: Mask | None = None
    """Mask of the original; without it there are no cosmic rays and no detections."""
    metadata: Mapping[str, Any] = MappingProxyType({})
    """Flexible metadata of the original."""

    def __post_init__(self) -> None:
        expected = {
            "background": (self.background.unit, u.electron),
            "photometric scaling": (self.photometric_scaling.unit, u.nJy / u.electron),
        }
        for name, (found, wanted) in expected.items():
            if found is None or not found.is_equivalent(wanted) or found.to(wanted) != 1.0:
                raise InconsistentUnitsError(
                    f"The {name} of detector {self.detector.name} is in {found}, {wanted} is needed."
                )

    @classmethod
    def from_visit_image(
        cls, visit_image: VisitImage, *, mask: Mask | None, background: str = SUBTRACTED_BACKGROUND
    ) -> VisitComponents:
        """Take the components of a persisted visit image; its pixels are not looked at.

        Parameters
        ----------
        visit_image
            Visit image, or any part of one.
        mask
            Its mask over the whole detector; `None` where it is lost.
        background
            Name of the background that was subtracted.

        Returns
        -------
        components
            What the image holds.

        Raises
        ------
        InputDataError
            Raised if the image lacks the background or the scaling.
        MissingPsfError
            Raised if its PSF cannot be read.
        InconsistentUnitsError
            Raised if the background is not in electron, or the scaling not in
            nJy per electron.
        """
        name = f"The visit image of {visit_image.obs_info.observation_id}, {visit_image.detector.name}"
        if background not in visit_image.backgrounds:
            raise InputDataError(
                f"{name} has no background {background!r}, but {sorted(visit_image.backgrounds)}."
            )
        if visit_image.photometric_scaling is None:
            raise InputDataError(f"{name} has no photometric scaling.")
        return cls(
            detector=visit_image.detector,
            sky_projection=visit_image.sky_projection,
            psf=_read_psf(visit_image, name),
            background=visit_image.backgrounds[background].field,
            photometric_scaling=visit_image.photometric_scaling,
            obs_info=visit_image.obs_info,
            band=visit_image.band,
            aperture_corrections=visit_image.aperture_corrections,
            summary_stats=visit_image.summary_stats,
            backgrounds=BackgroundMap(visit_image.backgrounds.values(), subtracted=background),
            mask=mask,
            metadata=dict(visit_image.metadata.native),
        )


def _read_psf(visit_image: VisitImage, name: str) -> Any:
    """Return the PSF of an image; the property raises what went wrong when it was read."""
    try:
        return visit_image.psf
    except ArchiveReadError as error:
        raise MissingPsfError(f"{name} has a PSF that cannot be read: {error}") from error
