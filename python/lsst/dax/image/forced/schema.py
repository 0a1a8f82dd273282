"""The columns of forced photometry, ours and the observatory's."""

from __future__ import annotations

__all__ = (
    "FAILED",
    "PIXEL_PLANES",
    "Column",
    "image_columns",
    "light_curve_columns",
    "make_table",
    "measured_columns",
    "require_columns",
    "to_sdm",
)

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table
from numpy.typing import NDArray

from ..errors import RequestError
from ..flags import FLAGS

PIXEL_PLANES: Mapping[str, str] = {
    "bad": "BAD",
    "cr": "COSMIC_RAY",
    "edge": "DETECTION_EDGE",
    "interpolated": "INTERPOLATED",
    "nodata": "NO_DATA",
    "saturated": "SATURATED",
    "suspect": "SUSPECT",
}
"""Mask plane of each column ``pixel_<name>`` and ``pixel_<name>_center``."""

FAILED = sum(
    FLAGS[name].value
    for name in (
        "BAD_POSITION",
        "NO_COVERAGE",
        "EDGE",
        "READ_FAILED",
        "NO_PSF",
        "NO_PIXELS",
        "NOT_FINITE",
        "BAD_APERTURE_CORRECTION",
        "NO_CALIBRATION",
    )
)
"""Flags with which the observatory's catalogues call a PSF flux a failure."""


@dataclass(frozen=True)
class Column:
    """One column of a table of fluxes."""

    name: str
    """Name of the column."""

    dtype: type | str
    """Type of its values."""

    unit: u.UnitBase | None
    """Unit of its values."""

    description: str
    """What a value is."""

    fill: Any = np.nan
    """Value where nothing was measured."""


_FLUX = (
    Column("flux", np.float64, u.nJy, "PSF flux"),
    Column("flux_err", np.float64, u.nJy, "Standard deviation of the PSF flux"),
    Column("flux_err_sky", np.float64, u.nJy, "Standard deviation for a source of no flux"),
    Column("snr", np.float64, None, "PSF flux over its standard deviation"),
    Column("depth", np.float64, u.mag, "AB magnitude of a source of five flux_err_sky"),
    Column("chi2", np.float64, None, "Sum of squared residuals over their variances"),
    Column("n_pixels", np.int64, None, "Number of pixels in the fit", 0),
    Column("area", np.float64, u.pix, "Effective area of the PSF"),
    Column("masked_fraction", np.float64, None, "Fraction of the PSF that is not in the fit"),
    Column("background", np.float64, u.nJy / u.pix, "Background that was taken off"),
    Column("background_err", np.float64, u.nJy / u.pix, "Standard deviation of the background"),
    Column("background_n_pixels", np.int64, None, "Number of pixels of the background", 0),
    Column("psf_fwhm", np.float64, u.arcsec, "Full width at half maximum of a Gaussian of the PSF's moments"),
    Column("aperture_correction", np.float64, None, "Factor in flux for the light off the PSF's picture"),
    Column("calibration", np.float64, None, "Factor from the unit of the image to nJy"),
    Column("flags", np.int64, None, "Flag word; see lsst.dax.image.flags", 0),
)
_TARGET = (
    Column("id", np.int64, None, "Number of the target", -1),
    Column("ra", np.float64, u.deg, "ICRS right ascension at the time of the image"),
    Column("dec", np.float64, u.deg, "ICRS declination at the time of the image"),
    Column("x", np.float64, u.pix, "Column in the image, 0-based, centres at integers"),
    Column("y", np.float64, u.pix, "Row in the image, 0-based, centres at integers"),
)
_JOINT = (
    Column("joint_flux", np.float64, u.nJy, "PSF flux, fitted together with the neighbours"),
    Column("joint_flux_err", np.float64, u.nJy, "Standard deviation of joint_flux"),
    Column("joint_blend_flux", np.float64, u.nJy, "Summed flux of sources hardly told apart"),
    Column("joint_blend_flux_err", np.float64, u.nJy, "Standard deviation of joint_blend_flux"),
    Column("joint_blend_correlation", np.float64, None, "Largest correlation with another source"),
    Column("joint_n_neighbours", np.int64, None, "Number of sources that share pixels", 0),
)
_SOURCE = (
    Column("dataset_type", "U1", None, "Dataset type of the image", ""),
    Column("dataset", "U32", None, "UUID of the image", ""),
)
_IMAGE = (
    Column("visit", np.int64, None, "Number of the visit; -1 where there is none", -1),
    Column("detector", np.int32, None, "Number of the detector; -1 where there is none", -1),
    Column("band", "U16", None, "Band of the image", ""),
    Column("mjd", np.float64, u.day, "Middle of the exposure, MJD in TAI"),
    Column("exposure_time", np.float64, u.s, "Time that the shutter was open"),
)


def image_columns() -> tuple[Column, ...]:
    """Return the columns that say which image it was.

    Returns
    -------
    columns
        Columns in their order.
    """
    return _IMAGE


