"""The pixels of one image that belong to one stencil."""

from __future__ import annotations

__all__ = ("EdgePolicy", "PixelStencil")

import enum
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, Mask, SkyProjection

from ..errors import RequestError

if TYPE_CHECKING:
    from .stencils import Stencil


class EdgePolicy(enum.Enum):
    """What becomes of a stencil that reaches past the edge of an image."""

    CLIP = "clip"
    """Keep the part on the image."""

    STRICT = "strict"
    """Refuse it."""

    PAD = "pad"
    """Keep the whole box of the stencil; the part off the image has no data."""


@dataclass(frozen=True)
class PixelStencil:
    """The pixels of one image that belong to one stencil.

    Made by `Stencil.to_pixels`.
    """

    stencil: Stencil
    """The shape that was asked for."""

    bbox: Box
    """Pixels whose areas span the stencil, in 0-based parent pixels."""

    image_bbox: Box
    """Box of the image."""

    is_clipped: bool
    """Whether the stencil reaches past the image, and ``bbox`` does not."""

    _sky_projection: SkyProjection[Any] | None = field(default=None, repr=False)

    @functools.cached_property
    def covered(self) -> NDArray[np.bool_]:
        """Where the pixel centre lies in the stencil, shape ``bbox.shape``.

        Edges belong to the stencil.  The array is read-only.
        """
        covered = self.stencil.cover_box(self._sky_projection, self.bbox)
        covered.flags.writeable = False
        return covered

    def set_mask(self, mask: Mask, plane: str, *, covered: bool = True) -> None:
        """Set a plane of a mask where the stencil covers it, or where not.

        Parameters
        ----------
        mask
            Mask on the pixel grid of the image; any box.  It is modified in
            place: bits are set, none is cleared.
        plane
            Name of a plane that ``mask`` has.
        covered
            True sets the pixels whose centre the stencil covers; False sets
            the others, those beyond ``bbox`` included.

        Raises
        ------
        RequestError
            Raised if the mask has no such plane.
        """
        if plane not in mask.schema.names:
            raise RequestError(f"No mask plane {plane!r}; the mask has {sorted(mask.schema.names)}.")
        inside = np.zeros(mask.bbox.shape, dtype=bool)
        y_start, x_start = (max(a, b) for a, b in zip(mask.bbox.start, self.bbox.start, strict=True))
        y_stop, x_stop = (min(a, b) for a, b in zip(mask.bbox.stop, self.bbox.stop, strict=True))
        if y_start < y_stop and x_start < x_stop:
            overlap = Box.factory[y_start:y_stop, x_start:x_stop]
            inside[overlap.slice_within(mask.bbox)] = self.covered[overlap.slice_within(self.bbox)]
        mask.set(plane, inside if covered else ~inside)
