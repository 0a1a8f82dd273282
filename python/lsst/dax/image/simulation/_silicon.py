"""The brighter-fatter effect of small stamps from the electrostatics of silicon."""

from __future__ import annotations

__all__ = ("MAX_STAMP_PX", "accumulate_in_silicon")

import galsim
import numpy as np
import numpy.typing as npt

from ..errors import RequestError

MAX_STAMP_PX = 256
"""Largest side of a stamp."""

_SENSORS = {"E2V": "lsst_e2v_50_8", "ITL": "lsst_itl_50_8"}


def accumulate_in_silicon(
    expected: npt.NDArray[np.float64],
    *,
    physical_type: str,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Return the electrons that photons leave in a stamp, from GalSim's model of the sensor.

    Parameters
    ----------
    expected
        Expected photons per pixel, shape (rows, columns).
    physical_type
        Vendor: ``E2V`` or ``ITL``.
    rng
        Source of the photons' number, order, places and diffusion.
    strength
        Factor, above 0, of the shifts of the boundaries; near 0 it leaves diffusion alone.

    Returns
    -------
    electrons
        Whole electrons per pixel.  Diffusion carries a few over the edges.

    Raises
    ------
    RequestError
        Raised if the stamp is too large, the vendor is unknown, or the strength is not positive.

    Notes
    -----
    `galsim.SiliconSensor` with the shapes of pixels that a Poisson solver gave
    for each vendor (Lage, Bradshaw and Tyson 2017).  Time and memory grow with
    the number of photons.
    """
    if max(expected.shape) > MAX_STAMP_PX:
        raise RequestError(
            f"A stamp has at most {MAX_STAMP_PX} x {MAX_STAMP_PX} pixels, not {expected.shape}."
        )
    if physical_type not in _SENSORS:
        raise RequestError(f"A sensor is one of {', '.join(_SENSORS)}, not {physical_type!r}.")
    if strength <= 0:
        raise RequestError(f"The strength of the effect must be positive, not {strength}.")
    counts = rng.poisson(expected)
    rows, columns = np.indices(expected.shape)
    x = np.repeat(columns.ravel(), counts.ravel()).astype(np.float64)
    y = np.repeat(rows.ravel(), counts.ravel()).astype(np.float64)
    # Photons come in no order: the boundaries must grow everywhere at once.
    order = rng.permutation(x.size)
    x = x[order] + rng.uniform(-0.5, 0.5, x.size)
    y = y[order] + rng.uniform(-0.5, 0.5, y.size)
    photons = galsim.PhotonArray(x.size, x=x, y=y, flux=np.ones(x.size))
    deviate = galsim.BaseDeviate(int(rng.integers(1, 2**31)))
    sensor = galsim.SiliconSensor(name=_SENSORS[physical_type], strength=strength, rng=deviate)
    image = galsim.ImageD(np.zeros(expected.shape), xmin=0, ymin=0, scale=1.0)
    sensor.accumulate(photons, image)
    return np.asarray(image.array)
