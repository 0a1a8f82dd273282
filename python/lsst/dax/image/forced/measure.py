"""All fluxes of a list of positions on one image."""

from __future__ import annotations

__all__ = ("find_mid_time", "measure")

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.time import Time
from numpy.typing import NDArray

from lsst.images import MaskedImage
from lsst.images.fields import BaseField
from lsst.images.psfs import PointSpreadFunction
from lsst.images.serialization import ArchiveReadError

from ..errors import MissingPsfError, UnsupportedProductError
from ..psfs import PsfEvaluator, PsfTables, make_psf_evaluator
from ._joint_columns import measure_jointly
from ._scene import Scene, measure_targets
from .calibration import correct_aperture, find_calibration, limiting_magnitude
from .options import ForcedOptions
from .pixels import extract_pixels
from .schema import make_table, measured_columns, name_aperture
from .targets import find_targets

type Columns = dict[str, NDArray[Any]]


def measure(
    image: MaskedImage,
    positions: SkyCoord | Table,
    *,
    options: ForcedOptions | None = None,
    neighbours: SkyCoord | Table | None = None,
    psf: PointSpreadFunction | PsfTables | PsfEvaluator | None = None,
    photometric_scaling: u.Quantity | BaseField | None = None,
    epoch: Time | None = None,
    time: Time | None = None,
) -> QTable:
    """Measure fluxes at given positions, whether a source is seen there or not.

    Parameters
    ----------
    image
        Visit image, difference image, coadd or any masked image with a sky
        projection.  Not modified.
    positions
        Positions, or a table of stars or of an ephemeris; see `find_targets`.
    options
        How fluxes are measured; the observatory's estimator if `None`.
    neighbours
        Sources around the positions, as ``positions``: all are then also
        fitted together, in the columns ``joint_*``, where those with a shape
        are galaxies and all others points.  Neighbours that are one
        of the positions are left out.  An empty list fits the positions
        together among themselves.
    psf
        Point spread function, its tables or its evaluator; that of the image
        if `None`.
    photometric_scaling
        Flux of one unit of the image, where it is in no unit of flux and has
        no scaling of its own.
    epoch
        Time at which the positions hold; see `find_targets`.
    time
        Time of the image; the middle of its exposure if `None`.

    Returns
    -------
    table
        One row per position, in their order, measured or not: where there is
        no flux it is NaN, and ``flags`` says why.  Fluxes are in nJy, with
        their aperture corrections.  See `measured_columns`; there are also
        ``visit``, ``detector``, ``band``, ``mjd`` (TAI) and
        ``exposure_time``.

    Raises
    ------
    RequestError
        Raised if positions or options are wrong.
    UnsupportedProductError
        Raised if the image has no sky projection.
    MissingPsfError
        Raised if there is no point spread function.
    InconsistentUnitsError
        Raised if there is no way from the image's unit to nJy.

    Notes
    -----
    The pictures of the PSF are made in blocks, so that memory does not grow
    with the number of positions beyond the table itself; a joint fit holds
    all of them.
    """
    options = ForcedOptions() if options is None else options
    if image.sky_projection is None:
        raise UnsupportedProductError(f"A {type(image).__name__} without a sky projection has no positions.")
    time = find_mid_time(image) if time is None else time
    scene = Scene(
        image=image,
        sky_projection=image.sky_projection,
        pixels=extract_pixels(image, bad_planes=options.bad_planes),
        evaluator=psf if isinstance(psf, PsfEvaluator) else make_psf_evaluator(psf or _find_psf(image)),
        options=options,
    )
    columns = measured_columns(radii=options.radii, has_joint=neighbours is not None)
    targets = find_targets(positions, epoch=epoch, time=time)
    values: Columns = {column.name: np.full(len(targets), column.fill, column.dtype) for column in columns}
    values["id"], values["ra"], values["dec"] = targets.id, targets.ra, targets.dec
    values["x"], values["y"] = scene.locate(targets)
    measure_targets(scene, values)
    if neighbours is not None:
        measure_jointly(scene, values, targets, find_targets(neighbours, epoch=epoch, time=time))
    _calibrate(scene, values, photometric_scaling)
    table = make_table(columns, values)
    _describe_image(table, image, time)
    return table


def find_mid_time(image: MaskedImage) -> Time | None:
    """Return the middle of an image's exposure.

    Parameters
    ----------
    image
        Any image.

    Returns
    -------
    time
        Time in TAI; `None` for an image without one exposure.
    """
    info = getattr(image, "obs_info", None)
    if info is None or info.datetime_begin is None or info.datetime_end is None:
        return None
    begin = info.datetime_begin.tai
    return begin + 0.5 * (info.datetime_end.tai - begin)


def _find_psf(image: MaskedImage) -> PointSpreadFunction:
    """Return the point spread function of an image."""
    try:
        psf: PointSpreadFunction | None = getattr(image, "psf", None)
    except ArchiveReadError as error:
        raise MissingPsfError(f"The point spread function of the image could not be read: {error}") from error
    if psf is None:
        raise MissingPsfError(f"A {type(image).__name__} has no point spread function; pass one as psf.")
    return psf


def _calibrate(scene: Scene, values: Columns, photometric_scaling: u.Quantity | BaseField | None) -> None:
    """Turn fluxes of the image's unit into nJy, with aperture corrections."""
    image, x, y = scene.image, values["x"], values["y"]
    calibration = find_calibration(image, x=x, y=y, photometric_scaling=photometric_scaling)
    correction = correct_aperture(image, scene.options.aperture_correction, x=x, y=y)
    values["calibration"], values["aperture_correction"] = calibration.factor, correction.factor
    values["flags"] |= calibration.flags | correction.flags
    for name in ("background", "background_err"):
        values[name] *= calibration.factor
    joint = [name for name in values if name.startswith("joint_") and name.endswith(("flux", "flux_err"))]
    for name in ("flux", "flux_err", "flux_err_sky", *joint):
        values[name] *= calibration.factor * correction.factor
    for radius in scene.options.radii:
        name = name_aperture(radius)
        key = f"base_CircularApertureFlux_{name.removeprefix('ap_')}_instFlux"
        own = correct_aperture(image, key, x=x, y=y)
        for column in (f"{name}_flux", f"{name}_flux_err"):
            values[column] *= calibration.factor * own.factor
        values[f"{name}_flags"] |= calibration.flags | own.flags
    with np.errstate(divide="ignore", invalid="ignore"):
        values["snr"] = values["flux"] / values["flux_err"]
    values["depth"] = limiting_magnitude(u.Quantity(values["flux_err_sky"], u.nJy, copy=False))


def _describe_image(table: QTable, image: MaskedImage, time: Time | None) -> None:
    """Add the columns that say which image it was."""
    info = getattr(image, "obs_info", None)
    visit = getattr(info, "visit_id", None)
    detector = getattr(info, "detector_num", None)
    exposure_time = getattr(info, "exposure_time", None)
    table["visit"] = np.full(len(table), -1 if visit is None else visit, dtype=np.int64)
    table["detector"] = np.full(len(table), -1 if detector is None else detector, dtype=np.int32)
    table["band"] = np.full(len(table), getattr(image, "band", None) or "", dtype="U16")
    table["mjd"] = np.full(len(table), np.nan if time is None else time.tai.mjd) * u.day
    seconds = np.nan if exposure_time is None else exposure_time.to_value(u.s)
    table["exposure_time"] = np.full(len(table), seconds) * u.s
