"""Read images and parts of them through a Butler.

This is the one small interface through which pixels come.  It returns
`lsst.images` objects that always carry their sky projection, and turns what
the readers raise into `InputDataError`.
"""

from __future__ import annotations

__all__ = (
    "ImageGeometry",
    "fetch_full",
    "fetch_geometry",
    "fetch_image",
    "fetch_masked_image",
    "fetch_primary_header",
    "fetch_sky_map",
    "fetch_time",
    "is_single_plane",
)

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import astropy.io.fits
import numpy as np
import starlink.Ast
from astropy.time import Time

from lsst.daf.butler import DatasetRef, FileIntegrityError, MissingDatasetTypeError
from lsst.images import Box, GeneralizedImage, Image, Mask, MaskedImage, SkyProjection
from lsst.images.cells import CellCoadd
from lsst.resources import ResourcePath

from ..container import check_primary_counts, read_primary_header
from ..errors import (
    DatasetNotFoundError,
    InputDataError,
    InputNotFoundError,
    MissingPsfError,
    UnsupportedProductError,
)
from .protocol import FindsDatasets, LocatesDatasets, ReadsDatasets
from .skymap import RingsSkyMap, find_known_sky_map


@dataclass(frozen=True)
class ImageGeometry:
    """Where the pixels of an image are."""

    sky_projection: SkyProjection[Any]
    """Map between the image's pixels and ICRS."""

    bbox: Box
    """Pixels that the image has."""


class _ReadsAndLocates(ReadsDatasets, LocatesDatasets, Protocol):
    """A Butler that reads datasets and knows where they are."""


def fetch_geometry(butler: _ReadsAndLocates, ref: DatasetRef) -> ImageGeometry:
    """Read where an image is, without its pixels.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Image-like dataset, or an image-like component of one.

    Returns
    -------
    geometry
        Sky projection and bounding box.

    Raises
    ------
    UnsupportedProductError
        Raised if the dataset is not an image of `lsst.images`, or has no sky
        projection.
    InputDataError
        Raised if the stored file is missing or unusable.
    """
    _check_image_like(ref)
    parent = ref.makeCompositeRef() if ref.isComponent() else ref
    _check_file(butler, parent)
    sky_projection = _get(butler, parent.makeComponentRef("sky_projection"))
    if sky_projection is None:
        raise UnsupportedProductError(f"{_name(parent)} has no sky projection.")
    bbox = _get(butler, parent.makeComponentRef("bbox"))
    _check_projection(sky_projection, bbox, parent)
    return ImageGeometry(sky_projection, bbox)


def fetch_image(
    butler: ReadsDatasets, ref: DatasetRef, *, bbox: Box, geometry: ImageGeometry
) -> Image | Mask:
    """Read one plane of an image.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Dataset with an image plane, which is read; or a component with one
        plane (``visit_image.variance``), which is read itself.
    bbox
        Pixels to read; must lie within the image.
    geometry
        Geometry of the dataset; its sky projection is attached to the result.

    Returns
    -------
    image
        The plane; a `~lsst.images.Mask` for the component ``mask``.

    Raises
    ------
    UnsupportedProductError
        Raised if the dataset is not an image of `lsst.images`.
    InputDataError
        Raised if the stored file is missing or unusable.
    """
    _check_image_like(ref)
    source = ref if is_single_plane(ref) else _composite(ref).makeComponentRef("image")
    plane = _get(butler, source, bbox)
    # The planes of a composite are stored without their projection.
    view: Image | Mask = plane.view(sky_projection=geometry.sky_projection)
    return view


def fetch_masked_image(
    butler: ReadsDatasets, ref: DatasetRef, *, bbox: Box, geometry: ImageGeometry
) -> Image | Mask | MaskedImage:
    """Read image, mask and variance, where the dataset has them.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Image-like dataset.  One that has a single plane gives that plane.
    bbox
        Pixels to read; must lie within the image.
    geometry
        Geometry of the dataset; its sky projection is attached to the result.

    Returns
    -------
    masked_image
        Image, mask and variance without further components, or the one plane
        that there is.

    Raises
    ------
    UnsupportedProductError
        Raised if the dataset is not an image of `lsst.images`.
    InputDataError
        Raised if the stored file is missing or unusable.
    """
    if is_single_plane(ref):
        return fetch_image(butler, ref, bbox=bbox, geometry=geometry)
    _check_image_like(ref)
    if "masked_image" in ref.datasetType.storageClass.allComponents():
        ref = ref.makeComponentRef("masked_image")
    masked_image: MaskedImage = _get(butler, ref, bbox)
    return masked_image


