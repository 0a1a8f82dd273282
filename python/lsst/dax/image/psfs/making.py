"""Make evaluators of models, in memory or archived."""

from __future__ import annotations

__all__ = ("make_psf_evaluator", "read_psf_tables", "take_psf_tables")

from typing import Any

import numpy as np

from lsst.images.cells import CellPointSpreadFunction
from lsst.images.psfs import (
    GaussianPointSpreadFunction,
    GaussianPSFSerializationModel,
    PiffSerializationModel,
    PiffWrapper,
    PointSpreadFunction,
    PSFExSerializationModel,
    PSFExWrapper,
)
from lsst.images.serialization import ArchiveReadError, ArchiveTree, InputArchive

from ..errors import InputDataError, MissingPsfError, UnsupportedProductError
from ._gridded import GriddedPsfEvaluator
from ._piff import read_piff_tables, take_piff_tables
from ._pixel_models import CellPsfEvaluator, GaussianPsfEvaluator, PolynomialPsfEvaluator
from ._psfex import read_psfex_tables, take_psfex_tables
from .evaluator import PsfEvaluator
from .lanczos import Lanczos, TapRule
from .tables import CellPsfTables, GaussianPsfTables, PolynomialPsfTables, PsfTables

_CELL_LANCZOS = Lanczos(5, TapRule.UNIT_SUM)
"""The interpolant that cell coadds are drawn with."""


def make_psf_evaluator(
    psf: PointSpreadFunction | PsfTables, *, grid_spacing_px: float = 64.0
) -> PsfEvaluator:
    """Make the evaluator of a point spread function.

    Parameters
    ----------
    psf
        A model of `lsst.images`, or the tables of one.
    grid_spacing_px
        Distance in pixels of the nodes between which the kernels of a model
        are interpolated that is of no kind with tables; not used for others.

    Returns
    -------
    evaluator
        The evaluator.  Its property ``is_exact`` tells whether the model has
        tables: Piff pixel grids over (x, y) or (u, v), PSFEx, cells, and the
        Gaussian have.

    Raises
    ------
    MissingPsfError
        Raised if this is no model.
    UnsupportedProductError
        Raised if the model depends on more than the position.
    InputDataError
        Raised if the model contradicts itself.
    RequestError
        Raised if the spacing is not a positive number.
    """
    match psf:
        case PolynomialPsfTables():
            return PolynomialPsfEvaluator(psf)
        case CellPsfTables():
            return CellPsfEvaluator(psf)
        case GaussianPsfTables():
            return GaussianPsfEvaluator(psf)
        case PointSpreadFunction():
            tables = take_psf_tables(psf)
            if tables is not None:
                return make_psf_evaluator(tables)
            return GriddedPsfEvaluator(psf, spacing_px=grid_spacing_px)
        case _:
            raise MissingPsfError(f"The image has {psf!r} in place of a point spread function.")


def take_psf_tables(psf: PointSpreadFunction) -> PsfTables | None:
    """Take the arrays out of a model.

    Parameters
    ----------
    psf
        The model.

    Returns
    -------
    tables
        The arrays; `None` if the model is of no kind that is drawn from
        arrays alone.

    Raises
    ------
    UnsupportedProductError
        Raised if the model depends on more than the position.
    InputDataError
        Raised if the model contradicts itself.
    """
    match psf:
        case PiffWrapper():
            if "colorValue" in psf.piff_psf.interp_property_names:
                raise UnsupportedProductError(
                    "A Piff PSF depends on the colour of the star; only the position is known."
                )
            return take_piff_tables(psf)
        case PSFExWrapper():
            return take_psfex_tables(psf)
        case CellPointSpreadFunction():
            return _take_cells(psf)
        case GaussianPointSpreadFunction():
            rows, columns = psf.kernel_bbox.shape
            return GaussianPsfTables(psf.sigma, (rows, columns), psf.bounds)
        case _:
            return None


def read_psf_tables(tree: ArchiveTree, archive: InputArchive[Any]) -> PsfTables:
    """Read the arrays of an archived model, without the package that fitted it.

    Parameters
    ----------
    tree
        What the archive says about the model: the ``psf`` of the tree of an
        image in an `lsst.images` file.
    archive
        Archive to read from.

    Returns
    -------
    tables
        The arrays.

    Raises
    ------
    UnsupportedProductError
        Raised if the model is of no kind that is drawn from arrays alone.
    InputDataError
        Raised if the archive contradicts itself.

    Notes
    -----
    An archive of a Piff model cannot be read by `lsst.images` without Piff,
    nor with Piff 1.7, and one of a PSFEx model not without the observatory's
    packages; the stellar images of cells cannot be drawn without them.
    """
    match tree:
        case PiffSerializationModel():
            return read_piff_tables(tree, archive)
        case PSFExSerializationModel():
            return read_psfex_tables(tree, archive)
        case GaussianPSFSerializationModel():
            return GaussianPsfTables(
                float(tree.sigma), (tree.stamp_size, tree.stamp_size), tree.bounds.deserialize()
            )
        case _ if getattr(tree, "PUBLIC_TYPE", None) is CellPointSpreadFunction:
            try:
                return _take_cells(tree.deserialize(archive))
            except ArchiveReadError as error:
                raise InputDataError(f"The cells of a PSF cannot be read: {error}.") from error
        case _:
            raise UnsupportedProductError(
                f"The archive has {type(tree).__name__} in place of a PSF that can be drawn from tables."
            )


def _take_cells(psf: CellPointSpreadFunction) -> CellPsfTables:
    """Copy the images of all cells into one array."""
    bounds = psf.bounds
    size = bounds.subgrid_size
    components = np.full((size.i, size.j, *psf.kernel_bbox.shape), np.nan)
    for cell in bounds.cell_indices():
        if cell not in bounds.missing:
            place = cell - bounds.subgrid_start
            components[place.i, place.j] = psf[cell].array
    return CellPsfTables(components, _CELL_LANCZOS, bounds)
