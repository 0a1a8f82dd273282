"""A slow and plain resampler in float64: every position exact, every weight from its formula."""

from __future__ import annotations

__all__ = ("OracleResult", "exact_positions", "resample_oracle")

from dataclasses import dataclass

import numpy as np
from lsst.images import MaskedImage
from numpy.typing import NDArray

from lsst.dax.image.geometry import TargetGrid

type Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OracleResult:
    """Planes of the target."""

    image: Floats
    variance: Floats
    bits: NDArray[np.int64]
    inside: NDArray[np.bool_]


def exact_positions(image: MaskedImage, grid: TargetGrid) -> tuple[Floats, Floats]:
    """Return the source positions of all pixels of a grid, by way of the sky.

    The way from sky to pixels may be a fit f of the inverse of the way g back:
    p - f(g(p)) + f(s) is nearer to the pixel at s than p is.
    """
    mesh = grid.bbox.meshgrid()
    sky = grid.sky_projection.pixel_to_sky(x=mesh.x.astype(float), y=mesh.y.astype(float))
    projection = image.sky_projection
    assert projection is not None
    pixels = projection.sky_to_pixel(sky)
    first = np.stack([np.asarray(pixels.x), np.asarray(pixels.y)])
    found = first
    for _ in range(3):
        again = projection.sky_to_pixel(projection.pixel_to_sky(x=found[0], y=found[1]))
        found = found + first - np.stack([np.asarray(again.x), np.asarray(again.y)])
    return found[0] - image.bbox.x.start, found[1] - image.bbox.y.start


def _weights(name: str, distance: Floats) -> Floats:
    """Return weights that are not yet scaled to a sum of one."""
    if name == "bilinear":
        return np.maximum(0.0, 1.0 - np.abs(distance))
    reach = {"lanczos3": 3, "lanczos5": 5}[name]
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = np.pi * distance, np.pi * distance / reach
        values = np.where(distance == 0.0, 1.0, np.sin(a) * np.sin(b) / (a * b))
    return np.where(np.abs(distance) < reach, values, 0.0)


def resample_oracle(image: MaskedImage, grid: TargetGrid, *, kernel: str, plane: str = "BAD") -> OracleResult:
    """Resample with one loop per target pixel; the mask is that of one plane, over two by two pixels."""
    x, y = exact_positions(image, grid)
    reach = {"bilinear": 1, "lanczos3": 3, "lanczos5": 5}[kernel]
    pixels, noise = image.image.array.astype(float), image.variance.array.astype(float)
    flagged = image.mask.get(plane)
    height, width = pixels.shape
    shape = x.shape
    result = OracleResult(
        np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.int64), np.zeros(shape, bool)
    )
    for place in np.ndindex(shape):
        column, row = int(np.floor(x[place])), int(np.floor(y[place]))
        columns = np.arange(column - reach + 1, column + reach + 1)
        rows = np.arange(row - reach + 1, row + reach + 1)
        if columns[0] < 0 or rows[0] < 0 or columns[-1] >= width or rows[-1] >= height:
            continue
        weights = np.outer(_weights(kernel, rows - y[place]), _weights(kernel, columns - x[place]))
        weights /= weights.sum()
        part = np.ix_(rows, columns)
        result.inside[place] = True
        result.image[place] = (weights * pixels[part]).sum()
        result.variance[place] = (weights**2 * noise[part]).sum()
        result.bits[place] = flagged[row : row + 2, column : column + 2].any()
    return result
