"""Slow and plain NumPy forms of the steps that work on whole amplifiers."""

from __future__ import annotations

__all__ = ("crosstalk_oracle", "deferred_charge_oracle", "linearity_oracle")

from typing import Any

import numpy as np
import numpy.typing as npt
from lsst.images.cameras import Amplifier, Detector
from scipy.interpolate import Akima1DInterpolator

from lsst.dax.image.recreation.isr import AmplifierChargeTransfer, SerialTrap

type Array = npt.NDArray[Any]


def cut(image: Array, amplifier: Amplifier) -> Array:
    """Return the raw pixels of an amplifier with the readout corner at the lower left, as a view."""
    raw = amplifier.assembled_raw_geometry
    assert raw is not None
    box = raw.bbox
    pixels = image[box.y.start : box.y.stop, box.x.start : box.x.stop]
    corner = raw.readout_corner.value
    return pixels[:: -1 if corner[0] == "U" else 1, :: -1 if corner[1] == "R" else 1]


def crosstalk_oracle(
    image: Array, detector: Detector, linear: Array, quadratic: Array, *, min_pixel: float
) -> tuple[Array, Array]:
    """Return the corrected image, and where more than a limit was subtracted.

    Coefficients of zero do not count.
    """
    corrected, flagged = image.copy(), np.zeros(image.shape, bool)
    subtrahend = np.zeros_like(image)
    for s, source in enumerate(detector.amplifiers):
        for t, target in enumerate(detector.amplifiers):
            total, pixels = cut(subtrahend, target), cut(image, source)
            if linear[s, t] != 0:
                total += np.float32(linear[s, t]) * pixels
            if quadratic[s, t] != 0:
                total += np.float32(quadratic[s, t]) * (pixels * pixels)
    corrected -= subtrahend
    for amplifier in detector.amplifiers:
        raw = amplifier.assembled_raw_geometry
        assert raw is not None
        data = (
            slice(raw.data_bbox.y.start, raw.data_bbox.y.stop),
            slice(raw.data_bbox.x.start, raw.data_bbox.x.stop),
        )
        subtrahend[data] -= np.nanmedian(subtrahend[data])
    np.greater_equal(np.abs(subtrahend), min_pixel, out=flagged)
    return corrected, flagged


def linearity_oracle(pixels: Array, form: str, c: Array, *, gain: float, table: Array) -> Array:
    """Return linear pixels (float32) of one amplifier."""
    if form in ("Spline", "DoubleSpline"):
        if form == "Spline":
            parts, margin = [c], 0.1
        else:
            n = int(c[0])
            parts, margin = [c[2 : 2 + 2 * n], c[2 + 2 * n :]], 0.01
        for part in parts:
            x, y = (half * gain for half in np.split(part, 2))
            if y[0] != 0:
                y = y - y[0]
            if x[0] != 0:
                x, y = np.append(0.0, x), np.append(0.0, y)
            clipped = np.clip(pixels.astype(float), x[0], x[-1] - margin)
            pixels = (pixels - Akima1DInterpolator(x, y, method="akima")(clipped)).astype(np.float32)
        return pixels
    value = pixels.astype(float)
    if form == "Squared":
        return (value * (1 + c[0] / gain * value)).astype(np.float32)
    if form == "Polynomial":
        scaled = [k / gain ** (1 + i) for i, k in enumerate(c)]
        return (value + sum(k * value ** (2 + i) for i, k in enumerate(scaled))).astype(np.float32)
    assert form == "LookupTable"
    index = np.clip((c[1] + value / gain).astype(int), 0, table.shape[1] - 1)
    return (value + gain * table[int(c[0]), index]).astype(np.float32)


def capture(trap: SerialTrap, signal: Array) -> Array:
    """Return the charge that a trap catches from a signal."""
    c, positive = trap.coefficients, np.maximum(0, signal)
    if trap.form == "linear":
        return np.asarray(np.minimum(trap.size, c[0] * positive))
    if trap.form == "logistic":
        return np.asarray(trap.size / (1 + np.exp(-c[1] * (positive - c[0]))))
    x, y = np.split(c[~np.isnan(c)], 2)
    return np.interp(positive, x, y)


def deferred_charge_oracle(rows: Array, transfer: AmplifierChargeTransfer) -> Array:
    """Return corrected rows (float64) of an amplifier whose readout is on the left."""
    s = rows.astype(float)
    width = s.shape[1]
    if transfer.drift_scale > 0:
        offsets = np.zeros((15, *s.shape))
        for j in range(15):
            decay = np.exp(-j / transfer.decay_time_px)
            offsets[j, :, j:] = transfer.drift_scale * np.maximum(0, s[:, : width - j]) * decay
        s = s - offsets.max(axis=0)
    trap = transfer.trap
    if trap is None:
        return s
    r = np.exp(-1 / trap.emission_time_px)
    held = np.zeros((6, *s.shape))
    for n in range(6):
        held[n, :, n + 1 :] = capture(trap, s)[:, : width - n - 1] * r**n
    occupancy = held.max(axis=0)
    caught = np.maximum(0, capture(trap, s) - occupancy * r)
    released = occupancy * (1 - r)
    return np.asarray(s - (1 - transfer.global_cti) * (released - caught))
