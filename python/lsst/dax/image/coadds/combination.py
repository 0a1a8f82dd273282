"""The pixels of many warps become those of one image."""

from __future__ import annotations

__all__ = ("Combined", "MeanAccumulator", "combine_warps", "find_combined_planes")

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsst.images import Box

from .._kernels.stack_code_nb import BIG, LANES
from .._kernels.stack_rows_nb import accumulate_rows, compose_rows
from .._kernels.stack_types_nb import Outputs, Sums
from ..errors import InputDataError, RequestError
from ._stacking import (
    KINDS,
    MARKS,
    find_arrays,
    find_exponent,
    make_inputs,
    make_outputs,
    make_settings,
    stack,
)
from .rules import ClipRules, MaskRules, Statistic
from .warp import Warp

_MAX_WARPS = 65535  # the number of inputs is stored in 16 bits


@dataclass(frozen=True, eq=False)
class Combined:
    """Warps, combined.  Arrays have the shape (rows, columns) but for the last."""

    bbox: Box
    """Pixels."""

    planes: tuple[str, ...]
    """Names of the mask planes: bit ``i`` is the plane ``planes[i]``."""

    image: NDArray[np.float32]
    """Flux per pixel in nJy; NaN where no input is used."""

    variance: NDArray[np.float32]
    """Variance in nJy**2; NaN where no input is used."""

    mask: NDArray[np.uint32]
    """Union of the masks of what is used, and what the combination sets."""

    n_inputs: NDArray[np.uint16]
    """Number of inputs that are averaged, or of those among which one is chosen."""

    weight_sum: NDArray[np.float32]
    """Sum of the weights of these inputs."""

    rejected_fraction: NDArray[np.float32]
    """Share of the weight of the inputs with a value that was left out for a mask or by clipping, 0 to 1."""

    used_fraction: NDArray[np.float64]
    """Share of the pixels in which each warp is used, shape (n warps,)."""


def find_combined_planes(planes: Sequence[str]) -> tuple[str, ...]:
    """Return the mask planes of combined warps.

    Parameters
    ----------
    planes
        Those of the warps.

    Returns
    -------
    planes
        The same, and what a combination sets besides.

    Raises
    ------
    InputDataError
        Raised if there are more than 32.
    """
    found = (*planes, *(name for name in MARKS if name not in planes))
    if len(found) > 32:
        raise InputDataError(
            f"{len(planes)} mask planes and {len(found) - len(planes)} that a coadd adds do not fit "
            "into the 32 bits of a mask."
        )
    return found


def combine_warps(
    warps: Sequence[Warp],
    *,
    statistic: Statistic = Statistic.MEAN,
    clip: ClipRules | None = None,
    masks: MaskRules | None = None,
    threads: int = 1,
) -> Combined:
    """Combine warps pixel by pixel.

    Parameters
    ----------
    warps
        Inputs, of one box and with the same planes, in the order in which they
        are summed.  Not modified, and not copied if they lie in memory as
        NumPy makes them.
    statistic
        The mean, clipped mean, median, minimum or maximum.
    clip
        Rules of the clipped mean; the usual ones if `None`.
    masks
        Rules of masks; the usual ones if `None`.  A plane that the warps do
        not have has no pixels.
    threads
        Number of threads; the result does not depend on it.

    Returns
    -------
    combined
        Image, variance, mask, number of inputs and weights.

    Raises
    ------
    RequestError
        Raised if the statistic is not one of single pixels, or if there are no
        threads.
    InputDataError
        Raised if there are no warps or too many, or if their boxes or planes
        differ.

    Notes
    -----
    An input has a value in a pixel if image and variance are finite, and uses
    it if the mask has none of ``masks.bad_planes`` and not CLIPPED, which marks
    artifacts.  The mask is the union of those of the used inputs, and

    * REJECTED where an input was left out for a bad plane or by clipping, and
      CLIPPED for the latter;
    * SENSOR_EDGE where an input has no value for no such reason: it is NaN
      there, NO_DATA or DETECTION_EDGE.  This is decided pixel by pixel: an
      input that has no value at all has its edge everywhere;
    * INEXACT_PSF where one of these is set, as the PSF is that of all inputs;
    * the planes of ``masks.propagate`` where more than a share of the weight
      was left out with them;
    * NO_DATA where no input is used.

    Every pixel is computed from its own values alone, so that part of a box has
    the bits of the whole.  The first call with a new number of inputs compiles
    code, for some seconds; numbers up to 64 share it in steps of four or eight.

    The clipped mean is that of the LSST Science Pipelines (``afw``, MEANCLIP):
    first what lies within ``n_sigma`` times 0.7413 times the interquartile range
    of the median is kept, then what lies within ``n_sigma`` weighted standard
    deviations of the weighted mean.  The variance of means is
    ``sum(w**2 v) / sum(w)**2``; that of the median is exact for Gaussian values
    of one variance (`find_median_variance_factors`); that of an extreme is that
    of the input which has it.
    """
    masks, clip = masks or MaskRules(), clip or ClipRules()
    if statistic not in KINDS:
        raise RequestError(
            f"{statistic} is not a statistic of single pixels; those are {[each.name for each in KINDS]}."
        )
    if threads < 1:
        raise RequestError(f"The number of threads must be positive, not {threads}.")
    _check_warps(warps)
    bbox, planes = warps[0].bbox, find_combined_planes(warps[0].planes)
    settings = make_settings(planes, masks, statistic, clip, len(warps), bbox)
    exponent = find_exponent(warps[0].weight)
    arrays = [find_arrays(warp) for warp in warps]
    inputs = make_inputs(arrays, [warp.weight for warp in warps], exponent)
    out = make_outputs(bbox)
    used = stack(inputs, settings, out, threads)
    del arrays  # kept until here, as inputs hold nothing but addresses
    return _finish(bbox, planes, out, used, exponent)


