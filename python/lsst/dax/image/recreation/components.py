"""What the original processing persisted of a visit image, besides its pixels."""

from __future__ import annotations

__all__ = ("SUBTRACTED_BACKGROUND", "VisitComponents")

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import astropy.units as u
from astro_metadata_translator import ObservationInfo

from lsst.images import Background, BackgroundMap, Mask, ObservationSummaryStats, SkyProjection, VisitImage
from lsst.images.aperture_corrections import ApertureCorrectionMap
from lsst.images.cameras import Detector
from lsst.images.fields import Field
from lsst.images.serialization import ArchiveReadError

from ..errors import InconsistentUnitsError, InputDataError, MissingPsfError
from .visit_summary import VisitSummaryRow

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
        return cls.from_datasets(visit_image=visit_image, mask=mask, background_name=background)

    @classmethod
    def from_datasets(
        cls,
        *,
        visit_image: VisitImage | None = None,
        summary: VisitSummaryRow | None = None,
        background: Field | BackgroundMap | None = None,
        psf: Any = None,
        detector: Detector | None = None,
        obs_info: ObservationInfo | None = None,
        mask: Mask | None = None,
        background_name: str = SUBTRACTED_BACKGROUND,
    ) -> VisitComponents:
        """Put components together that were persisted one by one.

        Parameters
        ----------
        visit_image
            Visit image, or any part of one, that supplies what is not given
            otherwise.
        summary
            Final calibration of the detector.
        background
            Background that was subtracted, in electron; or all backgrounds of
            the image.
        psf
            Final `lsst.images.psfs.PointSpreadFunction`.
        detector
            Geometry of the detector.
        obs_info
            Description of the observation.
        mask
            Mask over the whole detector; `None` where it is lost.
        background_name
            Name of the background that was subtracted.

        Returns
        -------
        components
            Everything that there is.

        Raises
        ------
        InputDataError
            Raised if a component is missing in the end, or if summary,
            background and detector are not of the same pixels.
        MissingPsfError
            Raised if the PSF is missing, or cannot be read.
        InconsistentUnitsError
            Raised if the background is not in electron, or the scaling not in
            nJy per electron.
        """
        separate = {"psf": psf, "detector": detector, "obs_info": obs_info}
        given = {name: part for name, part in separate.items() if part is not None}
        given |= _parts_of_summary(summary)
        parts = _parts_of_image(visit_image, without=given) | given | {"mask": mask}
        backgrounds = _merge_backgrounds(background, visit_image, background_name)
        if backgrounds is not None:
            parts |= {"background": backgrounds[background_name].field, "backgrounds": backgrounds}
        _require_all(parts, visit_image, summary)
        _check_pixels(parts["detector"], summary, None if background is None else parts["background"])
        return cls(**parts)


def _merge_backgrounds(
    background: Field | BackgroundMap | None, image: VisitImage | None, name: str
) -> BackgroundMap | None:
    """Return the backgrounds of an image, where given ones take the place of its own."""
    own = {} if image is None else dict(image.backgrounds)
    if isinstance(background, BackgroundMap):
        given, source = dict(background), "The given map of backgrounds"
    elif background is not None:
        given, source = {name: Background(name, background)}, ""
    elif image is not None:
        given, source = own, _name(image)
    else:
        return None
    if name not in given:
        raise InputDataError(f"{source} has no background {name!r}, but {sorted(given)}.")
    return BackgroundMap((own | given).values(), subtracted=name)


def _parts_of_summary(summary: VisitSummaryRow | None) -> dict[str, Any]:
    """Return the components that a summary has."""
    if summary is None:
        return {}
    parts = {
        "sky_projection": summary.sky_projection,
        "photometric_scaling": summary.photometric_scaling,
        "aperture_corrections": summary.aperture_corrections,
        "summary_stats": summary.summary_stats,
        "band": summary.band,
    }
    return {name: part for name, part in parts.items() if part is not None}


def _parts_of_image(image: VisitImage | None, *, without: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components that an image has, save its backgrounds; a PSF is not read in vain."""
    if image is None:
        return {}
    parts: dict[str, Any] = {
        "detector": image.detector,
        "sky_projection": image.sky_projection,
        "obs_info": image.obs_info,
        "band": image.band,
        "aperture_corrections": image.aperture_corrections,
        "summary_stats": image.summary_stats,
        "metadata": dict(image.metadata.native),
    }
    if "psf" not in without:
        parts["psf"] = _read_psf(image)
    if image.photometric_scaling is not None:
        parts["photometric_scaling"] = image.photometric_scaling
    return parts


def _require_all(parts: Mapping[str, Any], image: VisitImage | None, summary: VisitSummaryRow | None) -> None:
    """Raise if a component is missing; say where it could have come from."""
    if image is not None and "photometric_scaling" not in parts:
        raise InputDataError(f"{_name(image)} has no photometric scaling.")
    if "psf" not in parts:
        stored = None if summary is None else summary.psf_kind
        unread = f"; the visit summary has a {stored}, which is not read" if stored else ""
        raise MissingPsfError(f"No PSF is given, and there is no visit image that has one{unread}.")
    required = [
        field.name
        for field in dataclasses.fields(VisitComponents)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing := [name for name in required if name not in parts and name != "backgrounds"]:
        sources = "no visit image" if image is None else _name(image)
        sources += ", no visit summary" if summary is None else ", a visit summary"
        raise InputDataError(f"No input has the {', '.join(missing)} of the visit image; given: {sources}.")


def _check_pixels(detector: Detector, summary: VisitSummaryRow | None, background: Field | None) -> None:
    """Raise if what was given one by one does not belong together."""
    if summary is not None and (summary.detector, summary.bbox) != (detector.id, detector.bbox):
        raise InputDataError(
            f"The visit summary is of detector {summary.detector} with {summary.bbox}, the geometry of "
            f"detector {detector.id} with {detector.bbox}."
        )
    if background is not None and not background.bounds.bbox.contains(detector.bbox):
        raise InputDataError(
            f"The background covers {background.bounds.bbox}, detector {detector.name} {detector.bbox}."
        )


def _name(image: VisitImage) -> str:
    return f"The visit image of {image.obs_info.observation_id}, {image.detector.name}"


def _read_psf(image: VisitImage) -> Any:
    """Return the PSF of an image; the property raises what went wrong when it was read."""
    try:
        return image.psf
    except ArchiveReadError as error:
        raise MissingPsfError(f"{_name(image)} has a PSF that cannot be read: {error}") from error
