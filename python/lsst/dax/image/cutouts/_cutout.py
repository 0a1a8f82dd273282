"""One cutout of an image in memory."""

from __future__ import annotations

__all__ = ("OUTSIDE_STENCIL", "Cutout", "make_cutout")

import dataclasses
from typing import TYPE_CHECKING, Any

import astropy.io.fits
from astropy.time import Time

from lsst.images import Box, GeneralizedImage, Image, Mask, MaskedImage
from lsst.resources import ResourcePath, ResourcePathExpression

from ..container import Compression, write_fits
from ..errors import RequestError, UnsupportedProductError
from ..geometry import EdgePolicy, PixelStencil, Stencil, StencilLike, as_stencil
from ._detail import Detail, keep_detail
from ._padding import paste_into

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetRef

OUTSIDE_STENCIL = "OUTSIDE_STENCIL"
"""Default name of the mask plane of pixels that are not in the stencil."""


@dataclasses.dataclass(frozen=True)
class Cutout:
    """Part of an image, and how it was cut."""

    image: Image | Mask | MaskedImage
    """The pixels, on the parent image's pixel grid; of the type that the
    detail asks for, always with a sky projection."""

    pixels: PixelStencil
    """The stencil on the image's pixels."""

    header: astropy.io.fits.Header = dataclasses.field(repr=False)
    """Cards for the primary header: those of the source that describe the
    observation, the provenance and the stencil."""

    ref: DatasetRef | None = None
    """The dataset that was cut; `None` for an image in memory."""

    @property
    def stencil(self) -> Stencil:
        """The stencil, in the coordinates in which it was given."""
        return self.pixels.stencil

    @property
    def bbox(self) -> Box:
        """Box of the cutout in 0-based pixels of the parent image."""
        return self.image.bbox

    def mask_outside(self, plane: str = OUTSIDE_STENCIL) -> Cutout:
        """Return a cutout with a mask plane of the pixels off the stencil.

        Parameters
        ----------
        plane
            Name of the new mask plane.  It is set for each pixel whose centre
            does not lie in the stencil.

        Returns
        -------
        cutout
            New cutout; image and variance are shared, the mask is not.

        Raises
        ------
        RequestError
            Raised if the mask has such a plane already.
        UnsupportedProductError
            Raised if the cutout has no mask.
        """
        mask = self.image.mask if isinstance(self.image, MaskedImage) else self.image
        if not isinstance(mask, Mask):
            raise UnsupportedProductError(
                f"A cutout of type {type(self.image).__name__} has no mask for a plane {plane!r}; "
                f"cut with Detail.MASKED_IMAGE."
            )
        if plane in mask.schema.names:
            raise RequestError(
                f"The mask has a plane {plane!r} already, next to {sorted(set(mask.schema.names) - {plane})}."
            )
        mask = mask.add_plane(plane, "The pixel's centre is not in the cutout's stencil.")
        self.pixels.set_mask(mask, plane, covered=False)
        if isinstance(self.image, MaskedImage):
            image = self.image[...]
            image.mask = mask
            return dataclasses.replace(self, image=image)
        return dataclasses.replace(self, image=mask)

    def write(
        self,
        uri: ResourcePathExpression,
        *,
        compression: Compression = Compression.GZIP,
        overwrite: bool = False,
        temporary_root: ResourcePathExpression | None = None,
        written: Time | None = None,
    ) -> ResourcePath:
        """Write the cutout as a FITS file.

        The file opens with astropy, DS9 and `lsst.images`.  It is made under a
        temporary name and moved: a failed write leaves no partial file.

        Parameters
        ----------
        uri
            Local path or URI (``file``, ``s3``, ``https`` with PUT, ...) that
            ends in ``.fits``.
        compression
            How to store the pixels of images without further components;
            those with components, such as a PSF, are stored as `lsst.images`
            does.
        overwrite
            Whether a file of that name may be replaced.
        temporary_root
            Local folder in which files with further components are made; the
            system's own if `None`.
        written
            Time that the file says it was written at; now if `None`.  With the
            time of the cut given too, equal cutouts make equal files.

        Returns
        -------
        uri
            Where the file is now.

        Raises
        ------
        RequestError
            Raised if the name does not end in ``.fits``.
        OutputError
            Raised if the file cannot be written, or exists and may not be
            replaced.
        """
        return write_fits(
            self.image,
            uri,
            header=self.header,
            compression=compression,
            overwrite=overwrite,
            temporary_root=temporary_root,
            written=written,
        )

    def plot(self, **kwargs: Any) -> Any:
        """Show the cutout; see `lsst.dax.image.plotting.plot_cutout`.

        Parameters
        ----------
        **kwargs
            Options of that function.

        Returns
        -------
        axes
            The matplotlib axes.
        """
        from ..plotting import plot_cutout  # noqa: PLC0415  # matplotlib is an extra

        return plot_cutout(self, **kwargs)


def make_cutout(
    image: GeneralizedImage,
    stencil: StencilLike,
    *,
    detail: Detail = Detail.MASKED_IMAGE,
    edge: EdgePolicy = EdgePolicy.CLIP,
    max_pixels: int | None = None,
) -> Cutout:
    """Cut a stencil out of an image in memory.

    Parameters
    ----------
    image
        Any `lsst.images` image with a sky projection.  Not modified; the
        cutout shares its pixels unless it is padded.
    stencil
        Shape on the sky or on the image's pixels: a stencil, SODA text or
        anything else that `~lsst.dax.image.geometry.as_stencil` takes.
    detail
        What to keep of the image.
    edge
        What to do where the stencil reaches off the image: clip, raise or
        pad.
    max_pixels
        Largest number of pixels of the cutout's box that is allowed.

    Returns
    -------
    cutout
        The smallest box of pixels that holds the stencil.

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
        Raised if the image has no sky projection for a stencil on the sky, or
        holds components that cannot be padded.
    """
    stencil = as_stencil(stencil)
    pixels = stencil.to_pixels(image.sky_projection, image.bbox, edge=edge, max_pixels=max_pixels)
    part = keep_detail(image[pixels.bbox.intersection(image.bbox)], detail)
    return assemble_cutout(part, pixels, header=stencil.to_header())


def assemble_cutout(
    part: Image | Mask | MaskedImage,
    pixels: PixelStencil,
    *,
    header: astropy.io.fits.Header,
    ref: DatasetRef | None = None,
) -> Cutout:
    """Make a cutout of the part of an image that its stencil overlaps.

    Parameters
    ----------
    part
        Pixels of the stencil's box that the image has.
    pixels
        The stencil on the image's pixels.
    header
        Cards for the primary header.
    ref
        Dataset that was cut.

    Returns
    -------
    cutout
        The cutout, padded where its box is larger than ``part``.

    Raises
    ------
    UnsupportedProductError
        Raised if ``part`` must be padded and cannot be.
    """
    image = part if part.bbox == pixels.bbox else paste_into(part, pixels.bbox)
    return Cutout(image, pixels, header, ref)
