"""Backgrounds in the form that the survey's first pipelines write."""

from __future__ import annotations

__all__ = ("read_background_list",)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from lsst.images import Box
from lsst.images.fields import ChebyshevField, Field, SplineField, SumField
from lsst.resources import ResourcePath, ResourcePathExpression

from ..container.fits_hdus import FitsHdu, read_fits_hdus
from ..container.header import fits_trouble_reported
from ..errors import InconsistentUnitsError, InputDataError

type FloatArray = npt.NDArray[np.float64]

# Numbers that the writer gives to its styles.
_NO_APPROXIMATION, _CHEBYSHEV = -1, 0
_AKIMA_SPLINE = 5
_REDUCE_ORDER = 1
_FLOATS: Mapping[Any, str] = MappingProxyType({-32: ">f4", -64: ">f8"})
_HDUS_PER_TERM = 3
_MAX_TERMS = 1000
_MAX_ORDER = 100


@dataclass(frozen=True, eq=False)
class _Term:
    """One term as it is stored: a value and its variance for each bin."""

    label: str
    cards: Mapping[str, Any]
    values: npt.NDArray[np.float32]
    variances: npt.NDArray[np.float32]

    def integer(self, name: str, *, default: int | None = None) -> int:
        value = self.cards.get(name, default)
        if not isinstance(value, int):
            raise InputDataError(f"{self.label} has {name}={value!r}; an integer is needed.")
        return int(value)

    def box(self) -> Box:
        x, y, width, height = (self.integer(f"BKGD_{name}") for name in ("X0", "Y0", "WIDTH", "HEIGHT"))
        rows, columns = self.values.shape
        if width < columns or height < rows:
            raise InputDataError(
                f"{self.label} has {columns} x {rows} bins for {width} x {height} pixels; bins without "
                f"pixels make no sense."
            )
        return Box.factory[y : y + height, x : x + width]


def read_background_list(path: ResourcePathExpression, *, unit: u.UnitBase = u.electron) -> Field:
    """Read a background that is the sum of interpolated and approximated terms.

    Parameters
    ----------
    path
        FITS file with three images for each term: values of bins, their mask
        and their variance.  Those of the first begin with the primary HDU, or
        after it if it is empty.
    unit
        Unit of the pixels that it was measured on, which the file need not say.

    Returns
    -------
    background
        A `~lsst.images.fields.SplineField` or a
        `~lsst.images.fields.ChebyshevField`; of several terms their
        `~lsst.images.fields.SumField`.

    Raises
    ------
    InputDataError
        Raised if the file is missing or damaged, lacks a card, or has a term
        of a kind that cannot be evaluated here.
    InconsistentUnitsError
        Raised if the file says another unit.

    Notes
    -----
    Bins divide the box as evenly as whole pixels allow; a value belongs to the
    centre of its bin.  Missing values are NaN.  An approximation is the
    Chebyshev polynomial of total order ``APPROXORDERX`` that fits the values
    best, weighted with their inverse variances where ``APPROXWEIGHTING`` is set.
    """
    source = str(ResourcePath(path, forceDirectory=False))
    hdus = read_fits_hdus(path)
    with fits_trouble_reported(source):
        fields = [_make_field(term, _check_unit(term, unit)) for term in _load_terms(hdus, source)]
    boxes = [field.bounds.bbox for field in fields]
    if any(box != boxes[0] for box in boxes):
        raise InputDataError(f"The terms of the background {source} have different boxes: {boxes}.")
    return fields[0] if len(fields) == 1 else SumField(fields)


def _load_terms(hdus: Sequence[FitsHdu], source: str) -> list[_Term]:
    images = hdus[1:] if len(hdus) > 1 and hdus[0].cards["NAXIS"] == 0 else hdus
    if not images or len(images) % _HDUS_PER_TERM or len(images) > _HDUS_PER_TERM * _MAX_TERMS:
        raise InputDataError(
            f"The background {source} has {len(images)} images; {_HDUS_PER_TERM} for each of up to "
            f"{_MAX_TERMS} terms are needed."
        )
    terms = []
    for number, start in enumerate(range(0, len(images), _HDUS_PER_TERM)):
        label = f"Term {number} of the background {source}"
        values, _, variances = images[start : start + _HDUS_PER_TERM]
        planes = [_load_plane(hdu, label) for hdu in (values, variances)]
        if planes[0].shape != planes[1].shape:
            raise InputDataError(
                f"{label} has values of shape {planes[0].shape}, variances of {planes[1].shape}."
            )
        terms.append(_Term(label, dict(values.header()), *planes))
    return terms


