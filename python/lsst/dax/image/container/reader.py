"""Read parts of images from `lsst.images` FITS files."""

from __future__ import annotations

__all__ = ("PLANES", "ContainerReader", "open_container")

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from lsst.images import Box, Image, Mask, MaskedImage, SkyProjection
from lsst.resources import ResourcePathExpression

from .array_reader import PLANES, ArrayReader
from .layout import read_layout
from .layout_cache import LayoutCache
from .sources import open_source


class ContainerReader(ArrayReader):
    """Reads parts of the image in a FITS file of `lsst.images`.

    Only the tiles that overlap are read and decoded.  Pixels, mask, unit and
    sky projection are those that the reader of `lsst.images` gives, to the
    bit.  Several threads may use one reader.

    Parameters
    ----------
    source
        The file; the caller closes it.
    layout
        Where everything is in it, if that is known already.

    Raises
    ------
    UnsupportedContainerError
        Raised if this is no FITS file of `lsst.images`, or one of an unusual
        kind; the reader of `lsst.images` may know it.
    InputDataError
        Raised if the file contradicts itself.
    StoreError
        Raised if the store fails.
    """

    def read_image(self, bbox: Box) -> Image:
        """Read part of the image plane.

        Parameters
        ----------
        bbox
            Pixels to read; must lie within the image.

        Returns
        -------
        image
            The pixels, with unit and sky projection.

        Raises
        ------
        NoCoverageError
            Raised if the box does not lie within the image.
        UnsupportedProductError
            Raised if there is no image plane.
        InputDataError
            Raised if the file is damaged.
        StoreError
            Raised if the store fails.
        """
        return self._plane("image", bbox)

    def read_variance(self, bbox: Box) -> Image:
        """Read part of the variance plane.

        Parameters
        ----------
        bbox
            Pixels to read; must lie within the image.

        Returns
        -------
        variance
            The pixels, with unit and sky projection.

        Raises
        ------
        NoCoverageError
            Raised if the box does not lie within the image.
        UnsupportedProductError
            Raised if there is no variance plane.
        InputDataError
            Raised if the file is damaged.
        StoreError
            Raised if the store fails.
        """
        return self._plane("variance", bbox)

    def read_mask(self, bbox: Box) -> Mask:
        """Read part of the mask.

        Parameters
        ----------
        bbox
            Pixels to read; must lie within the image.

        Returns
        -------
        mask
            The pixels, with schema and sky projection.

        Raises
        ------
        NoCoverageError
            Raised if the box does not lie within the image.
        UnsupportedProductError
            Raised if there is no mask.
        InputDataError
            Raised if the file is damaged.
        StoreError
            Raised if the store fails.
        """
        arrays = self.read_arrays(bbox, planes=("mask",))
        return self._make_mask(arrays["mask"], bbox, self.sky_projection)

    def read_masked_image(self, bbox: Box) -> MaskedImage:
        """Read part of image, mask and variance, in one round.

        Parameters
        ----------
        bbox
            Pixels to read; must lie within the image.

        Returns
        -------
        masked_image
            The pixels, with units, schema and sky projection.

        Raises
        ------
        NoCoverageError
            Raised if the box does not lie within the image.
        UnsupportedProductError
            Raised if one of the planes is missing.
        InputDataError
            Raised if the file is damaged.
        StoreError
            Raised if the store fails.
        """
        return self._make_masked_image(self.read_arrays(bbox), bbox)

    def read_plane_boxes(
        self, plane: str, boxes: Sequence[Box], *, executor: Executor | None = None, max_bytes: int = 2**25
    ) -> Iterator[tuple[int, Image | Mask]]:
        """Read one plane of many boxes, each tile once.

        Parameters
        ----------
        plane
            ``image``, ``mask`` or ``variance``.
        boxes
            Pixels to read; each must lie within the image.
        executor
            Threads that decode; by default the calling thread does.
        max_bytes
            Decoded pixels that are kept at a time, in bytes; more only where a
            single box needs more.

        Yields
        ------
        number
            Index of a box, by ascending rows.
        image
            Its pixels, with unit or schema and sky projection.

        Raises
        ------
        NoCoverageError
            Raised if a box does not lie within the image.
        UnsupportedProductError
            Raised if there is no such plane.
        InputDataError
            Raised if the file is damaged.
        StoreError
            Raised if the store fails.
        """
        for number, arrays in self.read_boxes(boxes, planes=(plane,), executor=executor, max_bytes=max_bytes):
            if plane == "mask":
                yield number, self._make_mask(arrays[plane], boxes[number], self.sky_projection)
            else:
                yield number, self._make_image(plane, arrays[plane], boxes[number], self.sky_projection)

    def read_masked_images(
        self, boxes: Sequence[Box], *, executor: Executor | None = None, max_bytes: int = 2**25
    ) -> Iterator[tuple[int, MaskedImage]]:
        """Read image, mask and variance of many boxes, each tile once.

        Parameters
        ----------
        boxes
            Pixels to read; each must lie within the image.
        executor
            Threads that decode; by default the calling thread does.
        max_bytes
            Decoded pixels that are kept at a time, in bytes; more only where a
            single box needs more.

        Yields
        ------
        number
            Index of a box, by ascending rows.
        masked_image
            Its pixels, as from `read_masked_image`.

        Raises
        ------
        NoCoverageError
            Raised if a box does not lie within the image.
        UnsupportedProductError
            Raised if one of the planes is missing.
        InputDataError
            Raised if the file is damaged.
        StoreError
            Raised if the store fails.
        """
        for number, arrays in self.read_boxes(boxes, executor=executor, max_bytes=max_bytes):
            yield number, self._make_masked_image(arrays, boxes[number])

    def _plane(self, plane: str, bbox: Box) -> Image:
        """Read part of image or variance."""
        array = self.read_arrays(bbox, planes=(plane,))[plane]
        return self._make_image(plane, array, bbox, self.sky_projection)

    def _make_image(
        self, plane: str, array: NDArray[Any], bbox: Box, sky_projection: SkyProjection[Any] | None
    ) -> Image:
        """Return pixels as an image."""
        model = self._tree.image if plane == "image" else self._tree.variance
        return Image(
            array,
            bbox=bbox,
            unit=self._tree.unit(plane),
            sky_projection=sky_projection,
            metadata=None if model is None else dict(model.metadata),
        )

    def _make_mask(self, array: NDArray[Any], bbox: Box, sky_projection: SkyProjection[Any] | None) -> Mask:
        """Return pixels as a mask."""
        model = self._tree.mask
        return Mask(
            array,
            bbox=bbox,
            schema=self.mask_schema,
            sky_projection=sky_projection,
            metadata=None if model is None else dict(model.metadata),
        )

    def _make_masked_image(self, arrays: Mapping[str, NDArray[Any]], bbox: Box) -> MaskedImage:
        """Return pixels as a masked image."""
        return MaskedImage(
            self._make_image("image", arrays["image"], bbox, None),
            mask=self._make_mask(arrays["mask"], bbox, None),
            variance=self._make_image("variance", arrays["variance"], bbox, None),
            sky_projection=self.sky_projection,
            metadata=dict(self._tree.metadata),
        )


@contextmanager
def open_container(
    uri: ResourcePathExpression, *, cache: LayoutCache | None = None, key: str | None = None
) -> Iterator[ContainerReader]:
    """Open a FITS file of `lsst.images` for reading parts of it.

    Parameters
    ----------
    uri
        The file, local or remote.
    cache
        Layouts that are known already.
    key
        What stands for the content of the file in the cache, such as the UUID
        of a dataset.  By default what the store tells of the file, which takes
        a round for a remote one.

    Yields
    ------
    reader
        Reader of the file, valid within the context only.

    Raises
    ------
    UnsupportedContainerError
        Raised if this is no FITS file of `lsst.images`, or one of an unusual
        kind; the reader of `lsst.images` may know it.
    InputDataError
        Raised if the file is missing or contradicts itself.
    StoreError
        Raised if the store fails.
    """
    source = open_source(uri)
    try:
        if cache is None:
            layout = read_layout(source)
        else:
            layout = cache.get(source.identity if key is None else key, lambda: read_layout(source))
        yield ContainerReader(source, layout)
    finally:
        source.close()
