"""Read what is known of a whole image besides its pixels."""

from __future__ import annotations

__all__ = ("StoredComponents", "read_components")

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import pydantic

from lsst.images import Bounds
from lsst.images.fields import BaseField
from lsst.images.fits import FitsInputArchive
from lsst.images.psfs import PointSpreadFunction
from lsst.images.serialization import ArchiveTree, InputArchive

from ..container import ContainerArchive, check_primary_counts, parse_components
from ..errors import DaxImageError, InputDataError, MissingPsfError, UnsupportedProductError
from ..psfs import PsfEvaluator, PsfTables, make_psf_evaluator, read_psf_tables
from .fetch import fetch_dataset, name_dataset
from .reader import UNREADABLE, DatasetReader


@dataclass(frozen=True, kw_only=True)
class StoredComponents:
    """Components of one dataset; what its type has not is empty."""

    evaluator: PsfEvaluator
    """The point spread function."""

    unit: u.UnitBase | None = None
    bounds: Bounds | None = None
    """Where the image is valid; its whole box if `None`."""

    photometric_scaling: BaseField | None = None
    """Flux of one unit; `None` for an image in units of flux, which needs none."""

    aperture_corrections: Mapping[str, Any] = field(default_factory=dict)

    obs_info: Any = None
    """Description of the observation, an ``ObservationInfo``."""


def read_components(reader: DatasetReader) -> StoredComponents:
    """Read the components of a dataset that fluxes need, and no pixels.

    Parameters
    ----------
    reader
        Reader of the dataset.

    Returns
    -------
    components
        The components.

    Raises
    ------
    MissingPsfError
        Raised if the dataset has no point spread function.
    InputDataError
        Raised if the stored file is unusable.

    Notes
    -----
    The point spread function is read from its archived tables, without the
    package that fitted it.  The components of visit and difference images are
    parsed once from what was read when the file was opened.
    """
    if "psf" not in reader.component_names:
        raise MissingPsfError(f"{name_dataset(reader.ref)} has no PSF.")
    try:
        if reader.container is None:
            return _fetch_components(reader)
        layout = reader.container.layout
        names = {"psf", "obs_info", "aperture_corrections", "bounds"}
        if not _is_flux(layout.tree.unit("image")):
            names.add("photometric_scaling")
        trees = parse_components(layout, sorted(names))
        if trees is not None:
            tree: Any = SimpleNamespace(**trees)
            return _from_tree(reader, tree, ContainerArchive(reader.container.source, layout))
        with ExitStack() as stack:
            check_primary_counts(reader.uri)
            opened, tree, _ = stack.enter_context(FitsInputArchive.open_tree(reader.uri, partial=True))
            return _from_tree(reader, tree, opened)
    except DaxImageError:
        raise
    except (pydantic.ValidationError, *UNREADABLE) as error:
        raise InputDataError(
            f"The components of {name_dataset(reader.ref)} cannot be read: {type(error).__name__}: {error}"
        ) from error


def _from_tree(reader: DatasetReader, tree: Any, archive: InputArchive[Any]) -> StoredComponents:
    """Make the components of a tree and its archive."""
    scaling = getattr(tree, "photometric_scaling", None)
    corrections = getattr(tree, "aperture_corrections", None)
    container = reader.container
    evaluator = make_psf_evaluator(_read_psf(reader, tree.psf, archive))
    if reader.is_coadd:
        bounds: Bounds | None = evaluator.bounds  # a coadd is valid in the cells that have a PSF
    else:
        stored = getattr(tree, "bounds", None)
        bounds = None if stored is None else stored.deserialize()
    return StoredComponents(
        evaluator=evaluator,
        unit=None if container is None else container.layout.tree.unit("image"),
        bounds=bounds,
        photometric_scaling=None if scaling is None else scaling.deserialize(archive),
        aperture_corrections={} if corrections is None else corrections.deserialize(archive),
        obs_info=getattr(tree, "obs_info", None),
    )


def _is_flux(unit: u.UnitBase | None) -> bool:
    """Tell whether a unit is one of flux."""
    return unit is not None and unit.is_equivalent(u.nJy)


def _read_psf(
    reader: DatasetReader, tree: ArchiveTree, archive: InputArchive[Any]
) -> PsfTables | PointSpreadFunction:
    """Read the tables of a PSF; the model itself where it is not drawn from tables."""
    try:
        return read_psf_tables(tree, archive)
    except UnsupportedProductError:
        model: PointSpreadFunction = reader.read_psf()
        return model


def _fetch_components(reader: DatasetReader) -> StoredComponents:
    """Fetch components through the Butler, one by one."""
    names = reader.component_names

    def fetch(name: str) -> Any:
        return fetch_dataset(reader.butler, reader.ref.makeComponentRef(name)) if name in names else None

    evaluator = make_psf_evaluator(reader.read_psf())
    return StoredComponents(
        evaluator=evaluator,
        unit=fetch("unit"),
        bounds=evaluator.bounds if reader.is_coadd else fetch("bounds"),
        photometric_scaling=fetch("photometric_scaling"),
        aperture_corrections=fetch("aperture_corrections") or {},
        obs_info=fetch("obs_info"),
    )
