"""The PSF of a mosaic."""

from __future__ import annotations

__all__ = ("MosaicPsf", "make_mosaic_psf")

import math
from collections.abc import Callable, Sequence
from typing import override

import numpy as np

from lsst.images import YX, Box, Image, MaskedImage
from lsst.images.psfs import PointSpreadFunction

from ..errors import NoCoverageError, RequestError, UnsupportedProductError
from ..geometry import TargetGrid
from ..resampling import ResampledPsf
from ._compute import compute_block
from ._mapping import find_shift, map_pixels
from ._mosaic import Mosaic, make_plan, with_table_backgrounds
from ._plan import Plan
from ._planes import move_box
from .rules import Combine, MosaicRules, has_psf

_REACH = 5


class MosaicPsf(PointSpreadFunction):
    """The PSF of a mosaic: those of its inputs, with the shares that they have in a pixel.

    `make_mosaic_psf` and `fetch_mosaic_psf` make it.

    Parameters
    ----------
    plan
        What the mosaic is made of.
    psfs
        PSF of each image.
    read
        Returns at least those pixels of an image that are in a box.

    Notes
    -----
    An input on the pixels of the mosaic has its own PSF; that of any other is
    moved through the kernel of the mosaic.  The shares are means over the
    11 by 11 pixels around a position: resampling makes a pattern in variances,
    and so in weights, which a source averages.  Where a seam crosses them, both
    sides have their part.
    """

    def __init__(
        self,
        plan: Plan,
        psfs: Sequence[PointSpreadFunction],
        read: Callable[[int, Box], Image | MaskedImage],
    ) -> None:
        check_has_psf(plan.rules)
        if len(psfs) != len(plan.sources):
            raise RequestError(f"A mosaic of {len(plan.sources)} images needs as many PSFs, not {len(psfs)}.")
        self._plan = plan
        self._read = read
        near = plan.find_near(plan.grid.bbox)
        self._inputs = {index: _Input.from_source(plan, index, psfs[index]) for index in near}
        # All images have one size, wherever they are.
        boxes = [each.kernel_bbox for each in self._inputs.values()]
        half = max(max(-box.y.start, -box.x.start) for box in boxes)
        self._kernel_bbox = Box.factory[-half : half + 1, -half : half + 1]

    @property
    @override
    def bounds(self) -> Box:
        return self._plan.grid.bbox

    @property
    @override
    def kernel_bbox(self) -> Box:
        return self._kernel_bbox

    def find_shares(self, *, x: float, y: float) -> dict[int, float]:
        """Return the shares of the inputs in the pixels around a position.

        Parameters
        ----------
        x, y
            Position in the mosaic.

        Returns
        -------
        shares
            Numbers of the inputs, and what each gives; together one.

        Raises
        ------
        NoCoverageError
            Raised if the position is off the mosaic, or no input counts there.
        """
        grid = self._plan.grid.bbox
        column, row = math.floor(x + 0.5), math.floor(y + 0.5)
        if not grid.contains(x=column, y=row):
            raise NoCoverageError(f"The position ({x}, {y}) is off the mosaic of pixels {grid}.")
        around = Box.factory[row - _REACH : row + _REACH + 1, column - _REACH : column + _REACH + 1]
        box = around.intersection(grid)
        needs = self._plan.find_needs([box])
        pixels = {index: self._read(index, own) for index, own in needs.items()}
        planes, coverage = self._plan.form.allocate(box), np.empty(tuple(box.shape), np.uint16)
        tallies = compute_block(self._plan, box, pixels, planes, coverage)
        total = math.fsum(tally.weight for tally in tallies)
        if not total > 0.0:
            raise NoCoverageError(f"No image counts in the pixels {box} of the mosaic, around ({x}, {y}).")
        return {tally.index: tally.weight / total for tally in tallies}

    @override
    def compute_kernel_image(self, *, x: float, y: float) -> Image:
        return self._add(self._kernel_bbox, x, y, is_kernel=True)

    @override
    def compute_stellar_image(self, *, x: float, y: float) -> Image:
        return self._add(self.compute_stellar_bbox(x=x, y=y), x, y, is_kernel=False)

    @override
    def compute_stellar_bbox(self, *, x: float, y: float) -> Box:
        return move_box(self._kernel_bbox, YX(y=math.floor(y + 0.5), x=math.floor(x + 0.5)))

    def _add(self, bbox: Box, x: float, y: float, *, is_kernel: bool) -> Image:
        """Add the PSFs at a position with their shares."""
        image = Image(0.0, bbox=bbox, dtype=np.float64)
        for index, share in self.find_shares(x=x, y=y).items():
            part = self._inputs[index].compute(x, y, is_kernel=is_kernel)
            both = bbox.intersection(part.bbox)
            pixels = part[both].array.astype(np.float64)
            image[both].array[...] += share / pixels.sum() * pixels
        return image


