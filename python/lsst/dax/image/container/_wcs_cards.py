"""How sky projections are written: as FITS cards and as JSON.

Both take AST a few milliseconds, as long as all else of a small file together.
Images of one exposure share their projection, so both are remembered.
"""

from __future__ import annotations

__all__ = ("ProjectionForms", "find_forms")

import functools
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import astropy.io.fits
import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection, Transform
from lsst.images.json import JsonOutputArchive

from .cards import make_card, split_cards

_MAX_PROJECTIONS = 64
_MAX_FORMS = 64
_BLOCK = 4096  # pixels, as many as a detector has
# Pixels by which a form may be off in another box, and in its own: AST calls a
# form exact that is off by less than 1e-4 pixel.
_SAME = 1e-6
_WRONG = 1e-3
_OFF_SKY = 100.0  # radians
# Corners, middles of the sides and centre of a box, from 0 to 1.
_GRID_X, _GRID_Y = (axis.ravel() for axis in np.meshgrid([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]))
_CRPIX = ("CRPIX1", "CRPIX2")
_CRPIX_COMMENT = "Pixel coordinate of reference point"


@dataclass(frozen=True)
class _FitsForm:
    """The FITS WCS of a projection, in the pixels of one box."""

    bbox: Box
    wcs: WCS
    cards: tuple[bytes, ...]

    def deviation(self, transform: Transform[Any, Any], bbox: Box) -> NDArray[np.float64]:
        """Return how far the WCS is off the transform at nine points of a box.

        In pixels; NaN where one of them is off the sky.
        """
        x = bbox.x.start + _GRID_X * (bbox.x.size - 1)
        y = bbox.y.start + _GRID_Y * (bbox.y.size - 1)
        sky = transform.apply_forward(x=x, y=y)
        # AST says -1.8e308 for what is off the sky.
        known = np.where((np.abs(sky.x) < _OFF_SKY) & (np.abs(sky.y) < _OFF_SKY), [sky.x, sky.y], np.nan)
        ra, dec = np.radians(self.wcs.all_pix2world(x - self.bbox.x.start, y - self.bbox.y.start, 0))
        apart = np.hypot(dec - known[1], np.cos(dec) * np.sin(ra - known[0]))
        scale = np.radians(np.sqrt(np.abs(np.linalg.det(self.wcs.pixel_scale_matrix))))
        return np.asarray(apart / scale, dtype=np.float64)

    def moved_to(self, bbox: Box) -> bytes:
        """Return the cards in the pixels of another box.

        Only the reference pixel depends on the box: distortion polynomials
        count from there, projections from the reference position.
        """
        starts = ((self.bbox.x.start, bbox.x.start), (self.bbox.y.start, bbox.y.start))
        moved = {
            # To as many digits as wcslib gives.
            keyword.encode(): make_card(keyword, float(f"{reference + old - new:.14g}"), _CRPIX_COMMENT)
            for keyword, reference, (old, new) in zip(_CRPIX, self.wcs.wcs.crpix, starts, strict=True)
            if old != new
        }
        return b"".join(moved.get(card[:6], card) if card[6:8] == b"  " else card for card in self.cards)


