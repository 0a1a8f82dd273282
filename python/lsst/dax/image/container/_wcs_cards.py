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

from lsst.images import Box, SkyProjection, Transform
from lsst.images.json import JsonOutputArchive

from .cards import make_card, split_cards

_MAX_PROJECTIONS = 64
_MAX_FORMS = 8
_MAX_BOXES = 64
# Radians; a millionth of a pixel of 0.2 arcsec.  AST itself calls a WCS exact
# that is off by less than a ten-thousandth of a pixel within the box.
_TOLERANCE = 1e-12
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

    def holds_for(self, transform: Transform[Any, Any], bbox: Box) -> bool:
        """Return whether the WCS is the transform on another box too.

        AST may straighten a curved transform within a small box; only a look
        at the sky positions tells.
        """
        x = bbox.x.start + _GRID_X * (bbox.x.size - 1)
        y = bbox.y.start + _GRID_Y * (bbox.y.size - 1)
        sky = transform.apply_forward(x=x, y=y)
        ra, dec = np.radians(self.wcs.all_pix2world(x - self.bbox.x.start, y - self.bbox.y.start, 0))
        apart = np.hypot(dec - sky.y, np.cos(dec) * np.sin(ra - sky.x))
        return bool(np.all(apart < _TOLERANCE))

    def moved_to(self, bbox: Box) -> bytes:
        """Return the cards in the pixels of another box.

        Only the reference pixel depends on the box: distortion polynomials
        count from there, projections from the reference position.
        """
        starts = ((self.bbox.x.start, bbox.x.start), (self.bbox.y.start, bbox.y.start))
        moved = {
            keyword.encode(): make_card(keyword, float(reference + old - new), _CRPIX_COMMENT)
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
        self._fits: list[_FitsForm] = []
        self._without: OrderedDict[tuple[int, ...], None] = OrderedDict()
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
            What `lsst.images` writes for the image, with the reference pixel
            to the full precision; nothing where the projection has no FITS
            form.
        """
        with self._lock:
            for form in self._fits:
                if form.bbox == bbox or form.holds_for(self._transform, bbox):
                    return form.moved_to(bbox)
            corners = (*bbox.start, *bbox.stop)
            if corners in self._without:
                return b""
            wcs = self._transform.as_fits_wcs(bbox)
            if wcs is None:
                self._without[corners] = None
                if len(self._without) > _MAX_BOXES:
                    self._without.popitem(last=False)
                return b""
            form = _FitsForm(bbox, wcs, _format_wcs(wcs))
            self._fits = [form, *self._fits[: _MAX_FORMS - 1]]
            return form.moved_to(bbox)


_lock = threading.Lock()
_by_identity: dict[int, tuple[weakref.ref[SkyProjection[Any]], ProjectionForms]] = {}
_by_json: OrderedDict[bytes, ProjectionForms] = OrderedDict()


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


def _format_wcs(wcs: WCS) -> tuple[bytes, ...]:
    """Return the cards of a WCS, formatted as `lsst.images` has them."""
    header = astropy.io.fits.Header()
    header.update(wcs.to_header(relax=True))
    return tuple(split_cards(header.tostring(endcard=False, padding=False).encode("ascii")))
