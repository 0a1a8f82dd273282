"""Stamps: square cutouts of one size around many positions."""

from __future__ import annotations

__all__ = ("Stamp", "make_stamps")

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time

from lsst.images import Box, GeneralizedImage, NoOverlapError

from ..errors import DaxImageError, RequestError, UnsupportedProductError
from ..flags import FLAGS, describe_flags, flag_names
from ..geometry import locate_positions, propagate_positions
from ._detail import Detail, keep_detail
from ._padding import paste_into

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lsst.daf.butler import DatasetRef


@dataclasses.dataclass(frozen=True)
class Stamp:
    """The pixels around one position in one image, or why there are none."""

    index: int
    """Index of the position in the request, from 0."""

    position: SkyCoord
    """ICRS position of the target at the time of the image."""

    x: float
    """Column of the target in 0-based parent pixels, centres at integers."""

    y: float
    """Row of the target in 0-based parent pixels, centres at integers."""

    bbox: Box | None
    """Box of the stamp; `None` where the target has no pixel position."""

    image: GeneralizedImage | None = dataclasses.field(repr=False)
    """The pixels, all of ``bbox``; `None` where ``flags`` says why."""

    flags: int = 0
    """Flag word; see `lsst.dax.image.flags`.  ``EDGE`` alone means that part
    of the stamp is padded."""

    message: str = ""
    """Detail of a failed read."""

    ref: DatasetRef | None = dataclasses.field(default=None, repr=False)
    """Dataset that was cut; `None` for an image in memory."""

    time: Time | None = None
    """Middle of the exposure; `None` for an image without a time."""

    @property
    def is_good(self) -> bool:
        """Whether the stamp has pixels."""
        return self.image is not None

    @property
    def status(self) -> str:
        """Flag names joined by commas, or ``OK``."""
        return ",".join(flag_names(self.flags)) or "OK"


def make_stamps(
    image: GeneralizedImage,
    positions: SkyCoord,
    *,
    size: int = 51,
    detail: Detail = Detail.MASKED_IMAGE,
    epoch: Time | None = None,
    time: Time | None = None,
) -> list[Stamp]:
    """Cut one stamp per position out of an image in memory.

    Parameters
    ----------
    image
        Any `lsst.images` image with a sky projection.  Not modified.
    positions
        Positions, in any frame; one-dimensional, or a single one.  They may
        carry proper motions.
    size
        Width and height of a stamp in pixels.  The target lies within half a
        pixel of the stamp's centre: in the central pixel for odd sizes, next
        to the central corner for even ones.
    detail
        What to keep of the image.
    epoch
        Time at which the positions hold; the positions' own ``obstime`` if
        `None`.
    time
        Time of the image, to which the positions are moved.

    Returns
    -------
    stamps
        One per position, in their order.  A target that cannot be cut has a
        flag and no pixels; it never ends the batch.  Where part of a stamp
        lies off the image, its pixels are NaN, the mask plane ``NO_DATA`` is
        set and so is the flag ``EDGE``.

    Raises
    ------
    RequestError
        Raised if the size is not positive, or if positions have proper
        motions and a time is missing.
    UnsupportedProductError
        Raised if the image has no sky projection.
    """
    if image.sky_projection is None:
        raise UnsupportedProductError(f"A {type(image).__name__} without a sky projection has no positions.")

    def read(box: Box) -> GeneralizedImage:
        return keep_detail(image[box], detail)

    moved = move_positions(positions, epoch=epoch, time=time)
    x, y = locate_positions(image.sky_projection, moved, bbox=image.bbox)
    return cut_stamps(read, moved, x=x, y=y, image_bbox=image.bbox, size=size, time=time)


def move_positions(positions: SkyCoord, *, epoch: Time | None, time: Time | None) -> SkyCoord:
    """Return positions at the time of an image, as a one-dimensional array.

    Parameters
    ----------
    positions
        Positions, one or many.
    epoch
        Time at which they hold; their own ``obstime`` if `None`.
    time
        Time of the image.

    Returns
    -------
    moved
        ICRS positions without proper motions.

    Raises
    ------
    RequestError
        Raised if positions have proper motions and a time is missing.
    """
    if positions.ndim > 1:
        raise RequestError(f"Positions must be one-dimensional; got shape {positions.shape}.")
    return propagate_positions(positions.reshape(-1), epoch=epoch, time=time)


def cut_stamps(
    read: Callable[[Box], GeneralizedImage],
    positions: SkyCoord,
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    image_bbox: Box,
    size: int,
    time: Time | None = None,
    ref: DatasetRef | None = None,
) -> list[Stamp]:
    """Cut stamps at pixel positions with a function that reads a box.

    Parameters
    ----------
    read
        Function that returns the pixels of a box within ``image_bbox``.
    positions
        ICRS positions, shape ``(n,)``.
    x, y
        0-based parent pixel positions, shape ``(n,)``; NaN where there is
        none.
    image_bbox
        Pixels of the image.
    size
        Width and height of a stamp in pixels.
    time, ref
        Recorded in the stamps.

    Returns
    -------
    stamps
        One per position.

    Raises
    ------
    RequestError
        Raised if the size is not positive.
    """
    if size < 1:
        raise RequestError(f"The size of a stamp must be at least 1 pixel; got {size}.")
    stamps = []
    for index, (x_i, y_i) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        blank = Stamp(index, positions[index], x_i, y_i, None, None, time=time, ref=ref)
        stamps.append(_cut_stamp(blank, read, image_bbox, size))
    return stamps


def _cut_stamp(blank: Stamp, read: Callable[[Box], GeneralizedImage], image_bbox: Box, size: int) -> Stamp:
    """Fill in the pixels of one stamp, or the flag that says why not."""
    if not (math.isfinite(blank.x) and math.isfinite(blank.y)):
        return _flagged(blank, "BAD_POSITION")
    bbox = _stamp_box(blank.x, blank.y, size)
    blank = dataclasses.replace(blank, bbox=bbox)
    try:
        available = bbox.intersection(image_bbox)
    except NoOverlapError:
        return _flagged(blank, "NO_COVERAGE")
    try:
        pixels = read(available)
    except DaxImageError as error:
        return _flagged(blank, "READ_FAILED", str(error))
    if available == bbox:
        return dataclasses.replace(blank, image=pixels)
    return dataclasses.replace(blank, image=paste_into(pixels, bbox), flags=FLAGS["EDGE"].value)


def _flagged(stamp: Stamp, flag: str, message: str = "") -> Stamp:
    """Return a stamp without pixels that says why."""
    value = FLAGS[flag].value
    return dataclasses.replace(stamp, flags=value, message=message or describe_flags(value))


def _stamp_box(x: float, y: float, size: int) -> Box:
    """Return the box of ``size`` pixels whose centre is nearest to a point."""
    x0 = math.floor(x - (size - 1) / 2 + 0.5)
    y0 = math.floor(y - (size - 1) / 2 + 0.5)
    return Box.from_shape((size, size), start=(y0, x0))