class ProjectionForms:
    """How one sky projection is written.

    Parameters
    ----------
    json
        The projection as `lsst.images` serialises it.
    transform
        Map from pixels to the sky that its FITS form shows.
    """

    def __init__(self, json: bytes, transform: Transform[Any, Any]) -> None:
        self.json = json
        self._transform = transform
        self._fits: OrderedDict[tuple[int, ...], _FitsForm | None] = OrderedDict()
        # The WCS objects of astropy do not stand use in two threads at once.
        self._lock = threading.Lock()

    def wcs_cards(self, bbox: Box) -> bytes:
        """Return the cards of the FITS WCS.

        Parameters
        ----------
        bbox
            Pixels of the image, 0-based.

        Returns
        -------
        cards
            What `lsst.images` writes for the image, to the digits in which
            AST's own results vary from box to box; nothing where the
            projection has no FITS form, or one that is off by more than a
            thousandth of a pixel.
        """
        with self._lock:
            # The form comes from a box that does not depend on what else was
            # asked for, so that equal images give equal files.
            anchor = self._form_in(_anchor(self._transform, bbox))
            # AST straightens curved transforms within small boxes, so a look
            # at the sky positions must tell whether a form holds.
            if anchor is not None and np.all(anchor.deviation(self._transform, bbox) < _SAME):
                return anchor.moved_to(bbox)
            own = self._form_in(bbox)
            return b"" if own is None else own.moved_to(bbox)

    def _form_in(self, bbox: Box) -> _FitsForm | None:
        """Return the form that AST finds in a box."""
        corners = (*bbox.start, *bbox.stop)
        if corners not in self._fits:
            wcs = self._transform.as_fits_wcs(bbox)
            form = None if wcs is None else _FitsForm(bbox, wcs, _format_wcs(wcs))
            # Some forms are none: of TPV, the distortion is lost on the way.
            if form is not None and np.any(form.deviation(self._transform, bbox) > _WRONG):
                form = None
            self._fits[corners] = form
        self._fits.move_to_end(corners)
        if len(self._fits) > _MAX_FORMS:
            self._fits.popitem(last=False)
        return self._fits[corners]


_lock = threading.Lock()
_by_identity: dict[int, tuple[weakref.ref[SkyProjection[Any]], ProjectionForms]] = {}
_by_json: OrderedDict[bytes, ProjectionForms] = OrderedDict()
# The class that lsst.images makes of a generic one to serialize a transform.
# Nobody else holds it, and to make it anew takes 4 ms, a tenth of a cutout.
_models: list[type] = []


def find_forms(projection: SkyProjection[Any]) -> ProjectionForms:
    """Return how a projection is written.

    Parameters
    ----------
    projection
        Projection, which is never modified.

    Returns
    -------
    forms
        The same object for the same projection, and for equal ones that were
        asked for lately.
    """
    key = id(projection)
    held = _by_identity.get(key)
    if held is not None and held[0]() is projection:
        return held[1]
    if not _models:
        _models.append(type(projection.pixel_to_sky_transform.serialize(JsonOutputArchive())))
    json = projection.serialize(JsonOutputArchive()).model_dump_json().encode()
    with _lock:
        forms = _by_json.get(json)
        if forms is None:
            shown = projection.fits_approximation or projection
            forms = _by_json[json] = ProjectionForms(json, shown.pixel_to_sky_transform)
        _by_json.move_to_end(json)
        if len(_by_json) > _MAX_PROJECTIONS:
            _by_json.popitem(last=False)
        _by_identity[key] = (weakref.ref(projection, functools.partial(_forget, key)), forms)
    return forms


def _forget(key: int, reference: weakref.ref[SkyProjection[Any]]) -> None:
    """Drop a projection that is no more; needs no lock, which its thread may hold."""
    held = _by_identity.get(key)
    if held is not None and held[0] is reference:
        _by_identity.pop(key, None)


def _anchor(transform: Transform[Any, Any], bbox: Box) -> Box:
    """Return the box in which to find a form: all pixels, or a block of them."""
    if transform.in_bounds is not None:
        return transform.in_bounds.bbox
    y, x = (start // _BLOCK * _BLOCK for start in bbox.start)
    return Box.factory[y : y + _BLOCK, x : x + _BLOCK]


def _format_wcs(wcs: WCS) -> tuple[bytes, ...]:
    """Return the cards of a WCS, formatted as `lsst.images` has them."""
    header = astropy.io.fits.Header()
    header.update(wcs.to_header(relax=True))
    return tuple(split_cards(header.tostring(endcard=False, padding=False).encode("ascii")))