class _Input:
    """The PSF of one input, in the pixels of the mosaic."""

    def __init__(self, psf: PointSpreadFunction, shift: YX[int]) -> None:
        self._psf = psf
        self._shift = shift

    @classmethod
    def from_source(cls, plan: Plan, index: int, psf: PointSpreadFunction) -> _Input:
        """Return the PSF of an input, which is resampled if its pixels are."""
        source, grid = plan.sources[index], plan.grid
        shift = find_shift(source.sky_projection, source.bbox, grid.sky_projection)
        if shift is not None:
            return cls(psf, shift)
        center = np.array([[source.bbox.x.center], [source.bbox.y.center]])
        found = map_pixels(source.sky_projection, grid.sky_projection, *center)
        x, y = (math.floor(value) for value in np.nan_to_num(found[:, 0]).tolist())
        # The size of its images is that in the middle of the input.
        near = TargetGrid(grid.sky_projection, Box.factory[y : y + 1, x : x + 1])
        moved = ResampledPsf(
            psf, source_projection=source.sky_projection, grid=near, kernel=plan.rules.kernel
        )
        return cls(moved, YX(y=0, x=0))

    @property
    def kernel_bbox(self) -> Box:
        """Box of its images."""
        return self._psf.kernel_bbox

    def compute(self, x: float, y: float, *, is_kernel: bool) -> Image:
        """Return the PSF at a position in the mosaic."""
        own_x, own_y = x - self._shift.x, y - self._shift.y
        if not self._psf.bounds.contains(x=own_x, y=own_y) and not isinstance(self._psf, ResampledPsf):
            raise NoCoverageError(
                f"The position ({x}, {y}) of the mosaic is at ({own_x}, {own_y}) in an image, outside of the "
                f"bounds {self._psf.bounds} of its PSF."
            )
        if is_kernel:
            return self._psf.compute_kernel_image(x=own_x, y=own_y)
        image = self._psf.compute_stellar_image(x=own_x, y=own_y)
        return Image(image.array, bbox=move_box(image.bbox, self._shift))


def make_mosaic_psf(
    mosaic: Mosaic,
    images: Sequence[Image | MaskedImage],
    psfs: Sequence[PointSpreadFunction],
) -> MosaicPsf:
    """Return the PSF of a mosaic of images in memory.

    Parameters
    ----------
    mosaic
        What `make_mosaic` returned for the images.
    images
        The images, in their order.
    psfs
        PSF of each image, in the image's own pixels.

    Returns
    -------
    psf
        PSF in the pixels of the mosaic.

    Raises
    ------
    UnsupportedProductError
        Raised if the mosaic has none: medians, smallest and largest values
        depend on brightness, and so would their PSF.
    RequestError
        Raised if there are more or less PSFs or images than the mosaic has inputs.
    """
    images = list(images)
    check_has_psf(mosaic.rules)
    if len(images) != len(mosaic.inputs):
        raise RequestError(f"The mosaic has {len(mosaic.inputs)} inputs; {len(images)} images are given.")
    plan = with_table_backgrounds(make_plan(images, mosaic.grid, mosaic.rules), mosaic.inputs)
    return MosaicPsf(plan, psfs, lambda index, _: images[index])


def check_has_psf(rules: MosaicRules) -> None:
    """Refuse rules whose result has no PSF.

    Parameters
    ----------
    rules
        How images become one.

    Raises
    ------
    UnsupportedProductError
        Raised if so.
    """
    if not has_psf(rules):
        raise UnsupportedProductError(
            f"A mosaic by {rules.combine} has no PSF: it depends on the brightness of a source.  Means and "
            f"{Combine.FIRST} and {Combine.LAST} have one."
        )
