"""All fluxes of a list of positions on one image."""

from __future__ import annotations

__all__ = ("measure",)

from collections.abc import Mapping
from typing import Any

import astropy.units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.time import Time

from lsst.images import MaskedImage
from lsst.images.fields import BaseField
from lsst.images.psfs import PointSpreadFunction

from ..psfs import PsfEvaluator, PsfTables
from ._columns import calibrate_columns, place_targets, start_columns
from ._joint_columns import measure_jointly
from ._scene import Setup, measure_rows
from .components import take_components
from .options import ForcedOptions
from .schema import image_columns, make_table, measured_columns
from .targets import find_targets


def measure(
    image: MaskedImage,
    positions: SkyCoord | Table,
    *,
    options: ForcedOptions | None = None,
    neighbours: SkyCoord | Table | None = None,
    psf: PointSpreadFunction | PsfTables | PsfEvaluator | None = None,
    photometric_scaling: u.Quantity | BaseField | None = None,
    aperture_corrections: Mapping[str, Any] | None = None,
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
    aperture_corrections
        Fields of factors by the kind of flux, such as those of the coadd
        that the image is a part of; those of the image if `None`.
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
        Raised if it is no masked image or has no sky projection.
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
    components = take_components(
        image,
        psf=psf,
        photometric_scaling=photometric_scaling,
        aperture_corrections=aperture_corrections,
        time=time,
    )
    setup = Setup(components, options)
    targets = find_targets(positions, epoch=epoch, time=components.time)
    values = start_columns(setup, targets, has_joint=neighbours is not None)
    is_near = place_targets(setup, values, targets)
    scene = setup.make_scene(image)
    measure_rows(scene, values, is_near.nonzero()[0])
    if neighbours is not None:
        others = find_targets(neighbours, epoch=epoch, time=components.time)
        measure_jointly(scene, values, targets, others)
    calibrate_columns(setup, values)
    columns = measured_columns(radii=options.radii, has_joint=neighbours is not None)
    return make_table((*columns, *image_columns()), values)
