"""Growth of mask planes."""

from __future__ import annotations

__all__ = ("as_words", "grow_planes")

import numpy as np
import numpy.typing as npt

from ...errors import RequestError
from .exposure import IsrPlane

type MaskBits = npt.NDArray[np.uint16]


def grow_planes(mask: MaskBits, planes: IsrPlane, *, radius: int) -> MaskBits:
    """Return a mask in which some planes are dilated by a diamond.

    Parameters
    ----------
    mask
        Bits of `IsrPlane`, shape ``(ny, nx)``; not modified.
    planes
        The planes to grow; each grows by itself, the others stay.
    radius
        Largest Manhattan distance ``|dx| + |dy|``, in pixels, at which a pixel takes the bit of another.

    Returns
    -------
    grown
        New mask.

    Raises
    ------
    RequestError
        Raised if ``radius`` is negative.

    Notes
    -----
    The cost is one pass over the mask, and ``2 * radius + 1`` row segments per run of set pixels.
    """
    if radius < 0:
        raise RequestError(f"A mask plane grows by 0 pixels or more, not by {radius}.")
    from ..._kernels.isr_growth_nb import grow_bits  # noqa: PLC0415 (importing the package imports no numba)

    grown = np.array(mask, dtype=np.uint16, order="C")
    if radius > 0:
        flat = np.ascontiguousarray(mask, dtype=np.uint16).ravel()
        grow_bits(flat, as_words(flat), int(planes), radius, grown)
    return grown


def as_words(flat: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint64]:
    """Return a flat mask as words of 4 pixels, for the kernels that search it.

    Parameters
    ----------
    flat
        Contiguous mask of shape ``(n,)``.

    Returns
    -------
    words
        The same memory, shape ``(n // 4,)``; up to 3 pixels at the end are in none.
    """
    return flat[: flat.size // 4 * 4].view(np.uint64)