def light_curve_columns(*, radii: Iterable[float] = (), has_joint: bool = False) -> tuple[Column, ...]:
    """Return the columns of fluxes on many images.

    Parameters
    ----------
    radii
        Radii of apertures in pixels.
    has_joint
        Whether there is a joint fit.

    Returns
    -------
    columns
        Columns in their order.
    """
    return (*measured_columns(radii=radii, has_joint=has_joint), *_IMAGE, *_SOURCE)


def measured_columns(*, radii: Iterable[float] = (), has_joint: bool = False) -> tuple[Column, ...]:
    """Return the columns that are measured per position.

    Parameters
    ----------
    radii
        Radii of apertures in pixels.
    has_joint
        Whether there is a joint fit.

    Returns
    -------
    columns
        Columns in their order.
    """
    planes = [
        Column(f"pixel_{name}{where}", np.bool_, None, f"Mask plane {plane} {text}", fill=False)
        for name, plane in PIXEL_PLANES.items()
        for where, text in (("", "in the PSF's ellipse"), ("_center", "in the central 3 x 3 pixels"))
    ]
    apertures = [column for radius in radii for column in _make_aperture_columns(radius)]
    return (*_TARGET, *_FLUX, *planes, *apertures, *(_JOINT if has_joint else ()))


def name_aperture(radius: float) -> str:
    """Return the beginning of the names of an aperture's columns.

    Parameters
    ----------
    radius
        Radius in pixels.

    Returns
    -------
    name
        ``ap_4_5`` for 4.5 pixels.
    """
    return f"ap_{radius:.10g}".replace(".", "_") + ("" if radius % 1 else "_0")


def _make_aperture_columns(radius: float) -> tuple[Column, ...]:
    """Return the columns of one aperture."""
    name = name_aperture(radius)
    return (
        Column(f"{name}_flux", np.float64, u.nJy, f"Flux within {radius} pixels"),
        Column(f"{name}_flux_err", np.float64, u.nJy, f"Standard deviation of {name}_flux"),
        Column(f"{name}_area", np.float64, u.pix, "Area of the aperture that was used"),
        Column(f"{name}_flags", np.int64, None, f"Flag word of {name}_flux", 0),
    )


def make_table(columns: Iterable[Column], values: Mapping[str, NDArray[Any]]) -> QTable:
    """Return a table of measured values.

    Parameters
    ----------
    columns
        Columns in their order.
    values
        Plain arrays by the names of the columns.

    Returns
    -------
    table
        Table with units and descriptions.
    """
    table = QTable()
    for column in columns:
        array: NDArray[Any] = values[column.name]
        if array.dtype.kind != "U":  # texts are as long as they are
            array = array.astype(column.dtype, copy=False)
        # The table would copy a bare array: this hands it over.
        table[column.name] = array if column.unit is None else u.Quantity(array, column.unit, copy=False)
        table[column.name].info.description = column.description
    return table


def require_columns(table: Table, names: Iterable[str]) -> None:
    """Refuse a table without some columns.

    Parameters
    ----------
    table
        Table of fluxes.
    names
        Columns that are needed.

    Raises
    ------
    RequestError
        Raised if it is no table or a column is missing.
    """
    if not isinstance(table, Table):
        raise RequestError(f"A table of fluxes is needed; got a {type(table).__name__}.")
    if missing := [name for name in names if name not in table.colnames]:
        raise RequestError(f"The table has no columns {missing}; it has {table.colnames}.")


def to_sdm(
    direct: QTable | None = None,
    *,
    difference: QTable | None = None,
    id_name: str = "objectId",
    tract: int = 0,
    patch: int = 0,
) -> QTable:
    """Return fluxes with the columns of the observatory's ForcedSource tables.

    Parameters
    ----------
    direct
        Fluxes on visit images, as `measure` returns them for one image or
        several stacked; or on images of several kinds, as
        `fetch_light_curves` returns them: then rows whose ``dataset_type``
        has "diff" in its name are those of ``difference``, and rows without a
        visit, of coadds, are left out.
    difference
        Fluxes on difference images; matched to ``direct`` by target, visit
        and detector.  At least one of both is needed.
    id_name
        ``objectId`` for the table ForcedSource, ``diaObjectId`` for
        ForcedSourceOnDiaObject.
    tract, patch
        Values of the columns of these names.

    Returns
    -------
    table
        One row per target, visit and detector of either table, in the order
        of first mention.  Where one of the images was not measured, its flux
        is NaN and its flag is set.

    Raises
    ------
    RequestError
        Raised if there is no table, the name is another, or a table has two
        rows for one target, visit and detector.

    Notes
    -----
    The flags of pixels are those of the direct image, except
    ``diff_PixelFlags_nodataCenter``; ``parentObjectId`` is 0.
    """
    if id_name not in ("objectId", "diaObjectId"):
        raise RequestError(f"The tables have an objectId or a diaObjectId; got {id_name!r}.")
    if difference is None and direct is not None and "dataset_type" in direct.colnames:
        direct, difference = _split_by_kind(direct)
    if direct is None and difference is None:
        raise RequestError("There are neither fluxes on direct nor on difference images.")
    tables = [table for table in (direct, difference) if table is not None]
    keys = np.concatenate([_make_keys(table) for table in tables])
    unique, first, place = np.unique(keys, return_index=True, return_inverse=True, axis=0)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    rows = rank[place.reshape(-1)]
    places = np.split(rows, [len(tables[0])]) if len(tables) == 2 else [rows]
    names = [name for name, table in (("", direct), ("d", difference)) if table is not None]
    parts = {name: (table, place) for name, table, place in zip(names, tables, places, strict=True)}
    return _fill_sdm(_Gather(len(unique), parts), unique[order], id_name=id_name, tract=tract, patch=patch)


