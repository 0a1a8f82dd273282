"""Satellite trails, cosmic rays and transients: what differs from all other visits."""

from __future__ import annotations

__all__ = ("find_artifacts", "mark_artifacts")

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputDataError
from .combination import Combined, combine_warps, find_combined_planes
from .rules import ArtifactRules, ClipRules, MaskRules, Statistic
from .warp import Warp

type Flags = NDArray[np.bool_]

_NEIGHBOURS = np.ones((3, 3), bool)
_SOURCE_N_SIGMA = 5.0  # significance per pixel of a source of the template
_MAX_BAD_FRACTION = 0.95  # of a spot: it is left out anyway
_MIN_FEW_FRACTION = 0.5  # of a spot that differs in few visits
_MIN_PIXELS_TO_SCALE = 100  # fewer say too little about the noise
_IQR_TO_SIGMA = 0.741301109252801


def find_artifacts(
    warps: Sequence[Warp],
    rules: ArtifactRules | None = None,
    *,
    masks: MaskRules | None = None,
    threads: int = 1,
) -> list[Flags]:
    """Find what differs from the other visits in few of them.

    Parameters
    ----------
    warps
        Inputs of one box, best with a common PSF; see the notes.  Detectors of
        one visit are one epoch.
    rules
        What is an artifact; the usual rules if `None`.
    masks
        Which pixels are not looked at; the usual rules if `None`.
    threads
        Number of threads that make the template.

    Returns
    -------
    artifacts
        For each warp the pixels of its artifacts, shape (rows, columns).

    Raises
    ------
    InputDataError
        Raised if there are no warps, or if their boxes or planes differ.

    Notes
    -----
    The algorithm is that of ``CompareWarp`` in the LSST Science Pipelines
    (AlSayyad, DMTN-080).  The template is a clipped mean.  The difference of a
    warp from it has the variance of both, times the square of 0.7413 times the
    interquartile range of the significance.  A spot is made of at least
    ``min_pixels`` connected pixels of ``n_sigma`` of one sign, grown by
    ``grow_px``.  It is an artifact if more than half of its pixels differ in no
    more than ``min(max_epochs_fraction n, max_epochs_base + max_epochs_slope n)``
    of the n visits that have them, unless it lies within a bright source of
    the template: connected pixels above five sigma that have together a
    significance of ``bright_signal_to_noise``.

    With the usual rules there are no artifacts in pixels of one or two visits,
    where nothing tells which of them is right; from three visits on a spot of
    one visit is an artifact, from five on also one of two.  Where more
    of the visits have an artifact than the template withstands (one of three,
    one of four, two of eight), the template shows it, too.

    A source that varies in many visits is none, and a transient of few visits
    is one.  Without a common PSF the cores of stars differ with the seeing:
    each visit from the template, so that most are spared for being in many
    visits, but not all.
    """
    rules, masks = rules or ArtifactRules(), masks or MaskRules()
    clip = ClipRules(n_sigma=rules.template_n_sigma, iterations=rules.template_iterations)
    template = combine_warps(warps, statistic=Statistic.CLIPPED_MEAN, clip=clip, masks=masks, threads=threads)
    usable = [_find_usable(warp, masks) for warp in warps]
    spots = [_find_spots(warp, good, template, rules) for warp, good in zip(warps, usable, strict=True)]
    epochs, visits = _count_visits(warps, spots), _count_visits(warps, usable)
    limit = np.minimum(
        rules.max_epochs_fraction * visits, rules.max_epochs_base + rules.max_epochs_slope * visits
    )
    is_few = (epochs > 0) & (epochs <= limit)
    sources = _find_bright_sources(template, rules)
    return [_choose_artifacts(spot, is_few, good, sources) for spot, good in zip(spots, usable, strict=True)]


def mark_artifacts(warps: Sequence[Warp], artifacts: Sequence[Flags]) -> list[Warp]:
    """Set the plane CLIPPED where artifacts are, so that no combination uses them.

    Parameters
    ----------
    warps
        Inputs; not modified.
    artifacts
        Pixels of the artifacts of each.

    Returns
    -------
    marked
        The warps, which all have the planes of combined ones.

    Raises
    ------
    InputDataError
        Raised if the numbers or the shapes of both differ.
    """
    if len(warps) != len(artifacts):
        raise InputDataError(f"{len(artifacts)} arrays of artifacts do not fit to {len(warps)} warps.")
    marked = []
    for warp, artifact in zip(warps, artifacts, strict=True):
        if artifact.shape != warp.mask.shape:
            raise InputDataError(
                f"The artifacts of {warp.key} have the shape {artifact.shape}; its box has {warp.mask.shape}."
            )
        planes = find_combined_planes(warp.planes)
        bit = np.where(artifact, np.uint32(1 << planes.index("CLIPPED")), np.uint32(0))
        marked.append(dataclasses.replace(warp, mask=warp.mask | bit, planes=planes))
    return marked


