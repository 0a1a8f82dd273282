"""PSFEx models, from their arrays."""

from __future__ import annotations

__all__ = ("make_psfex_tables", "read_psfex_tables", "take_psfex_tables")

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from lsst.images import Bounds
from lsst.images.psfs import PSFExWrapper
from lsst.images.serialization import InputArchive

from ..errors import InputDataError, UnsupportedProductError
from .lanczos import Lanczos, TapRule
from .tables import PolynomialPsfTables

_LANCZOS = Lanczos(4, TapRule.UNIT_SUM)
"""The interpolant of PSFEx."""


def make_psfex_tables(
    components: npt.ArrayLike,
    *,
    degree: int,
    origin: tuple[float, float],
    scale: tuple[float, float],
    step_px: float,
    bounds: Bounds,
    lanczos: Lanczos = _LANCZOS,
) -> PolynomialPsfTables:
    """Make tables of the arrays of a PSFEx model.

    Parameters
    ----------
    components
        Images of the terms 1, u, u**2, ..., v, u v, ..., v**2, ..., shape
        ``(k, my, mx)``: ``PSF_MASK`` of a PSFEx file.
    degree
        Highest total power, ``POLDEG1``.
    origin
        Position (x, y) in 0-based pixels where u and v are 0: ``POLZERO1`` and
        ``POLZERO2`` of a PSFEx file, which counts from 1, less 1.
    scale
        Pixels per unit of (u, v), ``POLSCAL1`` and ``POLSCAL2``.
    step_px
        Pixels of the image per sample, ``PSF_SAMP``.
    bounds
        Where the model is valid.
    lanczos
        Interpolant between samples; PSFEx itself has order 4.

    Returns
    -------
    tables
        The arrays.

    Raises
    ------
    InputDataError
        Raised if the number of components is not that of the degree, or they
        make no model.

    Notes
    -----
    The sum of a PSFEx model differs from 1 by percents and varies with the
    position: fluxes need `PsfNormalization.MODEL` or `PsfNormalization.STAMP`.
    """
    powers = [(i, j) for j in range(degree + 1) for i in range(degree + 1 - j)]
    images = np.asarray(components, np.float64)
    if images.shape[:1] != (len(powers),):
        raise InputDataError(
            f"A PSFEx model of degree {degree} has components of shape {images.shape}, "
            f"not {len(powers)} images."
        )
    rows, columns = images.shape[1:] if images.ndim == 3 else (1, 1)
    return PolynomialPsfTables(
        components=images,
        powers_x=np.array([i for i, _ in powers], np.int64),
        powers_y=np.array([j for _, j in powers], np.int64),
        origin=origin,
        scale=scale,
        step_px=step_px,
        lanczos=lanczos,
        stamp_shape=(_find_side(rows, step_px), _find_side(columns, step_px)),
        draws_unit_sum=False,
        bounds=bounds,
    )


def read_psfex_tables(tree: Any, archive: InputArchive[Any]) -> PolynomialPsfTables:
    """Read an archived PSFEx model without PSFEx.

    Parameters
    ----------
    tree
        What the archive says about the model.
    archive
        Archive to read the images from.

    Returns
    -------
    tables
        The arrays.

    Raises
    ------
    UnsupportedProductError
        Raised if it depends on anything but the position.
    InputDataError
        Raised if the archive contradicts itself.
    """
    return _make_from_context(
        np.asarray(archive.get_array(tree.parameters)),
        degrees=tree.degree,
        groups=tree.group,
        context=np.asarray(tree.context, np.float64),
        step_px=float(tree.pixel_step),
        bounds=tree.bounds.deserialize(),
    )


def take_psfex_tables(psf: PSFExWrapper) -> PolynomialPsfTables:
    """Take the arrays out of a PSFEx model in memory.

    Parameters
    ----------
    psf
        The model.

    Returns
    -------
    tables
        The arrays.

    Raises
    ------
    UnsupportedProductError
        Raised if it depends on anything but the position.
    InputDataError
        Raised if it contradicts itself.
    """
    data = psf.legacy_psf.getSerializationData()
    return _make_from_context(
        np.asarray(data.comp).reshape(tuple(reversed(data.size))),
        degrees=data.degree,
        groups=data.group,
        context=np.asarray(data.context, np.float64),
        step_px=float(data.pixel_step),
        bounds=psf.bounds,
    )


def _make_from_context(
    components: NDArray[Any],
    *,
    degrees: Sequence[int],
    groups: Sequence[int],
    context: NDArray[np.float64],
    step_px: float,
    bounds: Bounds,
) -> PolynomialPsfTables:
    """Make tables of what the observatory's wrapper keeps, with 0-based positions."""
    if context.shape != (2, 2) or len(degrees) != 1 or len(set(groups)) != 1:
        raise UnsupportedProductError(
            f"A PSFEx model has a context of shape {context.shape} and degrees {list(degrees)} of groups "
            f"{list(groups)}; one group of x and y is possible."
        )
    # A model that does not vary is stored as a single image.
    images = components[np.newaxis] if components.ndim == 2 else components
    return make_psfex_tables(
        images,
        degree=int(degrees[0]),
        origin=(float(context[0, 0]), float(context[1, 0])),
        scale=(float(context[0, 1]), float(context[1, 1])),
        step_px=step_px,
        bounds=bounds,
    )


def _find_side(samples: int, step_px: float) -> int:
    """Return the pixels that the samples of an axis span, made odd upwards."""
    side = int(samples * step_px)
    return side if side % 2 == 1 else side + 1