class MeanAccumulator:
    """The mean of warps that arrive one by one, in memory that does not grow with their number.

    Parameters
    ----------
    bbox
        Pixels.
    planes
        Mask planes of the warps.
    masks
        Rules of masks; the usual ones if `None`.

    Raises
    ------
    InputDataError
        Raised if there are too many planes.

    Notes
    -----
    `combine_warps` gives the same bits for the same warps in the same order.
    An accumulator takes 40 bytes per pixel, and four for each plane of
    ``masks.propagate``.
    """

    def __init__(self, bbox: Box, planes: Sequence[str], *, masks: MaskRules | None = None) -> None:
        self._bbox, self._planes = bbox, tuple(planes)
        self._combined_planes = find_combined_planes(planes)
        self._settings = make_settings(
            self._combined_planes, masks or MaskRules(), Statistic.MEAN, ClipRules(), 1, bbox
        )
        rows, columns = bbox.shape[0], max(bbox.shape[1], LANES)
        self._sums = Sums(
            np.zeros((4, rows, columns), np.float32),
            np.zeros((4, rows, columns), np.int32),
            np.zeros((self._settings.planes.size, rows, columns), np.float32),
            np.zeros((2, rows, columns), np.float32),
        )
        self._sums.windows[1] = BIG
        self._used: list[int] = []
        self._exponent = 0

    def add(self, warp: Warp) -> None:
        """Add a warp.

        Parameters
        ----------
        warp
            Warp; not kept.

        Raises
        ------
        InputDataError
            Raised if its box or planes are not those of the mean, or if it is
            one too many.
        """
        _check_same(warp, self._bbox, self._planes)
        if len(self._used) == _MAX_WARPS:
            raise InputDataError(f"No more than {_MAX_WARPS} warps are combined.")
        if not self._used:
            self._exponent = find_exponent(warp.weight)
        arrays = find_arrays(warp)
        used = np.zeros(1, np.int64)
        inputs = make_inputs([arrays], [warp.weight], self._exponent)
        accumulate_rows(inputs, self._settings, 0, self._bbox.shape[0], self._sums, used)
        self._used.append(int(used[0]))

    def finish(self) -> Combined:
        """Return the mean of the warps so far.

        Returns
        -------
        combined
            What `combine_warps` returns.

        Raises
        ------
        InputDataError
            Raised if there are none.
        """
        if not self._used:
            raise InputDataError(f"There are no warps to combine on {self._bbox}.")
        out = make_outputs(self._bbox)
        compose_rows(self._settings, 0, self._bbox.shape[0], 0, self._sums, out)
        return _finish(self._bbox, self._combined_planes, out, np.array(self._used), self._exponent)


def _check_warps(warps: Sequence[Warp]) -> None:
    """Refuse warps that cannot be combined."""
    if not 0 < len(warps) <= _MAX_WARPS:
        raise InputDataError(f"Between 1 and {_MAX_WARPS} warps are combined, not {len(warps)}.")
    for warp in warps:
        _check_same(warp, warps[0].bbox, warps[0].planes)


def _check_same(warp: Warp, bbox: Box, planes: tuple[str, ...]) -> None:
    """Refuse a warp of another box or with other planes."""
    if warp.bbox != bbox:
        raise InputDataError(f"{warp.key} has the box {warp.bbox}; it is combined on {bbox}.")
    if warp.planes != planes:
        raise InputDataError(f"{warp.key} has the mask planes {warp.planes}; others have {planes}.")


def _finish(
    bbox: Box, planes: tuple[str, ...], out: Outputs, used: NDArray[np.int64], exponent: int
) -> Combined:
    """Return results of kernels as such."""
    rows, columns = bbox.shape
    image, variance, mask, count, weight, left = (
        array if array.shape == (rows, columns) else array[:, :columns].copy() for array in out
    )
    np.ldexp(weight, exponent, out=weight)
    return Combined(
        bbox=bbox,
        planes=planes,
        image=image,
        variance=variance,
        mask=mask.view(np.uint32),
        n_inputs=count,
        weight_sum=weight,
        rejected_fraction=left,
        used_fraction=used / (rows * columns),
    )
