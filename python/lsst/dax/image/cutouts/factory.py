"""The interface that service wrappers of cutouts program against.

A thin face over `fetch_cutout` and `Cutout`: a wrapper changes one import.
"""

from __future__ import annotations

__all__ = ("CutoutMode", "Extraction", "ImageCutoutFactory")

import dataclasses
import enum
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import astropy.io.fits
from astropy.time import Time

from lsst.daf.butler import DatasetRef
from lsst.images import Image, Mask, MaskedImage
from lsst.resources import ResourcePath, ResourcePathExpression

from ..errors import InvalidRegionError, internal_errors_reported
from ..geometry import PixelStencil
from ..repository import ButlerLike, find_by_uuid, find_dataset, opened_dataset
from ._cutout import OUTSIDE_STENCIL, Cutout
from ._detail import Detail
from ._from_butler import read_cutout
from .projection_finders import ProjectionFinder
from .stencils import SkyStencil


class CutoutMode(enum.Enum):
    """What a cutout holds."""

    FULL_EXPOSURE = enum.auto()
    """Everything that the persisted type has."""

    STRIPPED_EXPOSURE = enum.auto()
    """The same as ``MASKED_IMAGE``."""

    IMAGE_ONLY = enum.auto()
    """The image plane with its sky projection."""

    MASKED_IMAGE = enum.auto()
    """Image, mask and variance."""

    ASTROPY_IMAGE = enum.auto()
    """The same as ``IMAGE_ONLY``."""

    ASTROPY_MASKED_IMAGE = enum.auto()
    """The same as ``MASKED_IMAGE``."""

    @property
    def detail(self) -> Detail:
        """The detail that the mode stands for."""
        match self:
            case CutoutMode.FULL_EXPOSURE:
                return Detail.FULL
            case CutoutMode.IMAGE_ONLY | CutoutMode.ASTROPY_IMAGE:
                return Detail.IMAGE
            case CutoutMode.STRIPPED_EXPOSURE | CutoutMode.MASKED_IMAGE | CutoutMode.ASTROPY_MASKED_IMAGE:
                return Detail.MASKED_IMAGE


@dataclasses.dataclass
class Extraction:
    """A cutout, as service wrappers know it."""

    cutout: Image | Mask | MaskedImage
    """The pixels; `mask` replaces them by a masked copy."""

    sky_stencil: SkyStencil
    """The stencil on the sky."""

    pixel_stencil: PixelStencil
    """The stencil on the image's pixels."""

    metadata: astropy.io.fits.Header
    """Cards for the primary header."""

    origin_ref: DatasetRef
    """Dataset that was cut."""

    def mask(self, name: str = OUTSIDE_STENCIL) -> None:
        """Set a new mask plane for the pixels off the stencil.

        Does nothing for a cutout without a mask.

        Parameters
        ----------
        name
            Name of the plane.

        Raises
        ------
        RequestError
            Raised if the mask has such a plane already.
        """
        if isinstance(self.cutout, Mask | MaskedImage):
            self.cutout = self._as_cutout().mask_outside(name).image

    def write_fits(
        self, path: ResourcePathExpression, temporary_root: ResourcePathExpression | None = None
    ) -> ResourcePath:
        """Write the cutout as a FITS file.

        Parameters
        ----------
        path
            Where to write it.
        temporary_root
            Local folder in which the file is made; the system's own if `None`.

        Returns
        -------
        uri
            Where the file is now.

        Raises
        ------
        OutputError
            Raised if the file cannot be written.
        """
        return self._as_cutout().write(path, temporary_root=temporary_root)

    def _as_cutout(self) -> Cutout:
        return Cutout(self.cutout, self.pixel_stencil, self.metadata, self.origin_ref)


