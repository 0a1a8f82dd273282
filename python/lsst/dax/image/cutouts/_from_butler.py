"""Cutouts and stamps of datasets in a repository."""

from __future__ import annotations

__all__ = ("fetch_cutout",)

from typing import assert_never

from astropy.time import Time

from lsst.daf.butler import DatasetRef
from lsst.images import Box, Image, Mask, MaskedImage

from ..errors import internal_errors_reported
from ..geometry import EdgePolicy, PixelStencil, StencilLike, as_stencil
from ..repository import (
    ButlerLike,
    DatasetReader,
    make_provenance_header,
    opened_dataset,
)
from ._cutout import Cutout, assemble_cutout
from ._detail import Detail


def fetch_cutout(
    butler: ButlerLike,
    ref: DatasetRef,
    stencil: StencilLike,
    *,
    detail: Detail = Detail.MASKED_IMAGE,
    edge: EdgePolicy = EdgePolicy.CLIP,
    max_pixels: int | None = None,
    created: Time | None = None,
) -> Cutout:
    """Cut a stencil out of a dataset; only the pixels that it needs are read.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        Any `lsst.images` dataset with a sky projection, such as a
        ``visit_image``, ``difference_image``, ``deep_coadd`` or an ingested
        FITS image; or its component ``image``, ``mask`` or ``variance``.
    stencil
        Shape on the sky or on the image's pixels: a stencil, SODA text or
        anything else that `~lsst.dax.image.geometry.as_stencil` takes.
    detail
        What to read of the dataset.
    edge
        What to do where the stencil reaches off the image: clip, raise or
        pad.
    max_pixels
        Largest number of pixels of the cutout's box that is allowed.  A larger
        request is refused before any pixel is read.
    created
        Time to record as that of the cut; now if `None`.

    Returns
    -------
    cutout
        The smallest box of pixels that holds the stencil, with its
        provenance.

    Raises
    ------
    InvalidRegionError
        Raised if ``stencil`` is not a usable shape.
    StencilNotContainedError
        Raised if the stencil does not overlap the image or, under the strict
        policy, is not contained by it.
    RequestTooLargeError
        Raised if the box has more than ``max_pixels`` pixels.
    UnsupportedProductError
        Raised if the dataset is not an image with a sky projection, or holds
        components that cannot be padded.
    InputDataError
        Raised if the stored file is missing or unusable.
    """
    stencil = as_stencil(stencil)
    with internal_errors_reported(f"Cutting {stencil} out of {ref.datasetType.name} {ref.id}"):
        created = Time.now() if created is None else created
        with opened_dataset(butler, ref) as reader:
            geometry = reader.geometry
            pixels = stencil.to_pixels(
                geometry.sky_projection, geometry.bbox, edge=edge, max_pixels=max_pixels
            )
            return read_cutout(reader, ref, pixels, detail=detail, created=created)


def read_cutout(
    reader: DatasetReader, ref: DatasetRef, pixels: PixelStencil, *, detail: Detail, created: Time
) -> Cutout:
    """Cut a stencil, whose pixels are known, out of an opened dataset.

    Parameters
    ----------
    reader
        Reader of the dataset.
    ref
        The dataset or component.
    pixels
        The stencil on the dataset's pixels.
    detail
        What to read of the dataset.
    created
        Time to record as that of the cut.

    Returns
    -------
    cutout
        The cutout, with its provenance.

    Raises
    ------
    UnsupportedProductError
        Raised if the dataset holds components that cannot be padded.
    InputDataError
        Raised if the stored file is unusable.
    """
    part = _read(reader, pixels.bbox.intersection(pixels.image_bbox), detail)
    header = reader.read_primary_header()
    header.extend(make_provenance_header(ref, created=created, source=header), update=True)
    header.extend(pixels.stencil.to_header(), update=True)
    return assemble_cutout(part, pixels, header=header, ref=ref)


def _read(reader: DatasetReader, box: Box, detail: Detail) -> Image | Mask | MaskedImage:
    """Read part of a dataset in some detail."""
    match detail:
        case Detail.IMAGE:
            return reader.read_image(box)
        case Detail.MASKED_IMAGE:
            return reader.read_masked_image(box)
        case Detail.FULL:
            return reader.read_full(box)
        case _:
            assert_never(detail)