def _find_usable(warp: Warp, masks: MaskRules) -> Flags:
    """Return which pixels have a value that counts."""
    bad = np.uint32(
        sum(1 << i for i, name in enumerate(warp.planes) if name in {*masks.bad_planes, "CLIPPED"})
    )
    usable: Flags = np.isfinite(warp.image) & np.isfinite(warp.variance) & ((warp.mask & bad) == 0)
    return usable


def _find_spots(warp: Warp, usable: Flags, template: Combined, rules: ArtifactRules) -> Flags:
    """Return the pixels of grown spots in which a warp differs from the template."""
    with np.errstate(invalid="ignore", divide="ignore"):
        significance = (warp.image - template.image) / np.sqrt(warp.variance + template.variance)
    significance[~(usable & np.isfinite(significance))] = 0.0
    significance /= _find_noise_scale(significance[usable])
    found = np.zeros(usable.shape, bool)
    for sign in (1.0, -1.0):
        labels, number = ndimage.label(sign * significance > rules.n_sigma, _NEIGHBOURS)
        is_large = np.bincount(labels.ravel(), minlength=number + 1) >= rules.min_pixels
        is_large[0] = False
        found |= is_large[labels]
    return _grow(found, rules.grow_px)


def _find_noise_scale(significance: NDArray[np.floating]) -> float:
    """Return the standard deviation of significances, which is 1 for true variances."""
    if significance.size < _MIN_PIXELS_TO_SCALE:
        return 1.0
    first, third = np.quantile(significance, [0.25, 0.75])
    scale = _IQR_TO_SIGMA * float(third - first)
    # Images without noise agree to the bit.
    return scale if scale > 0.0 else 1.0


def _grow(found: Flags, radius: int) -> Flags:
    """Add the pixels within a distance of others."""
    if radius == 0 or not found.any():
        return found
    steps = np.arange(-radius, radius + 1)
    disc = steps[:, None] ** 2 + steps**2 <= (radius + 0.5) ** 2
    grown: Flags = ndimage.binary_dilation(found, disc)
    return grown


def _count_visits(warps: Sequence[Warp], flags: Sequence[Flags]) -> NDArray[np.int32]:
    """Return in how many visits each pixel is set."""
    visits: dict[tuple[str, int], Flags] = {}
    for warp, flag in zip(warps, flags, strict=True):
        visit = (warp.key.instrument, warp.key.visit)
        visits[visit] = visits[visit] | flag if visit in visits else flag
    return np.sum(list(visits.values()), axis=0, dtype=np.int32)


def _find_bright_sources(template: Combined, rules: ArtifactRules) -> Flags:
    """Return the pixels of bright sources of the template."""
    with np.errstate(invalid="ignore"):
        # False where there is no template.
        found = template.image > _SOURCE_N_SIGMA * np.sqrt(template.variance)
    labels, number = ndimage.label(found, _NEIGHBOURS)
    flux, variance = (
        np.bincount(labels[found], plane[found], minlength=number + 1)
        for plane in (template.image, template.variance)
    )
    is_bright = flux > rules.bright_signal_to_noise * np.sqrt(variance)
    is_bright[0] = False
    bright: Flags = is_bright[labels]
    return bright


def _choose_artifacts(spots: Flags, is_few: Flags, usable: Flags, sources: Flags) -> Flags:
    """Return the pixels of those spots that are artifacts."""
    labels, number = ndimage.label(spots, _NEIGHBOURS)
    inside = labels[spots]
    sizes, few, bad, outside = (
        np.bincount(inside, weights, minlength=number + 1)
        for weights in (None, is_few[spots], ~usable[spots], ~sources[spots])
    )
    is_artifact = (few > _MIN_FEW_FRACTION * sizes) & (bad <= _MAX_BAD_FRACTION * sizes) & (outside > 0)
    is_artifact[0] = False
    artifacts: Flags = is_artifact[labels]
    return artifacts
