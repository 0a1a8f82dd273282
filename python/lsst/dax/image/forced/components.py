"""What is known of a whole image besides its pixels."""

from __future__ import annotations

__all__ = ("ImageComponents", "find_mid_time", "make_image_evaluator", "take_components")

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import astropy.units as u
from astropy.time import Time

from lsst.images import Bounds, Box, MaskedImage, SkyProjection
from lsst.images.fields import BaseField
from lsst.images.psfs import PointSpreadFunction
from lsst.images.serialization import ArchiveReadError

from ..errors import MissingPsfError, UnsupportedProductError
from ..psfs import PsfEvaluator, PsfTables, make_psf_evaluator


@dataclass(frozen=True, kw_only=True)
class ImageComponents:
    """All of an image that fluxes need, but its pixels."""

    bbox: Box
    """Pixels that the image has."""

    sky_projection: SkyProjection[Any]
    """Map between pixels and ICRS."""

    evaluator: PsfEvaluator
    """The point spread function."""

    unit: u.UnitBase | None = None
    """Unit of the pixels."""

    bounds: Bounds | None = None
    """Where the image is valid; its whole box if `None`."""

    photometric_scaling: u.Quantity | BaseField | None = None
    """Flux of one unit of the image, where that is no unit of flux."""

    aperture_corrections: Mapping[str, Any] = field(default_factory=dict)
    """Fields of factors by the kind of flux."""

    visit: int | None = None
    detector: int | None = None
    band: str | None = None

    exposure_time: u.Quantity | None = None
    """Time that the shutter was open."""

    time: Time | None = None
    """Middle of the exposure."""


def take_components(
    image: MaskedImage,
    *,
    psf: PointSpreadFunction | PsfTables | PsfEvaluator | None = None,
    photometric_scaling: u.Quantity | BaseField | None = None,
    aperture_corrections: Mapping[str, Any] | None = None,
    time: Time | None = None,
) -> ImageComponents:
    """Take what is known of an image out of it.

    Parameters
    ----------
    image
        Image with a sky projection.  Its pixels are not looked at.
    psf
        Point spread function, its tables or its evaluator; that of the image
        if `None`.
    photometric_scaling
        Flux of one unit of the image; its own if `None`.
    aperture_corrections
        Fields of factors by the kind of flux; its own if `None`.
    time
        Time of the image; the middle of its exposure if `None`.

    Returns
    -------
    components
        The components.

    Raises
    ------
    UnsupportedProductError
        Raised if it is no masked image or has no sky projection.
    MissingPsfError
        Raised if there is no point spread function.
    """
    if not isinstance(image, MaskedImage):
        raise UnsupportedProductError(f"Fluxes need a masked image; got a {type(image).__name__}.")
    if image.sky_projection is None:
        raise UnsupportedProductError(f"A {type(image).__name__} without a sky projection has no positions.")
    info = getattr(image, "obs_info", None)
    if photometric_scaling is None:
        photometric_scaling = getattr(image, "photometric_scaling", None)
    if aperture_corrections is None:
        aperture_corrections = getattr(image, "aperture_corrections", {})
    return ImageComponents(
        bbox=image.bbox,
        sky_projection=image.sky_projection,
        evaluator=make_image_evaluator(image, psf),
        unit=image.unit,
        bounds=getattr(image, "bounds", None),
        photometric_scaling=photometric_scaling,
        aperture_corrections=aperture_corrections,
        visit=getattr(info, "visit_id", None),
        detector=getattr(info, "detector_num", None),
        band=getattr(image, "band", None),
        exposure_time=getattr(info, "exposure_time", None),
        time=find_mid_time(info) if time is None else time,
    )


def find_mid_time(info: Any) -> Time | None:
    """Return the middle of an exposure.

    Parameters
    ----------
    info
        Description of the observation, as images have it as ``obs_info``, or
        such an image; `None` where there is none.

    Returns
    -------
    time
        Time in TAI; `None` for what has not one exposure.
    """
    info = getattr(info, "obs_info", info)
    begin, end = (getattr(info, f"datetime_{name}", None) for name in ("begin", "end"))
    if begin is None or end is None:
        return None
    return begin.tai + 0.5 * (end.tai - begin.tai)


def make_image_evaluator(
    image: MaskedImage, psf: PointSpreadFunction | PsfTables | PsfEvaluator | None = None
) -> PsfEvaluator:
    """Return the evaluator of an image's point spread function.

    Parameters
    ----------
    image
        Image.  Its pixels are not looked at.
    psf
        Point spread function, its tables or its evaluator; that of the image
        if `None`.

    Returns
    -------
    evaluator
        The evaluator.

    Raises
    ------
    MissingPsfError
        Raised if there is no point spread function.
    """
    if isinstance(psf, PsfEvaluator):
        return psf
    if psf is None:
        try:
            psf = getattr(image, "psf", None)
        except ArchiveReadError as error:
            raise MissingPsfError(
                f"The point spread function of the image could not be read: {error}"
            ) from error
    if psf is None:
        raise MissingPsfError(f"A {type(image).__name__} has no point spread function; pass one as psf.")
    return make_psf_evaluator(psf)
