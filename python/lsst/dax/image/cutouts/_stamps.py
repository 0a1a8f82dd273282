"""Stamps: square cutouts of one size around many positions."""

from __future__ import annotations

__all__ = ("Stamp", "StampKey", "make_stamps")

import dataclasses
import math
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time
from numpy.typing import NDArray

from lsst.images import Box, GeneralizedImage, Image, Mask, MaskedImage, NoOverlapError

from ..errors import RequestError, UnsupportedProductError
from ..flags import FLAGS, describe_flags, flag_names
from ..geometry import locate_positions, propagate_positions
from ._detail import Detail, keep_detail
from ._padding import paste_into

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetRef

_NO_PIXELS = FLAGS["BAD_POSITION"].value | FLAGS["NO_COVERAGE"].value | FLAGS["READ_FAILED"].value


@dataclasses.dataclass(frozen=True)
class StampKey:
    """What tells one stamp of a request from all others."""

    dataset: str
    """UUID of the dataset in hexadecimal; empty for an image in memory."""

    index: int
    """Index of the position in the request, from 0."""


@dataclasses.dataclass(frozen=True)
class Stamp:
    """The pixels around one position in one image, or why there are none."""

    index: int
    """Index of the position in the request, from 0."""

    ra: float
    """ICRS right ascension of the target at the time of the image, in degrees."""

    dec: float
    """ICRS declination of the target at the time of the image, in degrees."""

    x: float
    """Column of the target in 0-based parent pixels, centres at integers."""

    y: float
    """Row of the target in 0-based parent pixels, centres at integers."""

    bbox: Box | None
    """Box of the stamp; `None` where the target has no pixel position."""

    image: Image | Mask | MaskedImage | None = dataclasses.field(default=None, repr=False)
    """The pixels, all of ``bbox``; `None` where ``flags`` says why."""

    psf: Image | None = dataclasses.field(default=None, repr=False)
    """Point spread function at the target, where it was asked for: the kernel,
    centred on the centre of its central pixel, of sum 1."""

    flags: int = 0
    """Flag word; see `lsst.dax.image.flags`.  ``EDGE`` alone means that part
    of the stamp is padded."""

    message: str = ""
    """Why there are no pixels."""

    ref: DatasetRef | None = dataclasses.field(default=None, repr=False)
    """Dataset that was cut; `None` for an image in memory."""

    time: Time | None = None
    """Middle of the exposure; `None` for an image without a time."""

    @property
    def position(self) -> SkyCoord:
        """ICRS position of the target at the time of the image."""
        return SkyCoord(self.ra, self.dec, unit=u.deg, frame="icrs")

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
    moved = move_positions(positions, epoch=epoch, time=time)
    x, y = locate_positions(image.sky_projection, moved, bbox=image.bbox)
    planned = plan_stamps(moved, x=x, y=y, image_bbox=image.bbox, size=size, time=time)
    return [
        fill_stamp(stamp, keep_detail(image[available], detail))
        if (available := find_available(stamp, image.bbox))
        else stamp
        for stamp in planned
    ]


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


def plan_stamps(
    positions: SkyCoord,
    *,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    image_bbox: Box,
    size: int,
    time: Time | None = None,
    ref: DatasetRef | None = None,
) -> list[Stamp]:
    """Say which pixels each stamp has, without any pixel.

    Parameters
    ----------
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
        One per position, with its box and, where there will be no pixels, the
        flag that says why.

    Raises
    ------
    RequestError
        Raised if the size is not positive.
    """
    if size < 1:
        raise RequestError(f"The size of a stamp must be at least 1 pixel; got {size}.")
    stamps = []
    columns = (positions.ra.deg.tolist(), positions.dec.deg.tolist(), x.tolist(), y.tolist())
    for index, (ra, dec, x_i, y_i) in enumerate(zip(*columns, strict=True)):
        if math.isfinite(x_i) and math.isfinite(y_i):
            bbox = _stamp_box(x_i, y_i, size)
            flags = _coverage_flags(bbox, image_bbox)
        else:
            bbox, flags = None, FLAGS["BAD_POSITION"].value
        message = describe_flags(flags) if flags & _NO_PIXELS else ""
        stamps.append(Stamp(index, ra, dec, x_i, y_i, bbox, flags=flags, message=message, ref=ref, time=time))
    return stamps


def find_available(stamp: Stamp, image_bbox: Box) -> Box | None:
    """Return the pixels of a planned stamp that the image has.

    Parameters
    ----------
    stamp
        Stamp without pixels.
    image_bbox
        Pixels of the image.

    Returns
    -------
    available
        Box to read; `None` if the stamp will have no pixels.
    """
    if stamp.bbox is None or stamp.flags & _NO_PIXELS:
        return None
    return stamp.bbox.intersection(image_bbox)


def fill_stamp(
    stamp: Stamp, pixels: Image | Mask | MaskedImage, *, psf: Image | None = None, flags: int = 0
) -> Stamp:
    """Return a planned stamp with its pixels.

    Parameters
    ----------
    stamp
        Stamp without pixels.
    pixels
        Those of its pixels that the image has; padded here.
    psf
        Point spread function at the target.
    flags
        Flags to set beside those of the plan.

    Returns
    -------
    filled
        Stamp with all pixels of its box.
    """
    if stamp.bbox is not None and pixels.bbox != stamp.bbox:
        pixels = paste_into(pixels, stamp.bbox)
    return dataclasses.replace(stamp, image=pixels, psf=psf, flags=stamp.flags | flags)


def fail_stamp(stamp: Stamp, message: str) -> Stamp:
    """Return a planned stamp whose pixels could not be read.

    Parameters
    ----------
    stamp
        Stamp without pixels.
    message
        Why.

    Returns
    -------
    failed
        Stamp with the flag ``READ_FAILED``.
    """
    return dataclasses.replace(stamp, flags=FLAGS["READ_FAILED"].value, message=message)


def _coverage_flags(bbox: Box, image_bbox: Box) -> int:
    """Return the flags of a box that lies partly or wholly off the image."""
    if image_bbox.contains(bbox):
        return 0
    try:
        bbox.intersection(image_bbox)
    except NoOverlapError:
        return FLAGS["NO_COVERAGE"].value
    return FLAGS["EDGE"].value


def _stamp_box(x: float, y: float, size: int) -> Box:
    """Return the box of ``size`` pixels whose centre is nearest to a point."""
    x0 = math.floor(x - (size - 1) / 2 + 0.5)
    y0 = math.floor(y - (size - 1) / 2 + 0.5)
    return Box.from_shape((size, size), start=(y0, x0))