class ImageCutoutFactory:
    """Makes cutouts of the datasets of one repository.

    Parameters
    ----------
    butler
        Butler to read through.
    projection_finder
        Rule that finds where a dataset's pixels are.
    output_root
        Folder or URI in which files are written, under random names.
    temporary_root
        Local folder in which files are made before they are moved.
    logger
        Logger of what is done; this module's own if `None`.

    Notes
    -----
    The ``extract_`` methods return a cutout in memory, the ``process_``
    methods mask it and write it.  All raise `DatasetNotFoundError` (a
    `LookupError`) for an unknown dataset and `StencilNotContainedError` (a
    `ValueError`) where the stencil does not overlap the image.
    """

    def __init__(
        self,
        butler: ButlerLike,
        projection_finder: ProjectionFinder,
        output_root: ResourcePathExpression,
        temporary_root: ResourcePathExpression | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.butler = butler
        self.projection_finder = projection_finder
        self.output_root = ResourcePath(output_root, forceAbsolute=True, forceDirectory=True)
        self.temporary_root = (
            None if temporary_root is None else ResourcePath(temporary_root, forceDirectory=True)
        )
        self.logger = logging.getLogger(__name__) if logger is None else logger

    def extract_ref(
        self, stencil: SkyStencil, ref: DatasetRef, *, cutout_mode: CutoutMode = CutoutMode.FULL_EXPOSURE
    ) -> Extraction:
        """Cut a stencil out of a dataset.

        Parameters
        ----------
        stencil
            Stencil on the sky.
        ref
            Dataset, or its component ``image``, ``mask`` or ``variance``.
        cutout_mode
            What to read.

        Returns
        -------
        extraction
            The cutout; its mask does not show the stencil yet.

        Raises
        ------
        InvalidRegionError
            Raised if this is not one stencil, but a list of them.
        """
        if not isinstance(stencil, SkyStencil):
            raise InvalidRegionError(f"One SkyStencil can be cut at a time; got {stencil!r}.")
        with internal_errors_reported(f"Cutting {stencil} out of {ref.datasetType.name} {ref.id}"):
            pixels = stencil.to_pixels(*self.projection_finder(ref, self.butler))
            with opened_dataset(self.butler, ref) as reader:
                cutout = read_cutout(reader, ref, pixels, detail=cutout_mode.detail, created=Time.now())
        self.logger.info("Cut %s out of %s %s: %s.", stencil, ref.datasetType.name, ref.id, pixels.bbox)
        return Extraction(cutout.image, stencil, pixels, cutout.header, ref)

    def extract_uuid(
        self,
        stencil: SkyStencil,
        uuid: UUID,
        *,
        component: str | None = None,
        cutout_mode: CutoutMode = CutoutMode.FULL_EXPOSURE,
    ) -> Extraction:
        """Cut a stencil out of the dataset of a UUID.

        Parameters
        ----------
        stencil
            Stencil on the sky.
        uuid
            UUID of the dataset.
        component
            Component to cut instead of the dataset.
        cutout_mode
            What to read.

        Returns
        -------
        extraction
            The cutout; its mask does not show the stencil yet.
        """
        ref = find_by_uuid(self.butler, uuid, component=component)
        return self.extract_ref(stencil, ref, cutout_mode=cutout_mode)

    def extract_search(
        self,
        stencil: SkyStencil,
        dataset_type_name: str,
        data_id: Mapping[str, Any],
        collections: Sequence[str],
        *,
        cutout_mode: CutoutMode = CutoutMode.FULL_EXPOSURE,
    ) -> Extraction:
        """Cut a stencil out of the dataset of a data ID.

        Parameters
        ----------
        stencil
            Stencil on the sky.
        dataset_type_name
            Name of the dataset type or, with a dot, of a component.
        data_id
            Dimension values that identify the dataset.
        collections
            Collections to search, in order.
        cutout_mode
            What to read.

        Returns
        -------
        extraction
            The cutout; its mask does not show the stencil yet.
        """
        ref = find_dataset(self.butler, dataset_type_name, data_id, collections=collections)
        return self.extract_ref(stencil, ref, cutout_mode=cutout_mode)

    def process_ref(
        self,
        stencil: SkyStencil,
        ref: DatasetRef,
        *,
        mask_plane: str | None = OUTSIDE_STENCIL,
        cutout_mode: CutoutMode = CutoutMode.FULL_EXPOSURE,
    ) -> ResourcePath:
        """Cut a stencil out of a dataset and write it.

        Parameters
        ----------
        stencil
            Stencil on the sky.
        ref
            Dataset, or its component ``image``, ``mask`` or ``variance``.
        mask_plane
            Name of a new mask plane of the pixels off the stencil; none is
            made if `None`.
        cutout_mode
            What to read.

        Returns
        -------
        uri
            Where the file is.
        """
        return self._mask_and_write(self.extract_ref(stencil, ref, cutout_mode=cutout_mode), mask_plane)

    def process_uuid(
        self,
        stencil: SkyStencil,
        uuid: UUID,
        *,
        component: str | None = None,
        mask_plane: str | None = OUTSIDE_STENCIL,
        cutout_mode: CutoutMode = CutoutMode.FULL_EXPOSURE,
    ) -> ResourcePath:
        """Cut a stencil out of the dataset of a UUID and write it.

        Parameters
        ----------
        stencil
            Stencil on the sky.
        uuid
            UUID of the dataset.
        component
            Component to cut instead of the dataset.
        mask_plane
            Name of a new mask plane of the pixels off the stencil; none is
            made if `None`.
        cutout_mode
            What to read.

        Returns
        -------
        uri
            Where the file is.
        """
        extraction = self.extract_uuid(stencil, uuid, component=component, cutout_mode=cutout_mode)
        return self._mask_and_write(extraction, mask_plane)

    def process_search(
        self,
        stencil: SkyStencil,
        dataset_type_name: str,
        data_id: Mapping[str, Any],
        collections: Sequence[str],
        *,
        mask_plane: str | None = OUTSIDE_STENCIL,
        cutout_mode: CutoutMode = CutoutMode.FULL_EXPOSURE,
    ) -> ResourcePath:
        """Cut a stencil out of the dataset of a data ID and write it.

        Parameters
        ----------
        stencil
            Stencil on the sky.
        dataset_type_name
            Name of the dataset type or, with a dot, of a component.
        data_id
            Dimension values that identify the dataset.
        collections
            Collections to search, in order.
        mask_plane
            Name of a new mask plane of the pixels off the stencil; none is
            made if `None`.
        cutout_mode
            What to read.

        Returns
        -------
        uri
            Where the file is.
        """
        extraction = self.extract_search(
            stencil, dataset_type_name, data_id, collections, cutout_mode=cutout_mode
        )
        return self._mask_and_write(extraction, mask_plane)

    def write_fits(self, extract_result: Extraction) -> ResourcePath:
        """Write a cutout under a random name in the output root.

        Parameters
        ----------
        extract_result
            The cutout.

        Returns
        -------
        uri
            Where the file is.

        Raises
        ------
        OutputError
            Raised if the file cannot be written.
        """
        target = self.output_root.join(f"{uuid4().hex}.fits")
        return extract_result.write_fits(target, self.temporary_root)

    def _mask_and_write(self, extraction: Extraction, mask_plane: str | None) -> ResourcePath:
        if mask_plane is not None:
            extraction.mask(mask_plane)
        return self.write_fits(extraction)
