"""How sky projections are written: as FITS cards and as JSON.

Both take AST a few milliseconds, as long as all else of a small file together.
Images of one exposure share their projection, so both are remembered.  An image
that was read from a file has its FITS cards there already.
"""

from __future__ import annotations

__all__ = ("ProjectionForms", "find_forms", "note_stored_form")

import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import astropy.io.fits
import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection, Transform
from lsst.images.json import JsonOutputArchive

from ._ast_lock import AST_TEXT_LOCK
from ._tan_sip import find_wcs_cards, parse_tan_sip
from .cards import make_card, split_cards

_MAX_PROJECTIONS = 64
_MAX_FORMS = 64
_BLOCK = 4096  # pixels, as many as a detector has
# Pixels by which a form may be off in another box, and in its own: AST calls a
# form exact that is off by less than 1e-4 pixel.
_SAME = 1e-6
_WRONG = 1e-3
_OFF_SKY = 100.0  # radians
_CRPIX = ("CRPIX1", "CRPIX2")
_CRPIX_COMMENT = "Pixel coordinate of reference point"

type _Grid = tuple[NDArray[np.float64], NDArray[np.float64]]


def _make_grid(count: int) -> _Grid:
    """Return columns and rows of points all over a box, from 0 to 1."""
    x, y = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count))
    return x.ravel(), y.ravel()


# Corners, middles of the sides and centre of a box.
_GRID = _make_grid(3)
# For cards from a file: more points than a polynomial of a usual order has bends.
_FINE_GRID = _make_grid(7)


class _StoredForm(NamedTuple):
    """The FITS WCS of an image as a file has it."""

    corners: tuple[int, ...]
    """Pixels of the image in the file."""

    cards: tuple[bytes, ...]


