"""Convolution kernels of the brighter-fatter corrections, from their calibrations."""

from __future__ import annotations

__all__ = ("boundary_kernels", "potential_kernel")

import numpy as np
import numpy.typing as npt

from ...errors import CalibrationMismatchError, InputDataError
from .calibrations import BrighterFatterDistortion, BrighterFatterKernel

type FloatArray = npt.NDArray[np.float64]

_IQR_TO_SIGMA = 0.741301109252802
_CLIP_SIGMA = 5.0
_CLIP_ITERATIONS = 3


def potential_kernel(bfk: BrighterFatterKernel) -> FloatArray:
    """Return the kernel of a detector.

    Parameters
    ----------
    bfk
        Kernel of the detector, or else kernels of its amplifiers.

    Returns
    -------
    kernel
        Kernel [y, x] with odd sides, per electron.

    Raises
    ------
    InputDataError
        Raised if there is no kernel, or if it has even sides or numbers that are not finite.

    Notes
    -----
    Kernels of amplifiers are averaged element by element over all amplifiers
    that have one: the mean within 5 standard deviations, taken three times,
    the first of them about the median with 0.7413 interquartile ranges as
    standard deviation.  Elements that are not finite do not count.
    """
    where = f"Brighter-fatter kernel {bfk.info.source}"
    if bfk.detector_kernel is not None:
        kernel = np.asarray(bfk.detector_kernel, dtype=np.float64)
    elif bfk.amplifier_kernels:
        shapes = {np.shape(kernel) for kernel in bfk.amplifier_kernels.values()}
        if len(shapes) > 1:
            raise InputDataError(f"{where} has amplifiers with different shapes: {sorted(shapes)}.")
        stack = np.array(list(bfk.amplifier_kernels.values()), dtype=np.float64)
        kernel = np.apply_along_axis(_clipped_mean, 0, stack)
    else:
        raise InputDataError(f"{where} has a kernel neither of the detector nor of an amplifier.")
    if kernel.ndim != 2 or any(side % 2 == 0 for side in kernel.shape):
        raise InputDataError(f"{where} has the shape {kernel.shape}; two odd sides are needed.")
    if n_bad := int(np.count_nonzero(~np.isfinite(kernel))):
        raise InputDataError(f"{where} has {n_bad} of {kernel.size} elements that are not finite.")
    return kernel


def _clipped_mean(values: FloatArray) -> float:
    """Return the clipped mean of a few values, NaN if none is finite."""
    values = values[np.isfinite(values)]
    if values.size < 2:
        return float(values[0]) if values.size else np.nan
    low, center, high = np.percentile(values, [25, 50, 75])
    limit = _CLIP_SIGMA * _IQR_TO_SIGMA * (high - low)
    for _ in range(_CLIP_ITERATIONS):
        kept = values[np.abs(values - center) <= limit]
        # The difference from the centre: equal values have exactly their mean.
        center = center + np.mean(kept - center)
        limit = _CLIP_SIGMA * np.std(kept, ddof=1) if kept.size > 1 else 0.0
    return float(center)


def boundary_kernels(
    electro_bf: BrighterFatterDistortion, *, physical_filter: str | None
) -> tuple[FloatArray, FloatArray]:
    """Return the kernels of the shifts of the upper and the right boundary.

    Parameters
    ----------
    electro_bf
        Shifts in pixels per electron.
    physical_filter
        Filter whose own shifts to take; `None` for those of all filters.

    Returns
    -------
    north, east
        Kernels [y, x] with sides of ``2 * n - 1``, a quarter of the shifts.

    Raises
    ------
    CalibrationMismatchError
        Raised if there are no shifts of this filter.
    InputDataError
        Raised if the matrices are not square and alike, smaller than 2 or not finite.

    Notes
    -----
    The four matrices are for charge at the origin and a pixel in the quadrant
    of positive distances, and count shifts outward from that pixel.  The upper
    boundary of a pixel below the charge is the mirror image of the lower one of
    a pixel above: hence ``south``, and ``west`` likewise.  Shared axes belong
    to the quadrant that is filled last, which gives ``south`` and ``west`` the
    pixels at distance 0.  The outermost row (column) is then the opposite of
    that across, so that a uniform image shifts nothing.
    One factor 1/2 is that charge gathers while it deflects, the other is that
    of the mean of two pixels at their boundary (Guyonnet et al. 2015).
    """
    where = f"Brighter-fatter shifts {electro_bf.info.source}"
    matrices = (electro_bf.north, electro_bf.south, electro_bf.east, electro_bf.west)
    if physical_filter is not None:
        if physical_filter not in electro_bf.by_filter:
            filters = sorted(electro_bf.by_filter)
            raise CalibrationMismatchError(f"{where} are of the filters {filters}, not {physical_filter!r}.")
        matrices = electro_bf.by_filter[physical_filter]
    north, south, east, west = (np.asarray(matrix, dtype=np.float64) for matrix in matrices)
    n = north.shape[0] if north.ndim == 2 else 0
    if n < 2 or {matrix.shape for matrix in (north, south, east, west)} != {(n, n)}:
        shapes = [matrix.shape for matrix in (north, south, east, west)]
        raise InputDataError(f"{where} have the shapes {shapes}; they must be square, alike and 2 or more.")
    if not all(np.isfinite(matrix).all() for matrix in (north, south, east, west)):
        raise InputDataError(f"{where} are not all finite.")
    kernel_north = _fill_quadrants(north, north, south, south)
    kernel_east = _fill_quadrants(east, west, east, west)
    kernel_north[:, 0] = -kernel_north[:, -1]
    kernel_east[0, :] = -kernel_east[-1, :]
    # Matrices are [serial, parallel], images [y, x].
    return np.ascontiguousarray(0.25 * kernel_north.T), np.ascontiguousarray(0.25 * kernel_east.T)


def _fill_quadrants(
    both: FloatArray, parallel: FloatArray, serial: FloatArray, none: FloatArray
) -> FloatArray:
    """Return the matrix of all quadrants from those whose positive axes are both, one, or none."""
    r = both.shape[0] - 1
    kernel = np.zeros((2 * r + 1, 2 * r + 1))
    kernel[r:, r:] = both
    kernel[: r + 1, r:] = parallel[::-1, :]
    kernel[r:, : r + 1] = serial[:, ::-1]
    kernel[: r + 1, : r + 1] = none[::-1, ::-1]
    return kernel
