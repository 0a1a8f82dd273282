"""The exact map between the pixels of two projections."""

from __future__ import annotations

__all__ = ("PixelMap",)

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import SkyProjection

type Positions = NDArray[np.float64]

# AST marks what it cannot map with the largest negative number; longitudes
# lose the mark when lsst.images wraps them, latitudes and pixels keep it.
_LARGEST_POSITION = 1e30

_SAME_RAD = 2e-14
"""Angle below which two places are one: some roundings of a longitude, 4e-9 arcsec."""

_MAX_MISS = 2.0
"""Source pixels by which the inverse of a projection may be off."""

_LAST_STEP = 1e-4
"""Source pixels; after a step as short as this the rest is that times the distortion over a pixel."""

_MAX_STEPS = 10

_DIFFERENCE = 0.5
"""Source pixels over which derivatives are taken."""

# A place and its neighbours in x and y, shape (2, 3, 1).
_NEIGHBOURS = _DIFFERENCE * np.array([[[0.0], [1.0], [0.0]], [[0.0], [0.0], [1.0]]])


@dataclass(frozen=True)
class PixelMap:
    """Map from the pixels of one projection to those of another, by way of the sky.

    Pixels to sky is what defines a projection.  Many bring a fit for the way
    back (SIP headers, solutions of pipelines); it is where positions start
    from, and where it is off, Newton steps against the projection itself
    follow.
    """

    target: SkyProjection[Any]
    """Projection that is mapped from."""

    source: SkyProjection[Any]
    """Projection that is mapped to."""

    @cached_property
    def is_identity(self) -> bool:
        """Whether both projections are one, as those of the patches of a tract."""
        one, two = self.source.pixel_to_sky_transform, self.target.pixel_to_sky_transform
        return bool(one is two or one == two)

    def evaluate(self, x: Positions, y: Positions) -> Positions:
        """Map positions exactly.

        Parameters
        ----------
        x, y
            Target positions, arrays of one shape.

        Returns
        -------
        positions
            Source x and y, shape ``(2, *x.shape)``, whose place on the sky is
            that of the target position to some 1e-8 of a pixel; NaN for what
            lies off the sky or beyond the horizon of the source's projection,
            and where the inverse of the source's projection misses by more
            than two pixels.
        """
        return self.refine(*self.estimate(x, y))

    def estimate(self, x: Positions, y: Positions) -> tuple[Positions, Positions]:
        """Map positions as well as the inverse of the source's projection does.

        Parameters
        ----------
        x, y
            Target positions, arrays of one shape.

        Returns
        -------
        positions
            Source x and y, shape ``(2, *x.shape)``; NaN for what lies off the
            sky or beyond the horizon of the source's projection.
        sky
            Longitudes and latitudes in radians, of the same shape.
        """
        if self.is_identity:
            here = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)])
            return here, here
        if np.size(x) == 0:  # AST refuses
            return np.empty((2, *np.shape(x))), np.empty((2, *np.shape(x)))
        sky = _find_sky(self.target, np.stack([x, y]))
        on_sky = np.isfinite(sky[1])
        with np.errstate(invalid="ignore", over="ignore"):
            longitude, latitude = np.where(on_sky, sky, 0.0)
            pixels = self.source.pixel_to_sky_transform.apply_inverse(x=longitude, y=latitude)
            positions = np.stack([np.asarray(pixels.x), np.asarray(pixels.y)])
            good = on_sky & (np.abs(positions) < _LARGEST_POSITION).all(axis=0)
        return np.where(good, positions, np.nan), sky

    def refine(self, positions: Positions, sky: Positions) -> Positions:
        """Make estimated positions exact.

        Parameters
        ----------
        positions, sky
            What `estimate` returns, or the same elements of both; not modified.

        Returns
        -------
        positions
            As those of `evaluate`.  Each one depends on its own estimate alone.

        Notes
        -----
        Polynomials bend back on themselves outside of the image that they
        were fitted to, and their inverse may then land in it: what misses by
        much is no position.
        """
        refined = positions.copy()
        started = np.isfinite(positions[0])
        if self.is_identity or not started.any():
            return refined
        start, there = positions[:, started], sky[:, started]
        offset = _find_sky(self.source, start) - there
        turn = 2.0 * np.pi
        offset[0] = (offset[0] - turn * np.rint(offset[0] / turn)) * np.cos(there[1])
        off = ~(np.abs(offset) <= _SAME_RAD).all(axis=0)
        if off.any():
            start[:, off] = self._step(start[:, off], _find_vectors(there[:, off]))
            refined[:, started] = start
        return refined

    def _step(self, start: Positions, goal: Positions) -> Positions:
        """Find the positions of unit vectors by Newton steps, shapes (2, n) and (3, n)."""
        found = np.full(start.shape, np.nan)
        index, here = np.arange(start.shape[1]), start.copy()
        for count in range(_MAX_STEPS):
            step = self._find_step(here, goal[:, index])
            length = np.hypot(step[0], step[1])
            here = here + step
            done = length <= _LAST_STEP
            found[:, index[done]] = here[:, done]
            left = ~done & (length <= (_MAX_MISS if count == 0 else 2.0 * _MAX_MISS))
            index, here = index[left], here[:, left]
            if index.size == 0:
                break
        return found

    def _find_step(self, here: Positions, goal: Positions) -> Positions:
        """Return what is missing from positions to unit vectors, in source pixels."""
        places = here[:, None, :] + _NEIGHBOURS
        at, right, above = np.moveaxis(_find_vectors(_find_sky(self.source, places)), 1, 0)
        a, b = (right - at) / _DIFFERENCE, (above - at) / _DIFFERENCE
        miss = goal - at
        aa, ab, bb = (a * a).sum(axis=0), (a * b).sum(axis=0), (b * b).sum(axis=0)
        am, bm = (a * miss).sum(axis=0), (b * miss).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            step: Positions = np.stack([bb * am - ab * bm, aa * bm - ab * am]) / (aa * bb - ab * ab)
        return step


def _find_sky(projection: SkyProjection[Any], pixels: Positions) -> Positions:
    """Return longitudes and latitudes of pixels, shape (2, ...); NaN off the sky."""
    with np.errstate(invalid="ignore", over="ignore"):
        sky = projection.pixel_to_sky_transform.apply_forward(x=pixels[0], y=pixels[1])
        both = np.stack([np.asarray(sky.x), np.asarray(sky.y)])
        return np.where(np.abs(both[1]) <= np.pi, both, np.nan)


def _find_vectors(sky: Positions) -> Positions:
    """Return unit vectors of longitudes and latitudes, shape (3, ...)."""
    cosine = np.cos(sky[1])
    return np.stack([cosine * np.cos(sky[0]), cosine * np.sin(sky[0]), np.sin(sky[1])])
