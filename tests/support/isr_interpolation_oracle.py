"""Interpolation along rows, slowly: a linear system per pixel and a loop over everything."""

from __future__ import annotations

__all__ = ("clipped_mean_oracle", "interpolate_oracle")

from typing import Any

import numpy as np
import numpy.typing as npt


def clipped_mean_oracle(image: npt.NDArray[Any], *, sigma: float = 3.0) -> float:
    """Return the mean after clipping about the median, then twice about the mean."""
    values = image[np.isfinite(image)].astype(np.float64)
    low, middle, high = np.percentile(values, [25, 50, 75])
    kept = values[np.abs(values - middle) <= sigma * 0.741301109252802 * (high - low)]
    for _ in range(2):
        kept = values[np.abs(values - kept.mean()) <= sigma * kept.std(ddof=1)]
    return float(kept.mean())


def _weights(known: list[float], at: float) -> list[float]:
    """Return kriging weights: covariances to the point, corrected until they add up to 1."""
    place = np.array(known, dtype=np.float64)
    covariance = np.exp(-(np.subtract.outer(place, place) ** 2) / 4)
    simple = np.linalg.inv(covariance) @ np.exp(-((place - at) ** 2) / 4)
    means = np.linalg.inv(covariance) @ np.ones(len(known))
    return [round(float(w), 4) for w in simple + means * (1 - simple.sum()) / means.sum()]


def interpolate_oracle(
    image: npt.NDArray[np.float32], variance: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return image and variance with the bad pixels replaced."""
    planes = (image.copy(), variance.copy())
    for y in range(len(image)):
        columns = np.flatnonzero(bad[y])
        runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
        for run in runs if columns.size else []:
            for plane in planes:
                _replace(plane[y], bad[y], int(run[0]), int(run[-1]), image)
    return planes


def _replace(
    row: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], x0: int, x1: int, image: npt.NDArray[np.float32]
) -> None:
    """Replace one run."""
    nx = row.size
    left = [x for x in (x0 - 2, x0 - 1) if x >= 0 and not bad[x]]
    right = [x for x in (x1 + 1, x1 + 2) if x < nx and not bad[x]]
    # Of two, the farther one counts only beyond the nearer one, which is good.
    if not left and not right:
        row[:] = np.float32(clipped_mean_oracle(image))
        return
    if not left or not right:
        if x1 - x0 + 1 <= 6:
            for x in range(x0, x1 + 1):
                _set(row, x, left + right, x)
            return
        value = np.float32(clipped_mean_oracle(image))
        if not left:
            row[: x1 - 5] = value
            x0 = x1 - 5
            left = [x for x in (x0 - 2, x0 - 1) if x >= 0]
        else:
            row[x0 + 6 :] = value
            x1 = x0 + 5
            right = [x for x in (x1 + 1, x1 + 2) if x < nx]
    length = x1 - x0 + 1
    for x in range(x0, x1 + 1):
        if length < 11:
            places = {k: float(k) for k in left + right}
        else:
            # Whatever is not at this end is infinitely far away.
            at_right, at_left = x1 - x < 6, x - x0 < 6
            places = {k: k - (0.0 if at_left and not at_right else 1e6) for k in left}
            places |= {k: k + (0.0 if at_right else 1e6) for k in right}
        _set(row, x, left + right, x, places=places)
        if length == 2 and len(left) == len(right) == 1 and row[x] < 0:
            row[x] = 0.0


def _set(
    row: npt.NDArray[np.float32],
    x: int,
    known: list[int],
    at: float,
    *,
    places: dict[int, float] | None = None,
) -> None:
    """Set a pixel to the weighted sum of known ones."""
    weights = _weights([float(k) if places is None else places[k] for k in known], at)
    row[x] = sum(w * float(row[k]) for w, k in zip(weights, known, strict=True))
