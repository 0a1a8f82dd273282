"""Read parts of images from `lsst.images` FITS files."""

from __future__ import annotations

__all__ = ("PLANES", "ContainerReader", "open_container")

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, Image, Mask, MaskedImage, MaskSchema, SkyProjection
from lsst.resources import ResourcePathExpression

from ..errors import InputDataError, NoCoverageError, UnsupportedProductError
from .array_layout import ArrayLayout
from .bulk import read_box_arrays
from .header import _STRUCTURAL
from .layout import ContainerLayout, LayoutCache, read_layout
from .mask_planes import unpack_mask
from .sources import ByteSource, open_source, read_coalesced
from .tiles import PixelSlices, decode_array, plan_array, split_plan

PLANES = ("image", "mask", "variance")
"""Planes of a masked image."""


class ContainerReader:
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

    def __init__(self, source: ByteSource, layout: ContainerLayout | None = None) -> None:
        self._source = source
        self._layout = read_layout(source) if layout is None else layout
        self._tree = self._layout.tree

    @property
    def source(self) -> ByteSource:
        """The file."""
        return self._source

    @property
    def layout(self) -> ContainerLayout:
        """Where everything is in the file; read-only."""
        return self._layout

    @property
    def kind(self) -> str:
        """Name of the schema: ``visit_image``, ``cell_coadd``, ``image``, ..."""
        return self._tree.kind

    @property
    def planes(self) -> tuple[str, ...]:
        """Planes that there are, of ``image``, ``mask`` and ``variance``."""
        return tuple(plane for plane in PLANES if plane in self._layout.arrays)

    @property
    def bbox(self) -> Box:
        """Pixels of the image."""
        return self._tree.bbox

    @property
    def sky_projection(self) -> SkyProjection[Any] | None:
        """Map between pixels and ICRS, where there is one.

        Raises
        ------
        InputDataError
            Raised if what is stored is no map to the sky.
        UnsupportedContainerError
            Raised if part of it lies elsewhere in the file.
        """
        return self._tree.sky_projection

    @property
    def mask_schema(self) -> MaskSchema:
        """Planes of the mask.

        Raises
        ------
        UnsupportedContainerError
            Raised if there is no mask.
        InputDataError
            Raised if the type of the mask is no integer.
        """
        return self._tree.mask_schema

    @property
    def unit(self) -> u.UnitBase | None:
        """Unit of the image plane, where the file names one."""
        return self._tree.unit("image")

    def primary_header(self) -> astropy.io.fits.Header:
        """Return the cards of the primary header that describe the observation.

        Returns
        -------
        header
            The cards that `read_primary_header` gives.

        Raises
        ------
        InputDataError
            Raised if a card is unusable.
        """
        try:
            header = astropy.io.fits.Header()
            for card in astropy.io.fits.Header.fromstring(self._layout.primary).cards:
                if not _STRUCTURAL.match(card.keyword):
                    _ = card.value  # astropy parses a card when it is looked at
                    header.append(card, bottom=True)
            return header
        except (ValueError, TypeError, astropy.io.fits.VerifyError) as error:
            raise InputDataError(f"{self._source.name} has an unusable primary header: {error}") from error

    def read_arrays(self, bbox: Box, *, planes: Sequence[str] = PLANES) -> Mapping[str, NDArray[Any]]:
        """Read pixels of some planes, in one round.

        Parameters
        ----------
        bbox
            Pixels to read; must lie within the image.
        planes
            Which planes.

        Returns
        -------
        arrays
            New arrays: image and variance of shape ``(ny, nx)``, mask of shape
            ``(ny, nx, mask_schema.mask_size)``.

        Raises
        ------
        NoCoverageError
            Raised if the box does not lie within the image.
        UnsupportedProductError
            Raised if there is no such plane.
        InputDataError
            Raised if a tile is damaged or missing.
        StoreError
            Raised if the store fails.
        """
        self._check_planes(planes)
        slices = self._slices(bbox)
        layouts = [layout for plane in planes for layout in self._layout.arrays[plane]]
        decoded = iter(self._decode(slices, layouts))
        return MappingProxyType(
            {
                plane: self._finish(plane, [next(decoded) for _ in self._layout.arrays[plane]])
                for plane in planes
            }
        )

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

    def read_boxes(
        self,
        boxes: Sequence[Box],
        *,
        planes: Sequence[str] = PLANES,
        executor: Executor | None = None,
        max_bytes: int = 2**25,
    ) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
        """Read many boxes, each tile once.

        Parameters
        ----------
        boxes
            Pixels to read; each must lie within the image.
        planes
            Which planes.
        executor
            Threads that decode; by default the calling thread does.
        max_bytes
            Decoded pixels that are kept at a time, in bytes; more only where a
            single box needs more.

        Yields
        ------
        number
            Index of a box, by ascending rows.
        arrays
            Its pixels, as from `read_arrays`.

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
        self._check_planes(planes)
        slices = [self._slices(bbox) for bbox in boxes]
        layouts = [layout for plane in planes for layout in self._layout.arrays[plane]]
        for number, arrays in read_box_arrays(
            self._source, layouts, slices, executor=executor, max_bytes=max_bytes
        ):
            parts = iter(arrays)
            yield (
                number,
                MappingProxyType(
                    {
                        plane: self._finish(plane, [next(parts) for _ in self._layout.arrays[plane]])
                        for plane in planes
                    }
                ),
            )

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

    def count_bytes(self, boxes: Sequence[Box], *, planes: Sequence[str] = PLANES) -> int:
        """Count the stored bytes of the tiles that some boxes need, each once.

        Parameters
        ----------
        boxes
            Pixels; each must lie within the image.
        planes
            Which planes.

        Returns
        -------
        n_bytes
            Bytes; nothing is read.

        Raises
        ------
        NoCoverageError
            Raised if a box does not lie within the image.
        UnsupportedProductError
            Raised if there is no such plane.
        InputDataError
            Raised if the file says that a tile is where it cannot be.
        """
        self._check_planes(planes)
        slices = [self._slices(bbox) for bbox in boxes]
        layouts = [layout for plane in planes for layout in self._layout.arrays[plane]]
        ranges = sorted(
            one_range
            for layout in layouts
            for pixels in slices
            for one_range in plan_array(layout, pixels, max_gap=0).ranges
        )
        total = end = 0
        for first, stop in ranges:
            total += max(0, stop - max(first, end))
            end = max(end, stop)
        return total

    def _check_planes(self, planes: Sequence[str]) -> None:
        """Refuse planes that the file has not."""
        missing = [plane for plane in planes if plane not in self._layout.arrays]
        if missing:
            raise UnsupportedProductError(
                f"{self._source.name} is a {self.kind} with planes {self.planes}; {missing} were asked for."
            )

    def _slices(self, bbox: Box) -> PixelSlices:
        """Return a box as rows and columns within the arrays."""
        whole = self.bbox
        if not whole.contains(bbox) or 0 in bbox.shape:
            raise NoCoverageError(
                f"Pixels {bbox} are not all within the image {whole} of {self._source.name}."
            )
        return (
            bbox.y.start - whole.y.start,
            bbox.y.stop - whole.y.start,
            bbox.x.start - whole.x.start,
            bbox.x.stop - whole.x.start,
        )

    def _decode(self, slices: PixelSlices, layouts: Sequence[ArrayLayout]) -> list[NDArray[Any]]:
        """Read and decode part of some arrays."""
        y0, y1, x0, x1 = slices
        arrays: list[NDArray[Any]] = [np.empty((y1 - y0, x1 - x0), layout.dtype) for layout in layouts]
        parts = [
            (part, out)
            for layout, out in zip(layouts, arrays, strict=True)
            for part in split_plan(
                plan_array(layout, slices, max_gap=self._source.max_gap), self._source.batch_bytes
            )
        ]
        # All in one round, where a round takes long.
        batches = [parts] if self._source.is_remote else [[part] for part in parts]
        try:
            for batch in batches:
                data = read_coalesced(self._source, [one for part, _ in batch for one in part.ranges])
                begin = 0
                for part, out in batch:
                    decode_array(part, data[begin : begin + len(part.ranges)], out_pixels=out)
                    begin += len(part.ranges)
        except InputDataError as error:
            raise InputDataError(f"{self._source.name} is damaged: {error}") from error
        return arrays

    def _finish(self, plane: str, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return a plane as it is in memory."""
        return unpack_mask(arrays, self.mask_schema) if plane == "mask" else arrays[0]

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