def _fill_sdm(gather: _Gather, keys: NDArray[np.int64], *, id_name: str, tract: int, patch: int) -> QTable:
    """Return the observatory's columns of rows with given targets, visits and detectors."""
    out = QTable()
    out[id_name] = keys[:, 0]
    out["parentObjectId"] = np.zeros(gather.n, dtype=np.int64)
    out["coord_ra"] = gather.either("ra", u.deg)
    out["coord_dec"] = gather.either("dec", u.deg)
    out["visit"] = keys[:, 1]
    out["detector"] = keys[:, 2].astype(np.int16)
    out["band"] = gather.bands()
    for prefix, name in (("", "psfFlux"), ("d", "psfDiffFlux")):
        out[name] = gather.flux(prefix, "flux")
        out[f"{name}Err"] = gather.flux(prefix, "flux_err")
        out[f"{name}_flag"] = gather.failed(prefix)
    out["diff_PixelFlags_nodataCenter"] = gather.plane("d", "pixel_nodata_center")
    for name in PIXEL_PLANES:
        out[f"pixelFlags_{name}"] = gather.plane("", f"pixel_{name}")
        if name in _CENTERED:
            out[f"pixelFlags_{name}Center"] = gather.plane("", f"pixel_{name}_center")
    out["pixelFlags_edge"] |= gather.has_flag("", "CENTER_OFF_IMAGE")
    out["invalidPsfFlag"] = gather.has_flag("", "NO_PSF")
    out["tract"] = np.full(gather.n, tract, dtype=np.int64)
    out["patch"] = np.full(gather.n, patch, dtype=np.int64)
    return out


def _split_by_kind(table: QTable) -> tuple[QTable, QTable]:
    """Return the rows of direct and of difference images."""
    is_difference = np.char.find(np.char.lower(np.asarray(table["dataset_type"], dtype=np.str_)), "diff") >= 0
    has_visit = np.asarray(table["visit"]) >= 0
    return table[has_visit & ~is_difference], table[has_visit & is_difference]


_CENTERED = ("cr", "interpolated", "saturated", "suspect")


def _make_keys(table: QTable) -> NDArray[np.int64]:
    """Return target, visit and detector of each row, shape ``(n, 3)``."""
    keys = np.column_stack([np.asarray(table[name], dtype=np.int64) for name in ("id", "visit", "detector")])
    if len(np.unique(keys, axis=0)) != len(keys):
        raise RequestError(f"Of {len(keys)} rows some have the same target, visit and detector.")
    return keys


@dataclass(frozen=True)
class _Gather:
    """Columns of one or two tables, spread over the rows of their union."""

    n: int
    """Number of rows of the union."""

    parts: Mapping[str, tuple[QTable, NDArray[np.int64]]]
    """Table and places of its rows: direct as "", difference as "d"."""

    def spread(self, part: str, name: str, *, fill: Any, dtype: type) -> NDArray[Any]:
        """Return a column of one table, with a value where it has no row."""
        values: NDArray[Any] = np.full(self.n, fill, dtype=dtype)
        if part in self.parts:
            table, places = self.parts[part]
            column = table[name]
            values[places] = column.value if isinstance(column, u.Quantity) else np.asarray(column)
        return values

    def either(self, name: str, unit: u.UnitBase) -> u.Quantity:
        """Return a column of the direct table, or else of the other."""
        direct, other = (self.spread(part, name, fill=np.nan, dtype=np.float64) for part in ("", "d"))
        return u.Quantity(np.where(np.isnan(direct), other, direct), unit)

    def bands(self) -> NDArray[Any]:
        """Return the bands."""
        values = np.full(self.n, "", dtype="U16")
        for table, places in self.parts.values():
            values[places] = np.asarray(table["band"])
        return values

    def flux(self, part: str, name: str) -> u.Quantity:
        """Return a flux in single precision."""
        return u.Quantity(self.spread(part, name, fill=np.nan, dtype=np.float32), u.nJy, dtype=np.float32)

    def has_flag(self, part: str, name: str) -> NDArray[np.bool_]:
        """Return whether a flag is set."""
        words = self.spread(part, "flags", fill=0, dtype=np.int64)
        return np.asarray(words & FLAGS[name].value, dtype=np.bool_)

    def failed(self, part: str) -> NDArray[np.bool_]:
        """Return whether there is no reliable flux."""
        words = self.spread(part, "flags", fill=FAILED, dtype=np.int64)
        return np.asarray(words & FAILED, dtype=np.bool_)

    def plane(self, part: str, name: str) -> NDArray[np.bool_]:
        """Return a column of a mask plane."""
        return self.spread(part, name, fill=False, dtype=np.bool_)
