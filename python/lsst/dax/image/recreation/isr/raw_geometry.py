"""Where the amplifiers of a raw go in the untrimmed image of their detector."""

from __future__ import annotations

__all__ = ("PlacedAmplifier", "find_readout_corner", "place_amplifier")

from dataclasses import dataclass

from lsst.images import YX, Box
from lsst.images.cameras import Amplifier, AmplifierRawGeometry, ReadoutCorner

from ...errors import InputDataError


@dataclass(frozen=True)
class PlacedAmplifier:
    """An amplifier of a raw file of a known size, with its place among the others."""

    amplifier: Amplifier
    """Amplifier whose `assembled_raw_geometry` is that of the file."""
    geometry: AmplifierRawGeometry
    """That geometry."""
    flips: YX[bool]
    """Which axes of the file's pixels are reversed."""


def place_amplifier(amplifier: Amplifier, *, shape: tuple[int, int]) -> PlacedAmplifier:
    """Find the place of an amplifier's pixels in the untrimmed detector.

    Parameters
    ----------
    amplifier
        Amplifier with raw geometry, for assembled or single-amplifier raws.
    shape
        Rows and columns of its pixels in the file.

    Returns
    -------
    placed
        The amplifier in a detector all of whose amplifiers have this shape.

    Raises
    ------
    InputDataError
        Raised if the amplifier has no raw geometry, or one that does not fit.

    Notes
    -----
    A file may be read out with more or fewer overscan pixels than the geometry says.  Then the
    serial overscan extends from where it begins to the last column, the parallel overscan from
    where it begins to the last row, and the amplifier keeps its tile: the offset is the tile's index
    times the size in the file.

    Geometry of assembled raws does not say how the file's pixels were flipped; as in all files of
    the observatory, the pixel that is read first is the first of its HDU.
    """
    geometry, corner, flips, offset = _raw_frame(amplifier)
    to_corner = corner.as_flips()
    assembled_corner = corner.apply_flips(y=flips.y, x=flips.x)
    size_y, size_x = geometry.bbox.shape
    height, width = shape
    tile_y = _new_offset(amplifier, offset.y, old=size_y, new=height)
    tile_x = _new_offset(amplifier, offset.x, old=size_x, new=width)

    def place(box: Box, *, to_right: bool = False, to_top: bool = False) -> Box:
        """Return a box in the assembled raw, grown to the end of the readout if asked."""
        left, bottom = box.x.start - geometry.bbox.x.start, box.y.start - geometry.bbox.y.start
        n_x, n_y = box.x.size, box.y.size
        left = size_x - left - n_x if to_corner.x else left
        bottom = size_y - bottom - n_y if to_corner.y else bottom
        if to_right and width != size_x:
            n_x = width - left
        if to_top and height != size_y:
            n_y = height - bottom
        if min(n_x, n_y) < 1 or left + n_x > width or bottom + n_y > height:
            raise InputDataError(
                f"Amplifier {amplifier.name} has {height} rows and {width} columns in the file; box {box} of "
                f"its geometry of {size_y} rows and {size_x} columns does not fit."
            )
        turned = assembled_corner.as_flips()
        x0 = tile_x + (width - left - n_x if turned.x else left)
        y0 = tile_y + (height - bottom - n_y if turned.y else bottom)
        return Box.factory[y0 : y0 + n_y, x0 : x0 + n_x]

    placed = AmplifierRawGeometry(
        bbox=Box.factory[tile_y : tile_y + height, tile_x : tile_x + width],
        data_bbox=place(geometry.data_bbox),
        serial_overscan_bbox=place(geometry.serial_overscan_bbox, to_right=True),
        parallel_overscan_bbox=place(geometry.parallel_overscan_bbox, to_top=True),
        prescan_bbox=None if geometry.prescan_bbox is None else place(geometry.prescan_bbox),
        readout_corner=assembled_corner,
    )
    return PlacedAmplifier(
        amplifier.model_copy(update={"assembled_raw_geometry": placed}), placed, YX(y=flips.y, x=flips.x)
    )


def find_readout_corner(geometry: AmplifierRawGeometry) -> ReadoutCorner:
    """Find the corner of readout from where the overscans are.

    Parameters
    ----------
    geometry
        Boxes of an amplifier in any frame.

    Returns
    -------
    corner
        The corner opposite of both overscans.  Some files of camera geometry name the corner of
        another frame; the boxes do not lie.
    """
    return ReadoutCorner.from_flips(
        y=geometry.parallel_overscan_bbox.y.start < geometry.data_bbox.y.start,
        x=geometry.serial_overscan_bbox.x.start < geometry.data_bbox.x.start,
    )


def _raw_frame(
    amplifier: Amplifier,
) -> tuple[AmplifierRawGeometry, ReadoutCorner, YX[bool], YX[int]]:
    """Return boxes, the corner of the file's pixels, their flips, and the first pixel of the tile."""
    if (geometry := amplifier.assembled_raw_geometry) is not None:
        # The boxes are flipped already; the file's pixels are not.
        flips = geometry.readout_corner.as_flips()
        offset = YX(y=geometry.bbox.y.start, x=geometry.bbox.x.start)
        local = geometry.model_copy(
            update={
                name: None if (box := getattr(geometry, name)) is None else _flip(box, geometry.bbox, flips)
                for name in _BOXES
            }
        )
        return local, ReadoutCorner.LL, flips, offset
    if (geometry := amplifier.unassembled_raw_geometry) is not None:
        flips = YX(y=geometry.flip_y, x=geometry.flip_x)
        offset = YX(y=geometry.y_offset, x=geometry.x_offset)
        return geometry, geometry.readout_corner, flips, offset
    raise InputDataError(f"Amplifier {amplifier.name} has no raw geometry.")


def _flip(box: Box, within: Box, flips: YX[bool]) -> Box:
    """Return a box reflected within another."""
    x0 = within.x.start + within.x.stop - box.x.stop if flips.x else box.x.start
    y0 = within.y.start + within.y.stop - box.y.stop if flips.y else box.y.start
    return Box.factory[y0 : y0 + box.y.size, x0 : x0 + box.x.size]


def _new_offset(amplifier: Amplifier, offset: int, *, old: int, new: int) -> int:
    """Return the first pixel of a tile among tiles of the file's size."""
    if offset < 0 or (old != new and offset % old):
        raise InputDataError(
            f"Amplifier {amplifier.name} begins at pixel {offset} of the assembled raw, which no tile of "
            f"{old} pixels does; the file has {new}."
        )
    return offset if old == new else offset // old * new


_BOXES = ("data_bbox", "serial_overscan_bbox", "parallel_overscan_bbox", "prescan_bbox")
