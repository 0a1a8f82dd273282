"""Which values of the inputs of a clipped mean are in it."""

from __future__ import annotations

__all__ = ("mark_clipped",)

import dataclasses
from collections.abc import Sequence

import numpy as np

from .artifacts import mark_artifacts
from .combination import combine_warps
from .rules import ClipRules, MaskRules, Statistic
from .warp import Warp

_GROUP = 24  # bits of a mask, with those that a combination sets besides


def mark_clipped(warps: Sequence[Warp], *, clip: ClipRules, masks: MaskRules) -> list[Warp]:
    """Set CLIPPED where a clipped mean leaves out the value of an input.

    Parameters
    ----------
    warps
        Inputs of one box and with the same planes.  Not modified.
    clip, masks
        Rules of the clipped mean.

    Returns
    -------
    marked
        The inputs; their plain mean is of the values that the clipped one is of.

    Notes
    -----
    The mask of a mean is the union of those of the values in it.  So each
    input gets a bit of its own, and the mean is made for every few of them.
    """
    bad = np.uint32(
        sum(1 << i for i, name in enumerate(warps[0].planes) if name in {*masks.bad_planes, "CLIPPED"})
    )
    has_value = [
        np.isfinite(warp.image) & np.isfinite(warp.variance) & ((warp.mask & bad) == 0) for warp in warps
    ]
    left_out = []
    for first in range(0, len(warps), _GROUP):
        names = tuple(f"INPUT_{i}" for i in range(first, min(first + _GROUP, len(warps))))
        numbered = []
        for i, (warp, good) in enumerate(zip(warps, has_value, strict=True)):
            own = np.uint32(1 << (i - first) if first <= i < first + len(names) else 0)
            numbered.append(
                dataclasses.replace(
                    warp,
                    image=np.where(good, warp.image, np.float32(np.nan)),
                    mask=np.where(good, own, np.uint32(0)),
                    planes=names,
                )
            )
        used = combine_warps(numbered, statistic=Statistic.CLIPPED_MEAN, clip=clip, masks=masks).mask
        left_out += [has_value[first + i] & (used & np.uint32(1 << i) == 0) for i in range(len(names))]
    return mark_artifacts(warps, left_out)
