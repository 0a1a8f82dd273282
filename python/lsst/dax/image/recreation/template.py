"""The template of a visit: coadds of several patches on the pixels of a detector."""

from __future__ import annotations

__all__ = ("make_template", "merge_templates")

from collections.abc import Sequence

import numpy as np

from lsst.images import Image, Mask, MaskedImage, MaskPlane, MaskSchema

from ..errors import InputDataError, NoCoverageError
from ..geometry import TargetGrid
from ..resampling import resample


def make_template(coadds: Sequence[MaskedImage], grid: TargetGrid, *, threads: int = 1) -> MaskedImage:
    """Bring coadds to the pixels of a science image, and merge them.

    Parameters
    ----------
    coadds
        Coadds of patches, or parts of them, in nJy.
    grid
        Pixels of the science image, with a margin for the matching kernel.
    threads
        Threads to use; the pixels do not depend on it.

    Returns
    -------
    template
        Image, variance and mask on the grid; NaN and NO_DATA where no coadd
        reaches.

    Raises
    ------
    NoCoverageError
        Raised if no coadd reaches the grid.

    Notes
    -----
    Coadds are resampled with the Lanczos kernel of order three, and fluxes are
    kept.  `merge_templates` says how they are put together.
    """
    warps = []
    for coadd in coadds:
        try:
            warps.append(resample(coadd, grid, threads=threads).masked_image)
        except NoCoverageError:
            # The outline of a patch may touch the grid while none of its pixels with data does.
            continue
    if not warps:
        raise NoCoverageError(f"None of {len(coadds)} templates has data on the grid {grid.bbox}.")
    return merge_templates(warps)


def merge_templates(warps: Sequence[MaskedImage]) -> MaskedImage:
    """Merge images on one grid.

    Parameters
    ----------
    warps
        Images with the same pixels.  Not modified.

    Returns
    -------
    merged
        Their mean.  Mask planes are set where one with a value has them.

    Raises
    ------
    InputDataError
        Raised if there is no image, or if the pixels are not the same.

    Notes
    -----
    Weights are the inverse of the standard deviation.  So are those of the
    variance, which is the mean of the variances: images of neighbouring
    patches were made from the same visits, and have the same noise.  As the
    observatory's ``ip_diffim`` does it.
    """
    if not warps:
        raise InputDataError("No image was given to merge.")
    first = warps[0]
    if any(warp.bbox != first.bbox for warp in warps):
        raise InputDataError(f"Images of the pixels {[str(warp.bbox) for warp in warps]} cannot be merged.")
    planes = {plane.name: plane for warp in warps for plane in warp.mask.schema if plane is not None}
    planes.setdefault("NO_DATA", MaskPlane("NO_DATA", "No data was available for this pixel."))
    shape = tuple(first.bbox.shape)
    sum_weight, sum_image, sum_variance = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    found = {name: np.zeros(shape, bool) for name in planes}
    for warp in warps:
        pixels, variance = (plane.array.astype(np.float64) for plane in (warp.image, warp.variance))
        good = np.isfinite(pixels) & np.isfinite(variance) & (variance > 0.0)
        weight = 1.0 / np.sqrt(np.where(good, variance, np.inf))
        sum_weight += weight
        sum_image += weight * np.where(good, pixels, 0.0)
        sum_variance += weight * np.where(good, variance, 0.0)
        for plane in warp.mask.schema:
            if plane is not None:
                found[plane.name] |= warp.mask.get(plane.name) & good
    missing = sum_weight == 0.0
    found["NO_DATA"] |= missing
    weight = np.where(missing, np.nan, sum_weight)
    mask = Mask(0, schema=MaskSchema(list(planes.values())), bbox=first.bbox)
    for name, where in found.items():
        mask.set(name, where)
    return MaskedImage(
        Image((sum_image / weight).astype(np.float32), bbox=first.bbox, unit=first.unit),
        mask=mask,
        variance=Image((sum_variance / weight).astype(np.float32), bbox=first.bbox, unit=first.variance.unit),
        sky_projection=first.sky_projection,
    )
