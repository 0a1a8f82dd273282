"""Read how coarsely the pixels of a file were quantised."""

from __future__ import annotations

__all__ = ("read_steps",)

from collections.abc import Mapping
from typing import Any

import astropy.io.fits
import numpy as np

from lsst.resources import ResourcePath

from ..errors import InputDataError

_PLANES = {"IMAGE": "image", "VARIANCE": "variance"}


def read_steps(uri: ResourcePath) -> Mapping[str, float]:
    """Read the quantisation steps of the planes of a FITS file.

    Parameters
    ----------
    uri
        File of a masked image.

    Returns
    -------
    steps
        Step in the unit of the plane, by plane (``image``, ``variance``);
        planes that are stored losslessly are left out.  Where tiles have steps
        of their own, the largest.

    Raises
    ------
    InputDataError
        Raised if the file cannot be read.
    """
    steps: dict[str, float] = {}
    try:
        with (
            uri.as_local() as local,
            astropy.io.fits.open(local.ospath, disable_image_compression=True) as hdus,
        ):
            for hdu in hdus:
                if (plane := _PLANES.get(hdu.name)) and (step := _read_step(hdu)) is not None:
                    steps[plane] = step
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputDataError(f"The quantisation of {uri} cannot be read: {error}") from error
    return steps


def _read_step(hdu: Any) -> float | None:
    if "UZSCALE" in hdu.header:
        return float(hdu.header["UZSCALE"])
    if isinstance(hdu, astropy.io.fits.BinTableHDU) and "ZSCALE" in hdu.columns.names:
        scales = np.abs(hdu.data["ZSCALE"])
        return float(scales.max()) if scales.any() else None
    return float(hdu.header["ZSCALE"]) if "ZSCALE" in hdu.header else None
