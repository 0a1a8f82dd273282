"""Read parts of one image-like dataset: the small interface of all pixels.

The files of `lsst.images` are read by `lsst.dax.image.container`, tile by
tile.  Everything else, and what only `lsst.images` understands, comes through
the Butler.
"""

from __future__ import annotations

__all__ = ("DatasetReader", "ImageGeometry", "fetch_geometry", "opened_dataset", "read_metadata")

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import astropy.io.fits
import numpy as np
import starlink.Ast

from lsst.daf.butler import DatasetRef
from lsst.images import Box, Image, Mask, MaskedImage, SkyProjection, VisitImage
from lsst.images.cells import CellCoadd
from lsst.images.serialization import ArchiveReadError, open_archive
from lsst.resources import ResourcePath

from ..container import (
    PLANES,
    ContainerReader,
    LayoutCache,
    UnsupportedContainerError,
    check_primary_counts,
    open_source,
    read_layout,
    read_primary_header,
)
from ..errors import InputDataError, MissingPsfError, UnsupportedProductError
from .fetch import fetch_dataset, fetch_uri, name_dataset
from .protocol import LocatesDatasets, MakesDatasets, ReadsDatasets

UNREADABLE = (ArchiveReadError, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What the reader of `lsst.images` raises on a damaged file."""

_ALWAYS_ON_SKY = (VisitImage, CellCoadd)
"""Types that are not without a sky projection, unless the file is damaged."""

_LAYOUTS = LayoutCache()
"""Where everything is in the files that this process read last."""


@dataclass(frozen=True)
class ImageGeometry:
    """Where the pixels of an image are."""

    sky_projection: SkyProjection[Any]
    """Map between the image's pixels and ICRS."""

    bbox: Box
    """Pixels that the image has."""


class ReadsAndLocates(ReadsDatasets, LocatesDatasets, Protocol):
    """A Butler that reads datasets and knows where they are."""


class DatasetReader:
    """Reads parts of one image-like dataset; see `opened_dataset`.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Image-like dataset, or an image-like component of one.
    uri
        File of the dataset; `None` for one that the Butler makes when it is
        asked for.
    container
        Reader of the file, if it is one of `lsst.images`; the Butler reads if
        `None`.
    """

    def __init__(
        self,
        butler: ReadsDatasets,
        ref: DatasetRef,
        uri: ResourcePath | None,
        container: ContainerReader | None,
    ) -> None:
        self._butler = butler
        self._ref = ref
        self._parent = ref.makeCompositeRef() if ref.isComponent() else ref
        self._uri = uri
        self._container = container
        pytype = _check_image_like(ref)
        self._is_coadd = issubclass(pytype, CellCoadd)
        self._plane = _single_plane(ref) if issubclass(pytype, Image | Mask) else None
        if container is None and uri is not None and _is_fits(uri):
            # astropy makes as many axes as a damaged header says.
            check_primary_counts(uri)

    @property
    def butler(self) -> ReadsDatasets:
        """The Butler to read through."""
        return self._butler

    @property
    def ref(self) -> DatasetRef:
        """The dataset, or that of the component."""
        return self._parent

    @property
    def uri(self) -> ResourcePath:
        """File of the dataset.

        Raises
        ------
        UnsupportedProductError
            Raised if there is none: the Butler makes the dataset.
        """
        if self._uri is None:
            raise UnsupportedProductError(
                f"{name_dataset(self._parent)} has no file: it is made when it is asked for."
            )
        return self._uri

    @property
    def container(self) -> ContainerReader | None:
        """Reader of the file; `None` where the Butler reads."""
        return self._container

    @property
    def component_names(self) -> frozenset[str]:
        """Names of the components that the dataset's type has."""
        return frozenset(self._parent.datasetType.storageClass.allComponents())

    @property
    def is_coadd(self) -> bool:
        """Whether this is a coadd of cells."""
        return self._is_coadd

    @property
    def is_single_plane(self) -> bool:
        """Whether this is one plane of pixels and nothing more."""
        return self._plane is not None

    @functools.cached_property
    def geometry(self) -> ImageGeometry:
        """Where the pixels are.

        Raises
        ------
        UnsupportedProductError
            Raised if the dataset has no sky projection.
        InputDataError
            Raised if the stored file is unusable.
        """
        if self._container is not None:
            sky_projection, bbox = self._container.sky_projection, self._container.bbox
        else:
            sky_projection = fetch_dataset(self._butler, self._parent.makeComponentRef("sky_projection"))
            bbox = fetch_dataset(self._butler, self._parent.makeComponentRef("bbox"))
        if sky_projection is None:
            is_damage = issubclass(self._parent.datasetType.storageClass.pytype, _ALWAYS_ON_SKY)
            error = InputDataError if is_damage else UnsupportedProductError
            raise error(f"{name_dataset(self._parent)} has no sky projection.")
        _check_projection(sky_projection, bbox, self._parent)
        return ImageGeometry(sky_projection, bbox)

    def read_image(self, bbox: Box) -> Image | Mask:
        """Read one plane: the image plane, or the one that the dataset is.

        Parameters
        ----------
        bbox
            Pixels to read; must lie within the image.

        Returns
        -------
        image
            The plane with its sky projection; a `~lsst.images.Mask` for the
            component ``mask``.

        Raises
        ------
        InputDataError
            Raised if the stored file is unusable.
        """
        if self._container is not None:
            ((_, plane),) = self._container.read_plane_boxes(self._plane or "image", [bbox])
            return plane
        ref = self._ref if self._plane else self._parent.makeComponentRef("image")
        pixels = fetch_dataset(self._butler, ref, bbox=bbox)
        # The planes of a composite are stored without their projection.
        view: Image | Mask = pixels.view(sky_projection=self.geometry.sky_projection)
        return view

    def read_masked_image(self, bbox: Box) -> Image | Mask | MaskedImage:
        """Read image, mask and variance, where the dataset has them.

        Parameters
        ----------
        bbox
            Pixels to read; must lie within the image.

        Returns
        -------
        masked_image
            The planes without further components, or the one that there is.

        Raises
        ------
        InputDataError
            Raised if the stored file is unusable.
        """
        if self.is_single_plane:
            return self.read_image(bbox)
        if self._container is not None:
            return self._container.read_masked_image(bbox)
        ref = self._ref
        if "masked_image" in ref.datasetType.storageClass.allComponents():
            ref = ref.makeComponentRef("masked_image")
        masked_image: MaskedImage = fetch_dataset(self._butler, ref, bbox=bbox)
        return masked_image

    def read_full(self, bbox: Box) -> Image | Mask | MaskedImage:
        """Read every component of the persisted type.

        Parameters
        ----------
        bbox
            Pixels to read; must lie within the image.

        Returns
        -------
        image
            PSF, aperture corrections, backgrounds and provenance included.

        Raises
        ------
        InputDataError
            Raised if the stored file is unusable.
        MissingPsfError
            Raised if the dataset is a `~lsst.images.cells.CellCoadd` and no
            cell of the box has a PSF: `lsst.images` cannot subset it there.
        """
        if self.is_single_plane:
            return self.read_image(bbox)
        if self._container is not None:
            check_primary_counts(self.uri)
            self._container.check_ast_objects()
        try:
            image: MaskedImage = fetch_dataset(self._butler, self._ref, bbox=bbox)
        except InputDataError as error:
            # Only a failed read pays for the look at the PSF.
            if self._is_coadd and not self._psf_cells(bbox):
                raise MissingPsfError(
                    f"No cell of {name_dataset(self._ref)} within {bbox} has a PSF, without which a "
                    f"CellCoadd cannot be cut; image, mask and variance alone can be."
                ) from error
            raise
        return image

    def read_many(
        self, boxes: Sequence[Box], *, planes: Sequence[str] = PLANES, executor: Executor | None = None
    ) -> Iterator[tuple[int, Image | Mask | MaskedImage]]:
        """Read many boxes, each tile of the file once where that is possible.

        Parameters
        ----------
        boxes
            Pixels to read; each must lie within the image.
        planes
            ``("image",)``, or all of `PLANES`, where the dataset has them.
        executor
            Threads that decode; by default the calling thread does.

        Yields
        ------
        number
            Index of a box, by ascending rows where tiles are read once.
        image
            Its pixels, as from `read_image` or `read_masked_image`.

        Raises
        ------
        InputDataError
            Raised if the stored file is unusable.
        """
        only_image = tuple(planes) == ("image",)
        if self._container is None:
            for number, bbox in enumerate(boxes):
                yield number, self.read_image(bbox) if only_image else self.read_masked_image(bbox)
        elif only_image or self.is_single_plane:
            yield from self._container.read_plane_boxes(self._plane or "image", boxes, executor=executor)
        else:
            yield from self._container.read_masked_images(boxes, executor=executor)

    def count_bytes(self, boxes: Sequence[Box], *, planes: Sequence[str] = PLANES) -> int:
        """Count what `read_many` would read, without reading it.

        Parameters
        ----------
        boxes, planes
            As for `read_many`.

        Returns
        -------
        n_bytes
            Stored bytes of the tiles, each once; 0 where the file is not read
            by tiles.
        """
        if self._container is None:
            return 0
        return self._container.count_bytes(boxes, planes=(self._plane,) if self._plane else planes)

    def read_psf(self) -> Any:
        """Read the point spread function.

        Returns
        -------
        psf
            A `lsst.images.psfs.PointSpreadFunction`.

        Raises
        ------
        MissingPsfError
            Raised if the dataset has none.
        InputDataError
            Raised if the stored file is unusable.
        """
        if "psf" not in self._parent.datasetType.storageClass.allComponents():
            raise MissingPsfError(f"{name_dataset(self._parent)} has no PSF.")
        if self._uri is None:
            return fetch_dataset(self._butler, self._parent.makeComponentRef("psf"))
        try:
            # Not through the Butler: its formatter keeps the tree of the last
            # file, and to read a Piff PSF uses up what the tree says of it, so
            # that the same PSF cannot be read twice.
            with open_archive(self._uri) as archive:
                return archive.get_component("psf")
        except UNREADABLE as error:
            raise InputDataError(
                f"The PSF of {name_dataset(self._parent)} cannot be read: {type(error).__name__}: {error}"
            ) from error

    def read_primary_header(self) -> astropy.io.fits.Header:
        """Read the cards of the primary header that describe the observation.

        Returns
        -------
        header
            Without the cards that describe the file itself (its structure,
            index and checksums).  Empty for a file that is not FITS, and where
            there is no file.

        Raises
        ------
        InputDataError
            Raised if the header is unusable.
        """
        if self._container is not None:
            return self._container.primary_header()
        if self._uri is None or not _is_fits(self._uri):
            return astropy.io.fits.Header()
        return read_primary_header(self._uri)

    def _psf_cells(self, bbox: Box) -> list[Any]:
        """Return the indices of the cells of a coadd's box that have a PSF."""
        psf = fetch_dataset(self._butler, self._parent.makeComponentRef("psf"), bbox=bbox)
        return list(psf.bounds.cell_indices())


@contextmanager
def opened_dataset(butler: ReadsAndLocates, ref: DatasetRef) -> Iterator[DatasetReader]:
    """Open an image-like dataset for reading parts of it.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Image-like dataset, or an image-like component of one.

    Yields
    ------
    reader
        Reader, valid within the context only.

    Raises
    ------
    UnsupportedProductError
        Raised if the dataset is not an image of `lsst.images`.
    InputDataError
        Raised if the stored file is missing or unusable.
    """
    _check_image_like(ref)
    if isinstance(butler, MakesDatasets) and butler.is_made(ref):
        yield DatasetReader(butler, ref, None, None)
        return
    uri = fetch_uri(butler, ref)
    with ExitStack() as stack:
        yield DatasetReader(butler, ref, uri, _open_container(ref, uri, stack))


def fetch_geometry(butler: ReadsAndLocates, ref: DatasetRef) -> ImageGeometry:
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
    with opened_dataset(butler, ref) as reader:
        return reader.geometry


def read_metadata(uri: ResourcePath) -> dict[str, Any]:
    """Read the flexible metadata of a file of `lsst.images`, and no pixels.

    Parameters
    ----------
    uri
        File.

    Returns
    -------
    metadata
        Metadata of the image in it.

    Raises
    ------
    InputDataError
        Raised if the file is missing or not one of `lsst.images`.
    """
    try:
        if _is_fits(uri):
            check_primary_counts(uri)
        with open_archive(uri) as archive:
            return dict(archive.metadata)
    except UNREADABLE as error:
        raise InputDataError(
            f"{uri} is not a file of lsst.images: {type(error).__name__}: {error}"
        ) from error


def _open_container(ref: DatasetRef, uri: ResourcePath, stack: ExitStack) -> ContainerReader | None:
    """Open a file of `lsst.images`; None for what our reader does not know.

    A dataset does not change, so its UUID stands for the content of a remote
    file.  A look at a local one costs nothing, and finds what was overwritten.
    """
    if not _is_fits(uri):
        return None
    try:
        source = open_source(uri)
        stack.callback(source.close)
        source.name = f"{name_dataset(ref)} in {source.name}"
        key = (ref.id, source.identity if uri.isLocal else None)
        container = ContainerReader(source, _LAYOUTS.get(key, lambda: read_layout(source)))
    except UnsupportedContainerError:
        return None
    wanted = (_single_plane(ref),) if ref.isComponent() else ()
    return container if set(wanted) <= set(container.planes) else None


def _single_plane(ref: DatasetRef) -> str:
    """Return the name of the plane that a dataset of one plane is."""
    component = ref.datasetType.component()
    if component is not None:
        return component
    return "mask" if issubclass(ref.datasetType.storageClass.pytype, Mask) else "image"


def _is_fits(uri: ResourcePath) -> bool:
    """Tell whether a file's name is that of a FITS file."""
    return uri.getExtension().startswith((".fit", ".fz"))


def _check_image_like(ref: DatasetRef) -> type[Image | Mask | MaskedImage]:
    """Return the Python type of an image-like dataset, or raise."""
    storage_class = ref.datasetType.storageClass
    try:
        pytype = storage_class.pytype
    except ImportError as error:
        raise UnsupportedProductError(
            f"{name_dataset(ref)} has storage class {storage_class.name!r}, whose Python type cannot be "
            f"imported here ({error}); storage classes of lsst.images are needed."
        ) from error
    if not issubclass(pytype, Image | Mask | MaskedImage):
        raise UnsupportedProductError(
            f"{name_dataset(ref)} holds {storage_class.name!r} objects, which have no pixels to cut; an "
            f"Image, a Mask or a MaskedImage of lsst.images is needed."
        )
    return pytype


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
                f"{name_dataset(ref)} has a projection without a valid declination: {np.degrees(lat)}."
            )
        to_pixel.apply_forward(x=lon[on_sky], y=lat[on_sky])
    except (starlink.Ast.AstError, ValueError) as error:
        raise InputDataError(
            f"{name_dataset(ref)} has a sky projection that cannot be used: {error}"
        ) from error
