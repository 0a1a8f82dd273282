"""Sky projections in ICRS from FITS world coordinate systems."""

from __future__ import annotations

__all__ = ("make_sky_projection",)

from typing import Any

import astropy.units as u
import starlink.Ast
from astropy.wcs import WCS

from lsst.images import Box, GeneralFrame, SkyFrame, SkyProjection, SkyProjectionSerializationModel
from lsst.images.serialization import DetachedArchive

from ..errors import InputDataError
from ._ast_lock import AST_TEXT_LOCK
from ._fits_form import with_fits_form

PIXEL_FRAME = GeneralFrame(unit=u.pix)
"""Frame of pixels that belong to no detector or tract."""


def make_sky_projection(wcs: WCS, *, bbox: Box) -> SkyProjection[Any]:
    """Return the sky projection of a celestial FITS WCS of any system.

    Parameters
    ----------
    wcs
        Celestial WCS with two axes in either order, in any system that AST
        knows (ICRS, FK5, FK4, galactic, ecliptic, ...).  Its 0-based pixel
        coordinates become those of the projection.
    bbox
        Pixels of the image.

    Returns
    -------
    sky_projection
        Map between pixels and ICRS.  Where lsst.images cannot write it as a
        FITS WCS, as for TPV, it carries a TAN-SIP approximation for that.

    Raises
    ------
    InputDataError
        Raised if the WCS is not a map to the sky.

    Notes
    -----
    `SkyProjection.from_fits_wcs` takes the coordinates of every system for
    ICRS: a galactic image lands 94 degrees off.  So the AST object is turned
    to ICRS here, through its text form.
    """
    direct = SkyProjection.from_fits_wcs(wcs, PIXEL_FRAME, pixel_bounds=bbox)
    with AST_TEXT_LOCK:
        text = direct.show()
    frame_set = starlink.Ast.Channel(text.splitlines()).read()
    sky = frame_set.getframe(frame_set.Current) if isinstance(frame_set, starlink.Ast.FrameSet) else None
    if not isinstance(sky, starlink.Ast.SkyFrame):
        raise InputDataError(f"The world coordinates {list(wcs.wcs.ctype)} are not on the sky.")
    if sky.System == "ICRS" and sky.LonAxis == 1:
        return with_fits_form(direct, bbox)
    if sky.LonAxis != 1:
        frame_set.permaxes([2, 1])
    frame_set.System = "ICRS"
    model: SkyProjectionSerializationModel[Any] = SkyProjectionSerializationModel.model_validate(
        {
            "pixel_to_sky": {
                "frames": [PIXEL_FRAME.model_dump(mode="json"), SkyFrame.ICRS.value],
                "bounds": [bbox.serialize(), None],
                "mappings": [{"ast": str(frame_set)}],
            }
        }
    )
    projection: SkyProjection[Any] = model.deserialize(DetachedArchive())
    return with_fits_form(projection, bbox)
