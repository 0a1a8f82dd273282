"""Master bias, dark and flat from the files that the survey's first pipelines write."""

from __future__ import annotations

__all__ = ("read_bias", "read_dark", "read_flat")

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.io.fits.card import Undefined

from lsst.images import Polygon
from lsst.resources import ResourcePathExpression

from ...container.fits_hdus import FitsHdu, read_fits_hdus
from ...errors import InputDataError
from .calibrations import CalibrationImage, CalibrationInfo
from .exposure import IsrPlane
from .raw_header import normalize_instrument

# What those files call the planes that have another name here.
_PLANE_NAMES = {
    "SAT": IsrPlane.SATURATED,
    "INTRP": IsrPlane.INTERPOLATED,
    "CR": IsrPlane.COSMIC_RAY,
    "EDGE": IsrPlane.DETECTION_EDGE,
    "UNMASKEDNAN": IsrPlane.UNMASKED_NAN,
    **{plane.name: plane for plane in IsrPlane},
}
_KINDS = frozenset({"bias", "dark", "flat"})
_PLANES = ("IMAGE", "MASK", "VARIANCE")
_UNITS = {"adu": u.adu, "electron": u.electron}
_MAX_MASK_BITS = 32


def read_bias(path: ResourcePathExpression, *, threads: int = 1) -> CalibrationImage:
    """Read a master bias.

    Parameters
    ----------
    path
        FITS file with the HDUs IMAGE, MASK and VARIANCE.
    threads
        Threads that decode the planes.

    Returns
    -------
    bias
        Bias in the unit of its card ``LSST ISR UNITS`` (adu if there is none).

    Raises
    ------
    InputDataError
        Raised if the file is missing, damaged or incomplete.
    """
    return _read("bias", path, threads, _recorded_unit)


def read_dark(path: ResourcePathExpression, *, threads: int = 1) -> CalibrationImage:
    """Read a master dark.

    Parameters
    ----------
    path
        FITS file with the HDUs IMAGE, MASK and VARIANCE.
    threads
        Threads that decode the planes.

    Returns
    -------
    dark
        Dark in the unit of its card ``LSST ISR UNITS`` (adu if there is none) for its
        `dark_time_s`, which is NaN if there is no card ``DARKTIME``: then it is for one second, even
        if ``EXPTIME`` says how long the darks were that it was made from.

    Raises
    ------
    InputDataError
        Raised if the file is missing, damaged or incomplete.
    """
    return _read("dark", path, threads, _recorded_unit)


def read_flat(path: ResourcePathExpression, *, threads: int = 1) -> CalibrationImage:
    """Read a master flat.

    Parameters
    ----------
    path
        FITS file with the HDUs IMAGE, MASK and VARIANCE, and perhaps an outline of its lit part.
    threads
        Threads that decode the planes.

    Returns
    -------
    flat
        Flat without unit, with its filter and outline.

    Raises
    ------
    InputDataError
        Raised if the file is missing, damaged or incomplete, or does not say its filter.
    """
    return _read("flat", path, threads, lambda _: u.dimensionless_unscaled)


def _read(
    kind: str,
    path: ResourcePathExpression,
    threads: int,
    find_unit: Callable[[Mapping[str, Any]], u.UnitBase],
) -> CalibrationImage:
    """Read a master image."""
    hdus = read_fits_hdus(path)
    source = hdus[0].source
    cards = _cards(hdus[0].header(), hdus[1].header() if len(hdus) > 1 else None)
    recorded = str(cards.get("OBSTYPE", kind)).strip().lower()
    # Raws of other observatories say more ("dome flat"), which masters inherit.
    if recorded in _KINDS and recorded != kind:
        raise InputDataError(f"{kind} {source} has OBSTYPE = {recorded!r}.")
    planes = [_find_plane(hdus, name, f"{kind} {source}") for name in _PLANES]
    headers = [plane.header() for plane in planes]
    for plane, header in zip(planes, headers, strict=True):
        _check_origin(plane, header)
    if threads == 1:
        image, bits, variance = (plane.pixels() for plane in planes)
    else:
        with ThreadPoolExecutor(threads) as pool:
            image, bits, variance = pool.map(FitsHdu.pixels, planes)
    if len({image.shape, bits.shape, variance.shape}) > 1:
        raise InputDataError(
            f"{kind} {source} has an image of {image.shape}, a mask of {bits.shape} and a variance of "
            f"{variance.shape} pixels."
        )
    if image.dtype.kind != "f" or variance.dtype.kind != "f" or bits.dtype.kind not in "iu":
        raise InputDataError(
            f"{kind} {source} has image, mask, variance of {image.dtype}, {bits.dtype}, {variance.dtype}."
        )
    return CalibrationImage(
        info=_make_info(kind, cards, hdus, source),
        image=image.astype(np.float32, copy=False),
        mask=_make_mask(bits, headers[1], source),
        variance=variance.astype(np.float32, copy=False),
        unit=find_unit({**cards, "source": f"{kind} {source}"}),
        dark_time_s=_seconds(cards.get("DARKTIME")) if kind == "dark" else math.nan,
        valid_polygon=_read_polygon(hdus, cards, source) if kind == "flat" else None,
    )


