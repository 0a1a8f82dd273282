"""Brighter-fatter corrections of a whole image, pixel by pixel or with whole-image transforms."""

from __future__ import annotations

__all__ = ("boundary_shifts", "divergence_oracle", "exchange_oracle", "flux_oracle")

import numpy as np
import numpy.typing as npt
from scipy import signal

type Array = npt.NDArray[np.float64]


def boundary_shifts(north: Array, south: Array, east: Array, west: Array) -> tuple[Array, Array]:
    """Return the shifts of the upper and right boundary by an electron, by its distance behind them.

    Indexed [r + dy, r + dx], where the pixel is at (dx, dy) from the electron.
    """
    r = len(north) - 1
    up, right = np.zeros((2 * r + 1, 2 * r + 1)), np.zeros((2 * r + 1, 2 * r + 1))
    for dy in range(-r, r + 1):
        for dx in range(-r, r + 1):
            i, j = abs(dx), abs(dy)
            up[r + dy, r + dx] = north[i, j] if dy > 0 else south[i, j]
            right[r + dy, r + dx] = east[i, j] if dx > 0 else west[i, j]
    up[0] = -up[-1]
    right[:, 0] = -right[:, -1]
    return up, right


def exchange_oracle(image: Array, up: Array, right: Array) -> Array:
    """Return what the electrostatic correction takes away from an image."""
    shift_up = signal.fftconvolve(image, up, mode="same")[:-1]
    shift_right = signal.fftconvolve(image, right, mode="same")[:, :-1]
    delta = np.zeros_like(image)
    # Charge at the boundary: the mean of both pixels, half of it on average over the exposure.
    vertical = 0.5 * shift_up * (image[1:] + image[:-1]) / 2
    horizontal = 0.5 * shift_right * (image[:, 1:] + image[:, :-1]) / 2
    delta[:-1] += vertical
    delta[1:] -= vertical
    delta[:, :-1] += horizontal
    delta[:, 1:] -= horizontal
    return delta


def divergence_oracle(
    image: Array, kernel: Array, *, max_iterations: int, threshold: float
) -> tuple[Array, int]:
    """Return the estimate of the true image, and the number of iterations."""
    half = len(kernel) // 2
    inside = (slice(half + 1, -half - 2), slice(half + 1, -half - 2))
    estimate, before = image.copy(), np.zeros_like(image)
    for iteration in range(1, max_iterations + 1):
        potential = signal.fftconvolve(estimate, kernel, mode="same")
        gradient = sum(a * b for a, b in zip(np.gradient(estimate), np.gradient(potential), strict=True))
        laplacian = np.zeros_like(image)
        laplacian[1:-1] += potential[2:] - 2 * potential[1:-1] + potential[:-2]
        laplacian[:, 1:-1] += potential[:, 2:] - 2 * potential[:, 1:-1] + potential[:, :-2]
        change = 0.5 * (gradient + estimate * laplacian)
        estimate = image.copy()
        estimate[inside] += change[inside]
        if iteration > 1:
            if np.abs(before - estimate).sum() < threshold:
                return estimate, iteration
            before = estimate
    return estimate, max_iterations


def flux_oracle(image: Array, kernel: Array, *, max_iterations: int, threshold: float) -> tuple[Array, int]:
    """Return the estimate of the true image, and the number of iterations, moving one flux after another."""
    half = len(kernel) // 2
    ny, nx = image.shape
    flux, before = image - image.mean(), np.zeros_like(image)
    padded = np.pad(flux, half)
    potential = signal.correlate(padded, kernel, mode="valid", method="direct")
    estimate = image
    for iteration in range(1, max_iterations + 1):
        estimate = image.copy()
        for y in range(half, ny):
            for x in range(half, nx):
                for other in ((y + 1, x), (y, x + 1)):
                    if other[0] == ny or other[1] == nx:
                        continue
                    gradient = potential[other] - potential[y, x]
                    moved = 0.5 * gradient * (flux[y, x] if gradient > 0 else flux[other])
                    estimate[y, x] += moved
                    estimate[other] -= moved
        flux = estimate - image.mean()
        if iteration > 1:
            if np.abs(before - flux).sum() < threshold:
                return estimate, iteration
            before = flux
    return estimate, max_iterations
