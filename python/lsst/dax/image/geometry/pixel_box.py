"""Boxes of pixels of the image itself."""

from __future__ import annotations

__all__ = ("PixelBoxStencil",)

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, override

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box, SkyProjection

from ..errors import InvalidRegionError
from .pixel_stencil import EdgePolicy, PixelStencil
from .stencils import Stencil, apply_edge_policy, check_size, overlaps


@dataclass(frozen=True, eq=False, repr=False)
class PixelBoxStencil(Stencil):
    """A box of pixels, in the 0-based parent pixels of the image."""

    kind: ClassVar[str] = "PIXEL_BOX"

    box: Box
    """The pixels to cut; all of them are covered."""

    def __post_init__(self) -> None:
        if not isinstance(self.box, Box):
            raise InvalidRegionError(
                f"A pixel box must be a Box, not {type(self.box).__name__}: {self.box!r}."
            )

    @override
    def __repr__(self) -> str:
        return f"PixelBoxStencil({self.box!r})"

    @override
    def __str__(self) -> str:
        return f"PIXEL_BOX {self.box}"

    @override
    def to_pixels(
        self,
        sky_projection: SkyProjection[Any] | None,
        bbox: Box,
        *,
        edge: EdgePolicy = EdgePolicy.CLIP,
        max_pixels: int | None = None,
    ) -> PixelStencil:
        if bbox.contains(self.box):
            box, is_clipped = self.box, False
        else:
            touched = self.box.intersection(bbox) if overlaps(self.box, bbox) else None
            box, is_clipped = apply_edge_policy(self, self.box, touched, bbox, edge)
        check_size(self, box, max_pixels)
        return PixelStencil(self, box, bbox, is_clipped, sky_projection)

    @override
    def cover_box(self, sky_projection: SkyProjection[Any] | None, bbox: Box) -> NDArray[np.bool_]:
        return self.box.contains(x=bbox.x.arange[np.newaxis, :], y=bbox.y.arange[:, np.newaxis])

    @override
    def _numbers(self) -> NDArray[np.float64]:
        return np.array([self.box.x.min, self.box.x.max, self.box.y.min, self.box.y.max], dtype=np.float64)

    @override
    def _cards(self) -> Mapping[str, tuple[float | int, str]]:
        return {
            "ST_XMIN": (self.box.x.min, "First column, 0-based parent pixel"),
            "ST_XMAX": (self.box.x.max, "Last column, 0-based parent pixel"),
            "ST_YMIN": (self.box.y.min, "First row, 0-based parent pixel"),
            "ST_YMAX": (self.box.y.max, "Last row, 0-based parent pixel"),
        }