@dataclass(frozen=True)
class _FitsForm:
    """The FITS WCS of a projection, in the pixels of one box."""

    bbox: Box
    crpix: tuple[float, float]
    pixel_scale: float
    """Side of a pixel in degrees."""

    to_sky: Callable[[NDArray[np.float64], NDArray[np.float64]], Any]
    """From 0-based pixels of the box to right ascension and declination in radians."""

    cards: tuple[bytes, ...]

    def deviation(
        self, transform: Transform[Any, Any], bbox: Box, grid: _Grid = _GRID
    ) -> NDArray[np.float64]:
        """Return how far the WCS is off the transform at some points of a box.

        In pixels; NaN where one of them is off the sky.
        """
        x = bbox.x.start + grid[0] * (bbox.x.size - 1)
        y = bbox.y.start + grid[1] * (bbox.y.size - 1)
        sky = transform.apply_forward(x=x, y=y)
        # AST says -1.8e308 for what is off the sky.
        known = np.where((np.abs(sky.x) < _OFF_SKY) & (np.abs(sky.y) < _OFF_SKY), [sky.x, sky.y], np.nan)
        ra, dec = self.to_sky(x - self.bbox.x.start, y - self.bbox.y.start)
        apart = np.hypot(dec - known[1], np.cos(dec) * np.sin(ra - known[0]))
        return np.asarray(apart / np.radians(self.pixel_scale), dtype=np.float64)

    def moved_to(self, bbox: Box) -> bytes:
        """Return the cards in the pixels of another box.

        Only the reference pixel depends on the box: distortion polynomials
        count from there, projections from the reference position.
        """
        starts = ((self.bbox.x.start, bbox.x.start), (self.bbox.y.start, bbox.y.start))
        moved = {
            # To as many digits as wcslib gives.
            keyword.encode(): make_card(keyword, float(f"{reference + old - new:.14g}"), _CRPIX_COMMENT)
            for keyword, reference, (old, new) in zip(_CRPIX, self.crpix, starts, strict=True)
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
    stored
        Its FITS form in the file that it comes from.
    """

    def __init__(
        self, json: bytes, transform: Transform[Any, Any], stored: _StoredForm | None = None
    ) -> None:
        self.json = json
        self._stored = stored
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
        corners = _corners(bbox)
        if corners not in self._fits:
            self._fits[corners] = self._stored_form(bbox) or self._make_form(bbox)
        self._fits.move_to_end(corners)
        if len(self._fits) > _MAX_FORMS:
            self._fits.popitem(last=False)
        return self._fits[corners]

    def _make_form(self, bbox: Box) -> _FitsForm | None:
        """Have AST make a form in a box."""
        wcs = self._transform.as_fits_wcs(bbox)
        if wcs is None:
            return None
        scale = float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))))
        form = _FitsForm(
            bbox,
            (wcs.wcs.crpix[0], wcs.wcs.crpix[1]),
            scale,
            lambda x, y: np.radians(wcs.all_pix2world(x, y, 0)),
            _format_wcs(wcs),
        )
        # Some forms are none: of TPV, the distortion is lost on the way.
        return None if np.any(form.deviation(self._transform, bbox) > _WRONG) else form

    def _stored_form(self, bbox: Box) -> _FitsForm | None:
        """Return the form from the file, if it is what AST would find in this box."""
        if self._stored is None or self._stored.corners != _corners(bbox):
            return None
        wcs = parse_tan_sip(self._stored.cards)
        if wcs is None:
            return None
        form = _FitsForm(bbox, wcs.crpix, wcs.pixel_scale, wcs.to_sky, self._stored.cards)
        is_same = np.all(form.deviation(self._transform, bbox, _FINE_GRID) < _SAME)
        return form if is_same else None


_lock = threading.Lock()
_by_identity: dict[int, tuple[weakref.ref[SkyProjection[Any]], ProjectionForms]] = {}
_by_json: OrderedDict[tuple[bytes, _StoredForm | None], ProjectionForms] = OrderedDict()
_headers: dict[int, tuple[weakref.ref[SkyProjection[Any]], tuple[Box, bytes]]] = {}
# The class that lsst.images makes of a generic one to serialize a transform.
# Nobody else holds it, and to make it anew takes 4 ms, a tenth of a cutout.
_models: list[type] = []


def note_stored_form(projection: SkyProjection[Any], bbox: Box, header: bytes) -> None:
    """Remember where the FITS form of a projection stands, as long as it lives.

    Parameters
    ----------
    projection
        Projection that was read from a file.
    bbox
        Pixels of the image in the file.
    header
        Header of one of its HDUs there, at which nobody looks until it is
        needed.
    """
    key = id(projection)
    held = _headers.get(key)
    if held is None or held[0]() is not projection:
        reference = weakref.ref(projection, functools.partial(_forget, _headers, key))
        _headers[key] = (reference, (bbox, header))


def _find_stored_form(projection: SkyProjection[Any]) -> _StoredForm | None:
    """Return the FITS form that a projection has in the file that it comes from."""
    held = _headers.get(id(projection))
    if held is None or held[0]() is not projection:
        return None
    bbox, header = held[1]
    return _StoredForm(_corners(bbox), find_wcs_cards(split_cards(header)))


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
    with AST_TEXT_LOCK:
        if not _models:
            _models.append(type(projection.pixel_to_sky_transform.serialize(JsonOutputArchive())))
        json = projection.serialize(JsonOutputArchive()).model_dump_json().encode()
    stored = _find_stored_form(projection)
    with _lock:
        forms = _by_json.get((json, stored))
        if forms is None:
            shown = projection.fits_approximation or projection
            forms = ProjectionForms(json, shown.pixel_to_sky_transform, stored)
            _by_json[json, stored] = forms
        _by_json.move_to_end((json, stored))
        if len(_by_json) > _MAX_PROJECTIONS:
            _by_json.popitem(last=False)
        reference = weakref.ref(projection, functools.partial(_forget, _by_identity, key))
        _by_identity[key] = (reference, forms)
    return forms


def _forget(
    memory: dict[int, tuple[weakref.ref[SkyProjection[Any]], Any]],
    key: int,
    reference: weakref.ref[SkyProjection[Any]],
) -> None:
    """Drop a projection that is no more; needs no lock, which its thread may hold."""
    held = memory.get(key)
    if held is not None and held[0] is reference:
        memory.pop(key, None)


def _corners(bbox: Box) -> tuple[int, ...]:
    return (*bbox.start, *bbox.stop)


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
