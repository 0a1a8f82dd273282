"""Read parts of the arrays in `lsst.images` FITS files."""

from __future__ import annotations

__all__ = ("PLANES", "ArrayReader")

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from types import MappingProxyType
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, MaskSchema, SkyProjection

from ..errors import InputDataError, NoCoverageError, UnsupportedProductError
from ._ast_rules import check_ast_texts
from ._wcs_cards import note_stored_form
from .array_layout import ArrayLayout
from .bulk import read_box_arrays
from .header import keep_observation
from .layout import ContainerLayout, read_layout
from .mask_planes import unpack_mask
from .sources import ByteSource, read_coalesced
from .tiles import PixelSlices, decode_array, plan_array, split_plan

PLANES = ("image", "mask", "variance")
"""Planes of a masked image."""


class ArrayReader:
    """Reads parts of the image in a FITS file of `lsst.images` as arrays.

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
        projection = self._tree.sky_projection
        if projection is not None:
            array = next(iter(self._layout.arrays.values()))[0]
            note_stored_form(projection, self.bbox, array.header)
        return projection

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
            return keep_observation(astropy.io.fits.Header.fromstring(self._layout.primary))
        except (ValueError, TypeError, astropy.io.fits.VerifyError) as error:
            raise InputDataError(f"{self._source.name} has an unusable primary header: {error}") from error

    def check_ast_objects(self) -> None:
        """Look at all AST objects of the JSON tree before another reader gives them to AST.

        The sky projection is looked at in any case.

        Raises
        ------
        InputDataError
            Raised if one contradicts itself, of which the process may die.
        """
        check_ast_texts(self._layout.json)

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