def fetch_full(
    butler: ReadsDatasets, ref: DatasetRef, *, bbox: Box, geometry: ImageGeometry
) -> GeneralizedImage:
    """Read part of an image with every component of its type.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Image-like dataset.
    bbox
        Pixels to read; must lie within the image.
    geometry
        Geometry of the dataset.

    Returns
    -------
    image
        Object of the persisted type: PSF, aperture corrections, backgrounds
        and provenance included.

    Raises
    ------
    UnsupportedProductError
        Raised if the dataset is not an image of `lsst.images`.
    InputDataError
        Raised if the stored file is missing or unusable.
    MissingPsfError
        Raised if the dataset is a `~lsst.images.cells.CellCoadd` and no cell
        of the box has a PSF: `lsst.images` cannot subset it there.
    """
    if is_single_plane(ref):
        return fetch_image(butler, ref, bbox=bbox, geometry=geometry)
    pytype = _check_image_like(ref)
    try:
        image: GeneralizedImage = _get(butler, ref, bbox)
    except InputDataError as error:
        # Only a failed read pays for the look at the PSF.
        if issubclass(pytype, CellCoadd) and not _psf_cells(butler, ref, bbox):
            raise MissingPsfError(
                f"No cell of {_name(ref)} within {bbox} has a PSF, without which a CellCoadd cannot be cut; "
                f"image, mask and variance alone can be."
            ) from error
        raise
    return image


def fetch_primary_header(butler: LocatesDatasets, ref: DatasetRef) -> astropy.io.fits.Header:
    """Read the primary header of a dataset's FITS file.

    Parameters
    ----------
    butler
        Butler that locates the file.
    ref
        Dataset or component.

    Returns
    -------
    header
        The cards that describe the observation; those that describe the file
        itself (its structure, index and checksums) are left out.  Empty for a
        file that is not FITS.

    Raises
    ------
    InputDataError
        Raised if the file is missing or its header is unusable.
    """
    uri = butler.getURI(_composite(ref))
    return read_primary_header(uri) if _is_fits(uri) else astropy.io.fits.Header()


def fetch_time(butler: FindsDatasets, ref: DatasetRef) -> Time | None:
    """Return the middle of a dataset's exposure.

    Parameters
    ----------
    butler
        Butler to ask where the reference has no dimension records.
    ref
        Dataset or component.

    Returns
    -------
    time
        Middle of the timespan that the repository records, TAI; `None` for a
        dataset without one, such as a coadd.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository does not know the dataset.
    """
    data_id = ref.dataId
    if not data_id.dimensions.temporal:
        return None
    if not data_id.hasRecords():
        found = butler.get_dataset(ref.id, dimension_records=True)
        if found is None:
            raise DatasetNotFoundError(f"The repository does not know {_name(ref)}.")
        data_id = found.dataId
    timespan = data_id.timespan
    if timespan is None:
        return None
    begin, end = timespan.begin, timespan.end
    if not (isinstance(begin, Time) and isinstance(end, Time)):
        return None  # an open or empty timespan has no middle
    middle: Time = begin + 0.5 * (end - begin)
    return middle


def fetch_sky_map(butler: FindsDatasets, name: str) -> RingsSkyMap:
    """Return the sky map of a name.

    The registry records a hash of its parameters.  They are those of a public
    release with that hash, or stand in a ``skyMapConfig`` dataset in any
    collection, which must have that hash too.

    Parameters
    ----------
    butler
        Butler to ask.
    name
        Name of the sky map, the value of the dimension ``skymap``.

    Returns
    -------
    sky_map
        The sky map.

    Raises
    ------
    DatasetNotFoundError
        Raised if the repository has no such sky map, or nobody knows its
        parameters.
    """
    records = butler.query_dimension_records(
        "skymap", where="skymap = :name", bind={"name": name}, explain=False
    )
    if not records:
        raise DatasetNotFoundError(f"The repository has no sky map {name!r}.")
    sha1: bytes = records[0].hash
    try:
        return find_known_sky_map(sha1)
    except InputNotFoundError as unknown:
        for config in _fetch_sky_map_configs(butler, name):
            sky_map = RingsSkyMap.from_config(config)
            if sky_map.sha1() == sha1:
                return sky_map
        raise DatasetNotFoundError(
            f"The parameters of sky map {name!r} are in no 'skyMapConfig' dataset, and: {unknown}"
        ) from unknown


def _fetch_sky_map_configs(butler: FindsDatasets, name: str) -> Iterator[dict[str, Any]]:
    """Read what is recorded of a sky map's parameters, wherever it is."""
    try:
        refs = butler.query_datasets(
            "skyMapConfig", "*", find_first=False, data_id={"skymap": name}, explain=False
        )
    except MissingDatasetTypeError:
        return
    for ref in refs:
        yield _get(butler, ref)