def _load_plane(hdu: FitsHdu, label: str) -> npt.NDArray[np.float32]:
    """Return the pixels of an image without compression, which may be in the primary HDU."""
    cards = hdu.cards
    rows, columns, dtype = cards.get("NAXIS2"), cards.get("NAXIS1"), _FLOATS.get(cards.get("BITPIX"))
    is_image = cards.get("XTENSION", "IMAGE") == "IMAGE" and cards["NAXIS"] == 2
    is_scaled = cards.get("BSCALE", 1) != 1 or cards.get("BZERO", 0) != 0
    if not is_image or is_scaled or dtype is None or not rows or not columns:
        raise InputDataError(
            f"{label} has no two-dimensional image of floats without compression in {hdu.label}."
        )
    pixels = np.frombuffer(hdu.data, dtype).reshape(int(rows), int(columns))
    return np.ascontiguousarray(pixels, dtype=np.float32)


def _check_unit(term: _Term, unit: u.UnitBase) -> u.UnitBase:
    text = term.cards.get("BUNIT")
    if text is None:
        return unit
    try:
        found = u.Unit(text)
    except (ValueError, TypeError) as error:
        raise InputDataError(f"{term.label} is in {text!r}, which is no unit.") from error
    if found != unit:
        raise InconsistentUnitsError(f"{term.label} is in {found}, {unit} is needed.")
    return unit


def _make_field(term: _Term, unit: u.UnitBase) -> SplineField | ChebyshevField:
    box = term.box()
    rows, columns = term.values.shape
    y = _bin_centres(box.y.start, box.y.size, rows)
    x = _bin_centres(box.x.start, box.x.size, columns)
    if not np.isfinite(term.values).any():
        raise InputDataError(f"{term.label} has no finite bin.")
    # Files of old pipelines have no cards of an approximation.
    style = term.integer("APPROXSTYLE", default=_NO_APPROXIMATION)
    if style == _CHEBYSHEV:
        return _fit(term, box, y, x, unit)
    if style != _NO_APPROXIMATION:
        raise InputDataError(
            f"{term.label} has APPROXSTYLE={style}; {_NO_APPROXIMATION} (none) and {_CHEBYSHEV} (Chebyshev) "
            f"can be evaluated."
        )
    styles = term.integer("INTERPSTYLE"), term.integer("UNDERSAMPLESTYLE")
    if styles != (_AKIMA_SPLINE, _REDUCE_ORDER):
        raise InputDataError(
            f"{term.label} has INTERPSTYLE={styles[0]} and UNDERSAMPLESTYLE={styles[1]}; {_AKIMA_SPLINE} "
            f"(Akima) and {_REDUCE_ORDER} (simpler curve for few bins) can be evaluated."
        )
    return SplineField(box, term.values, y=y, x=x, unit=unit)


def _bin_centres(start: int, size: int, count: int) -> FloatArray:
    """Return the centres of bins along one axis (0-based pixels)."""
    ends = np.minimum((np.arange(1, count + 1) * size + count // 2) // count, size)
    begins = np.concatenate(([0], ends[:-1]))
    centres: FloatArray = start + 0.5 * (begins + ends) - 0.5
    return centres


def _fit(term: _Term, box: Box, y: FloatArray, x: FloatArray, unit: u.UnitBase) -> ChebyshevField:
    order = term.integer("APPROXORDERX")
    y_order = term.integer("APPROXORDERY")
    y_order = order if y_order < 0 else y_order
    if y_order != order or not 0 <= order <= _MAX_ORDER:
        raise InputDataError(
            f"{term.label} has APPROXORDERX={order} and APPROXORDERY={y_order}; one order of 0 to "
            f"{_MAX_ORDER} is needed."
        )
    values = term.values.astype(np.float64)
    weight = np.isfinite(values).astype(np.float64)
    if term.cards.get("APPROXWEIGHTING", True):
        usable = np.isfinite(term.variances) & (term.variances > 0)
        weight *= np.where(usable, np.where(usable, term.variances, 1.0).astype(np.float64) ** -0.5, 0.0)
    bins, coefficients = int(np.count_nonzero(weight)), (order + 1) * (order + 2) // 2
    if bins < coefficients:
        raise InputDataError(
            f"{term.label} has {bins} bins with a value and a variance; order {order} needs {coefficients}."
        )
    values = np.where(weight > 0, values, 0.0)
    return ChebyshevField.fit(box, values, order, y=y, x=x, weight=weight, unit=unit)
