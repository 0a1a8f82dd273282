"""Pixel grids of Piff: from a model in memory, and from archived tables."""

from __future__ import annotations

__all__ = ("read_piff_tables", "take_piff_tables")

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsst.images import Bounds
from lsst.images.psfs import PiffWrapper
from lsst.images.serialization import InputArchive

from ..errors import InputDataError, UnsupportedProductError
from .lanczos import Lanczos, TapRule
from .tables import PolynomialPsfTables

_LANCZOS = re.compile(
    r"(?:galsim\.)?Lanczos\((?:n=)?(\d{1,2})(?:,\s*(?:conserve_dc=)?(True|False))?(?:,\s*gsparams=.*)?\)$"
)
_AXES = {"x": 0, "y": 1, "u": 0, "v": 1}
_MAX_ORDER = 12


def take_piff_tables(psf: PiffWrapper) -> PolynomialPsfTables | None:
    """Take the arrays out of a Piff model.

    Parameters
    ----------
    psf
        The model.

    Returns
    -------
    tables
        The arrays; `None` if this is no pixel grid with polynomials of the
        position and a plain pixel scale.
    """
    # It is there, because the model is; it imports seconds of other packages.
    import piff  # noqa: PLC0415

    impl = psf.piff_psf
    match impl:
        case piff.SimplePSF(model=piff.PixelGrid() as model, interp=piff.BasisPolynomial() as interp):
            pass
        case _:
            return None
    wcs = dict(impl.wcs)
    if list(wcs) != [0] or not (wcs[0].isPixelScale() and wcs[0].isLocal()) or impl.pointing is not None:
        return None
    try:
        return _make_tables(
            model=model.kwargs,
            interp=interp.kwargs,
            solution=np.asarray(interp.q, np.float64),
            pixel_scale=float(wcs[0].scale),
            stamp_size=psf.kernel_bbox.x.size,
            bounds=psf.bounds,
        )
    except UnsupportedProductError:
        return None


def read_piff_tables(tree: Any, archive: InputArchive[Any]) -> PolynomialPsfTables:
    """Read an archived Piff model without Piff.

    Parameters
    ----------
    tree
        What the archive says about the model.
    archive
        Archive to read the coefficients from.

    Returns
    -------
    tables
        The arrays.

    Raises
    ------
    UnsupportedProductError
        Raised if this is no pixel grid with polynomials of the position and a
        plain pixel scale.
    InputDataError
        Raised if the archive contradicts itself.
    """
    bounds = tree.bounds.deserialize()
    try:
        kind = tree.piff.structs["piff"]["type"]
        parts = tree.piff.objects["piff"]
        if kind != "Simple":
            raise UnsupportedProductError(
                f"The archive has a Piff PSF of type {kind!r}; 'Simple' can be drawn."
            )
        model, interp = parts.structs["model"], parts.structs["interp"]
        _check_type(model, "model", "PixelGrid")
        _check_type(interp, "interpolation", "BasisPolynomial")
        table = parts.objects["interp"].tables["solution"].table
        pixel_scale = float(parts.wcs["wcs"].scale)
    except KeyError as error:
        raise InputDataError(f"The archive has a Piff PSF without its {error.args[0]!r}.") from error
    solution = archive.get_structured_array(table)
    if solution.dtype.names is None or "q" not in solution.dtype.names or len(solution) != 1:
        raise InputDataError(
            f"The archive has Piff coefficients of {solution.dtype}; one row with 'q' is possible."
        )
    return _make_tables(
        model=model,
        interp=interp,
        solution=np.asarray(solution["q"][0], np.float64),
        pixel_scale=pixel_scale,
        stamp_size=int(tree.stamp_size),
        bounds=bounds,
    )


def _make_tables(
    *,
    model: Mapping[str, Any],
    interp: Mapping[str, Any],
    solution: NDArray[np.float64],
    pixel_scale: float,
    stamp_size: int,
    bounds: Bounds,
) -> PolynomialPsfTables:
    """Make tables of what Piff writes: positions in world coordinates, fluxes per sample."""
    size, scale = int(model["size"]), float(model["scale"])
    keys = tuple(interp["keys"])
    powers = _find_powers(keys, interp["order"], interp.get("max_order"))
    if solution.shape != (size * size, powers.shape[1]):
        raise InputDataError(
            f"A Piff PSF of {size} x {size} samples and {powers.shape[1]} terms has coefficients of shape "
            f"{solution.shape}."
        )
    if not (pixel_scale > 0.0 and math.isfinite(pixel_scale) and scale > 0.0 and math.isfinite(scale)):
        raise InputDataError(
            f"Piff samples of {scale} arcsec on pixels of {pixel_scale} arcsec: both must be positive."
        )
    step = scale / pixel_scale
    lengths = dict.fromkeys("xy", 1.0) | dict.fromkeys("uv", 1.0 / pixel_scale)
    scales = {_AXES[key]: lengths[key] for key in keys}
    return PolynomialPsfTables(
        components=solution.T.reshape(-1, size, size) / step**2,
        powers_x=powers[0],
        powers_y=powers[1],
        origin=(0.0, 0.0),
        scale=(scales.get(0, 1.0), scales.get(1, 1.0)),
        step_px=step,
        lanczos=_parse_interpolant(str(model["interp"])),
        stamp_shape=(stamp_size, stamp_size),
        draws_unit_sum=True,
        bounds=bounds,
    )


def _find_powers(keys: Sequence[str], order: Any, max_order: Any) -> NDArray[np.int64]:
    """Return the powers of x and y in each term, shape (2, k), in Piff's order.

    The terms are those of an outer product, the first key varying slowest,
    that are of no more than the highest total order.
    """
    if not set(keys) <= set(_AXES) or len({_AXES[key] for key in keys}) != len(keys) or not keys:
        raise UnsupportedProductError(
            f"A Piff PSF is interpolated over {tuple(keys)}; one or both of (x, y) or (u, v) are possible."
        )
    orders = list(order) if isinstance(order, list | tuple) else [order] * len(keys)
    highest = max(orders) if max_order is None else max_order
    numbers = (*orders, highest)
    if len(orders) != len(keys) or not all(isinstance(n, int) and 0 <= n <= _MAX_ORDER for n in numbers):
        raise UnsupportedProductError(
            f"A Piff PSF has polynomials of order {order!r}, in total {max_order!r}, over {len(keys)} keys; "
            f"whole numbers up to {_MAX_ORDER} are possible."
        )
    grid = np.indices([n + 1 for n in orders]).reshape(len(orders), -1)
    chosen = grid[:, grid.sum(axis=0) <= highest]
    powers = np.zeros((2, chosen.shape[1]), np.int64)
    for key, row in zip(keys, chosen, strict=True):
        powers[_AXES[key]] = row
    return powers


def _parse_interpolant(text: str) -> Lanczos:
    """Read the interpolant from its name; text of a file is never evaluated."""
    found = _LANCZOS.match(text)
    if found is None:
        raise UnsupportedProductError(
            f"A Piff PSF is interpolated by {text[:80]!r}; 'Lanczos(n)' is possible."
        )
    order, conserves = found.groups()
    return Lanczos(int(order), TapRule.PLAIN if conserves == "False" else TapRule.SERIES)


def _check_type(struct: Mapping[str, Any], role: str, want: str) -> None:
    if struct["type"] != want:
        raise UnsupportedProductError(
            f"The archive has a Piff {role} of type {struct['type']!r}; {want!r} can be drawn."
        )