def _cards(*headers: astropy.io.fits.Header | None) -> Mapping[str, Any]:
    """Return the values that headers give; what stands in the first counts."""
    values: dict[str, Any] = {}
    for header in headers:
        for keyword, value in () if header is None else header.items():
            if not isinstance(value, Undefined) and value is not None and value != "":
                values.setdefault(keyword, value)
    return values


def _find_plane(hdus: Sequence[FitsHdu], name: str, what: str) -> FitsHdu:
    """Return the HDU of a plane; the primary HDU may have the same name."""
    for hdu in hdus[1:]:
        if hdu.is_image and hdu.name.upper() == name:
            return hdu
    raise InputDataError(f"{what} has no image HDU {name!r}; it has {[hdu.name for hdu in hdus[1:]]}.")


def _check_origin(plane: FitsHdu, header: astropy.io.fits.Header) -> None:
    """Refuse a plane that is part of a larger image."""
    origin = tuple(-float(header.get(keyword, 0.0)) for keyword in ("LTV1", "LTV2"))
    if origin != (0.0, 0.0):
        raise InputDataError(
            f"{plane.label} begins at pixel (x, y) = {origin}, but a calibration of a whole detector begins "
            f"at (0, 0)."
        )


def _make_mask(bits: npt.NDArray[Any], header: astropy.io.fits.Header, source: str) -> npt.NDArray[np.uint16]:
    """Return the mask with the bits of `IsrPlane`; planes that it has not are left out."""
    mask = np.zeros(bits.shape, np.uint16)
    used = int(np.bitwise_or.reduce(bits, axis=None))
    if not used:
        return mask
    for keyword, bit in header.items():
        if not keyword.startswith("MP_"):
            continue
        if isinstance(bit, bool) or not isinstance(bit, int) or not 0 <= bit < _MAX_MASK_BITS:
            raise InputDataError(f"{source} has a mask plane {keyword} = {bit!r}, which is no bit.")
        plane = _PLANE_NAMES.get(keyword.removeprefix("MP_"))
        if plane is not None and used >> bit & 1:
            mask |= (bits >> bit & 1).astype(np.uint16) * np.uint16(plane)
    return mask


def _recorded_unit(cards: Mapping[str, Any]) -> u.UnitBase:
    """Return the unit that a calibration records."""
    text = str(cards.get("LSST ISR UNITS", "adu")).strip()
    if text not in _UNITS:
        raise InputDataError(
            f"{cards['source']} has LSST ISR UNITS = {text!r}; known are {', '.join(map(repr, _UNITS))}."
        )
    return _UNITS[text]


def _seconds(value: Any) -> float:
    """Return a time, NaN if it is not recorded."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def _make_info(kind: str, cards: Mapping[str, Any], hdus: Sequence[FitsHdu], source: str) -> CalibrationInfo:
    """Return what the file says that it is for.

    What the Butler recorded goes before what was copied from the raws.
    """
    detector = cards.get("LSST BUTLER DATAID DETECTOR", cards.get("DETECTOR"))
    if not isinstance(detector, int) or isinstance(detector, bool):
        detector = _archived_detector(hdus)
    physical_filter = None
    if kind == "flat":
        text = cards.get("LSST BUTLER DATAID PHYSICAL_FILTER", cards.get("FILTER"))
        if text is None:
            raise InputDataError(f"flat {source} does not say its filter (card FILTER).")
        physical_filter = str(text).strip()
    return CalibrationInfo(
        kind=kind,
        instrument=normalize_instrument(
            str(cards.get("LSST BUTLER DATAID INSTRUMENT", cards.get("INSTRUME", "")))
        ),
        detector=detector,
        physical_filter=physical_filter,
        source=source,
    )


def _archived_detector(hdus: Sequence[FitsHdu]) -> int | None:
    """Return the identifier of the detector that was persisted with the image."""
    for hdu in hdus:
        if hdu.is_table and hdu.name == "Detector":
            table = hdu.table()
            if "id" in table.colnames and len(table) == 1:
                return int(table["id"][0])
    return None


def _read_polygon(hdus: Sequence[FitsHdu], cards: Mapping[str, Any], source: str) -> Polygon | None:
    """Return the outline that was persisted with the image."""
    identifier = cards.get("ARCHIVE_ID_VALID_POLYGON", cards.get("VALID_POLYGON_ID", 0))
    if not identifier:
        return None
    for hdu in hdus:
        if hdu.is_table and hdu.name == "ARCHIVE_INDEX":
            index = hdu.table()
            for row in index[index["id"] == identifier]:
                return _read_vertices(hdus, row, source)
    raise InputDataError(f"flat {source} names an outline {identifier}, but has none in its archive.")


def _read_vertices(hdus: Sequence[FitsHdu], row: Any, source: str) -> Polygon:
    """Return the outline that a row of the archive's index points to.

    Its catalogues are numbered in the order of the file, the index being 0.
    """
    for hdu in hdus:
        if not hdu.is_table or hdu.header().get("AR_CATN") != int(row["cat.archive"]):
            continue
        table = hdu.table()
        columns = ("vertices_x", "vertices_y")
        part = slice(int(row["row0"]), int(row["row0"] + row["nrows"]))
        if all(name in table.colnames for name in columns) and len(table[part]) >= 3:
            x, y = (np.asarray(table[name][part], dtype=np.float64) for name in columns)
            return Polygon(x_vertices=x, y_vertices=y)
    raise InputDataError(f"flat {source} has no vertices of its outline {row['id']} in its archive.")
