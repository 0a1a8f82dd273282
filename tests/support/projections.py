"""Sky projections of every kind that an image may have."""

from __future__ import annotations

__all__ = ("PROJECTIONS", "bent_projection")

from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import starlink.Ast
from astropy.wcs import WCS
from lsst.images import Box, GeneralFrame, SkyFrame, SkyProjection, SkyProjectionSerializationModel
from lsst.images.serialization import DetachedArchive

from lsst.dax.image.container import make_sky_projection as to_icrs
from tests.support.scenes import BOX, make_sky_projection, make_wcs

FRAME = GeneralFrame(unit=u.pix)


def bent_projection(strength: float, *, bbox: Box = BOX) -> SkyProjection[Any]:
    """Return a tangent projection of pixels that are bent first.

    Pixel (x, y) goes to (x + s x^2 y, y + s x y^2) with the strength s.  AST
    has no FITS form of that map, but takes it for straight where it deviates
    by less than a ten-thousandth of a pixel.
    """
    straight = SkyProjection.from_fits_wcs(make_wcs(bbox=bbox), FRAME)
    frames = starlink.Ast.Channel(straight.show().splitlines()).read()
    # Value, output axis and powers of x and y of each term.
    terms = [[1, 1, 1, 0], [strength, 1, 2, 1], [1, 2, 0, 1], [strength, 2, 1, 2]]
    bend = starlink.Ast.PolyMap(terms, None, "IterInverse=1")
    whole = starlink.Ast.CmpMap(bend, frames.getmapping(frames.Base, frames.Current), True)
    model: Any = SkyProjectionSerializationModel.model_validate(
        {
            "pixel_to_sky": {
                "frames": [FRAME.model_dump(mode="json"), SkyFrame.ICRS.value],
                "bounds": [bbox.serialize(), None],
                "mappings": [{"ast": str(whole)}],
            }
        }
    )
    return model.deserialize(DetachedArchive())


def _sip(*, with_inverse: bool) -> SkyProjection[Any]:
    """Return a TAN-SIP projection of third order, its reference off the pixels' centres."""
    wcs = make_wcs()
    wcs.wcs.crpix += [0.1234567891, -0.9876543219]
    header = wcs.to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    rng = np.random.default_rng(5)
    for name in ("A", "B"):
        header[f"{name}_ORDER"] = 3
        for i in range(4):
            for j in range(4 - i):
                if i + j >= 2:
                    header[f"{name}_{i}_{j}"] = float(rng.normal()) * 10.0 ** (-3 * (i + j))
    if with_inverse:
        for name in ("A", "B"):
            header[f"{name}P_ORDER"] = 3
            for i in range(4):
                for j in range(4 - i):
                    header[f"{name}P_{i}_{j}"] = -header.get(f"{name}_{i}_{j}", 0.0)
    return SkyProjection.from_fits_wcs(WCS(header), FRAME, pixel_bounds=BOX)


def _tpv() -> SkyProjection[Any]:
    """Return a tangent projection with polynomial distortion in the sky's plane."""
    header = make_wcs().to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
    for axis in (1, 2):
        for m, value in ((0, 0.0), (1, 1.0), (2, 1e-5), (4, 1e-3), (5, 2e-3), (6, -1e-3)):
            header[f"PV{axis}_{m}"] = value
    return to_icrs(WCS(header), bbox=BOX)


def _other_system(longitude: str, latitude: str) -> SkyProjection[Any]:
    """Return a projection of another celestial system, turned to ICRS."""
    wcs = make_wcs()
    wcs.wcs.ctype = [longitude, latitude]
    wcs.wcs.crval = [150.0, 0.0]
    return to_icrs(wcs, bbox=BOX)


def _approximated() -> SkyProjection[Any]:
    """Return a bent projection together with its FITS approximation."""
    bent = bent_projection(1e-8)
    return SkyProjection(bent.pixel_to_sky_transform, make_sky_projection().pixel_to_sky_transform)


PROJECTIONS: dict[str, Callable[[], SkyProjection[Any]]] = {
    "tan": make_sky_projection,
    "sip": lambda: _sip(with_inverse=False),
    "sip_with_inverse": lambda: _sip(with_inverse=True),
    "tpv": _tpv,
    "galactic_tan": lambda: _other_system("GLON-TAN", "GLAT-TAN"),
    "ecliptic_plate_carree": lambda: _other_system("ELON-CAR", "ELAT-CAR"),
    "without_fits_form": lambda: bent_projection(1e-8),
    "approximated": _approximated,
}
"""Projections by name; each call makes a new object."""