def is_single_plane(ref: DatasetRef) -> bool:
    """Tell whether a dataset is one plane of pixels and nothing more.

    Parameters
    ----------
    ref
        Image-like dataset or component.

    Returns
    -------
    single
        `True` for images and masks, `False` for what has several planes.

    Raises
    ------
    UnsupportedProductError
        Raised if the dataset is not an image of `lsst.images`.
    """
    return issubclass(_check_image_like(ref), Image | Mask)


def _check_image_like(ref: DatasetRef) -> type[Image | Mask | MaskedImage]:
    """Return the Python type of an image-like dataset, or raise."""
    storage_class = ref.datasetType.storageClass
    try:
        pytype = storage_class.pytype
    except ImportError as error:
        raise UnsupportedProductError(
            f"{_name(ref)} has storage class {storage_class.name!r}, whose Python type cannot be imported "
            f"here ({error}); storage classes of lsst.images are needed."
        ) from error
    if not issubclass(pytype, Image | Mask | MaskedImage):
        raise UnsupportedProductError(
            f"{_name(ref)} holds {storage_class.name!r} objects, which have no pixels to cut; an Image, "
            f"a Mask or a MaskedImage of lsst.images is needed."
        )
    return pytype


def _psf_cells(butler: ReadsDatasets, ref: DatasetRef, bbox: Box) -> list[Any]:
    """Return the indices of the cells of a coadd's box that have a PSF."""
    return list(_get(butler, ref.makeComponentRef("psf"), bbox).bounds.cell_indices())


def _composite(ref: DatasetRef) -> DatasetRef:
    """Return the dataset that a component belongs to, or the dataset."""
    return ref.makeCompositeRef() if ref.isComponent() else ref


def _check_file(butler: LocatesDatasets, ref: DatasetRef) -> None:
    """Look at a file's first header before astropy believes its counts."""
    try:
        uri = butler.getURI(ref)
        if _is_fits(uri):
            check_primary_counts(uri)
    except FileNotFoundError as error:
        raise InputDataError(f"{_name(ref)} is registered, but its file is gone: {error}") from error


def _check_projection(sky_projection: SkyProjection[Any], bbox: Box, ref: DatasetRef) -> None:
    """Use a projection once, because a damaged one is read without complaint.

    Parts of a map of the whole sky lie off the sky, for which AST has a mark
    that comes out as a declination of 147 degrees.
    """
    grid = bbox.meshgrid(3)
    to_sky, to_pixel = sky_projection.pixel_to_sky_transform, sky_projection.sky_to_pixel_transform
    try:
        lon, lat = to_sky.apply_forward(x=grid.x.ravel(), y=grid.y.ravel())
        on_sky = np.abs(lat) <= 0.5 * np.pi + 1e-9
        if not on_sky.any():
            raise InputDataError(
                f"{_name(ref)} has a projection without a valid declination: {np.degrees(lat)}."
            )
        to_pixel.apply_forward(x=lon[on_sky], y=lat[on_sky])
    except starlink.Ast.AstError as error:
        raise InputDataError(f"{_name(ref)} has a sky projection that cannot be used: {error}") from error


def _is_fits(uri: ResourcePath) -> bool:
    """Tell whether a file's name is that of a FITS file."""
    return uri.getExtension().startswith((".fit", ".fz"))


def _get(butler: ReadsDatasets, ref: DatasetRef, bbox: Box | None = None) -> Any:
    """Read through the Butler; what goes wrong inside is the data's fault.

    The formatters report every failure as a `ValueError` with the cause
    chained; a file that is gone is a `FileNotFoundError`, one that has not the
    recorded size a `FileIntegrityError`.
    """
    parameters = None if bbox is None else {"bbox": bbox}
    try:
        return butler.get(ref, parameters=parameters)
    except FileNotFoundError as error:
        raise InputDataError(f"{_name(ref)} is registered, but its file is gone: {error}") from error
    except FileIntegrityError as error:
        raise InputDataError(f"{_name(ref)} is not the file that was stored: {error}") from error
    except ValueError as error:
        cause = error.__cause__ or error
        where = "" if bbox is None else f" within {bbox}"
        raise InputDataError(
            f"{_name(ref)} cannot be read{where}: {type(cause).__name__}: {cause}"
        ) from error


def _name(ref: DatasetRef) -> str:
    """Return a dataset's name for a message."""
    return f"{ref.datasetType.name} {dict(ref.dataId.required)} ({ref.id})"
