"""Backgrounds and photometric scalings on a grid of pixels, as the original processing evaluated them."""

from __future__ import annotations

__all__ = ("render_background", "render_scaling")

import numpy as np
import numpy.typing as npt
from scipy.interpolate import Akima1DInterpolator, CubicSpline

from lsst.images import Box
from lsst.images.fields import BaseField, ChebyshevField, ProductField, SplineField, SumField

from ..errors import InputDataError

type FloatArray = npt.NDArray[np.float64]
type FloatImage = npt.NDArray[np.float32]

_AKIMA_POINTS = 5


def render_background(field: BaseField, bbox: Box) -> FloatImage:
    """Evaluate a background model on pixels, in single precision.

    Parameters
    ----------
    field
        Background; a sum of several terms is a `~lsst.images.fields.SumField`.
    bbox
        Pixels (0-based, centres at integers).

    Returns
    -------
    background
        Values [y, x] in the unit of the field.

    Raises
    ------
    InputDataError
        Raised if a spline has no valid bin.

    Notes
    -----
    Each term is rounded to float32 and the terms are added in float32, in
    their order.  Outside the outermost bin centres a spline continues as the
    parabola of its last value, slope and curvature, as the observatory's
    ``afw`` library does it; `SplineField.render` continues the cubic there.
    """
    match field:
        case SumField():
            total = render_background(field.operands[0], bbox)
            for operand in field.operands[1:]:
                total = total + render_background(operand, bbox)
            return total
        case SplineField():
            return _render_spline(field, bbox)
        case _:
            return render_scaling(field, bbox).astype(np.float32)


def render_scaling(field: BaseField, bbox: Box) -> FloatArray:
    """Evaluate a photometric scaling on pixels, in double precision.

    Parameters
    ----------
    field
        Scaling; a product of several factors is a `~lsst.images.fields.ProductField`.
    bbox
        Pixels (0-based, centres at integers).

    Returns
    -------
    scaling
        Values [y, x] in the unit of the field.
    """
    match field:
        case ProductField():
            product = render_scaling(field.operands[0], bbox)
            for operand in field.operands[1:]:
                product *= render_scaling(operand, bbox)
            return product
        case ChebyshevField():
            return _render_chebyshev(field, bbox)
        case _:
            rendered: FloatArray = field.render(bbox, dtype=np.float64).array
            return rendered


def _render_chebyshev(field: ChebyshevField, bbox: Box) -> FloatArray:
    from .._kernels.fields_nb import evaluate_separable  # noqa: PLC0415  # numba only when it is used

    def terms(of: str, order: int) -> FloatArray:
        """Return the polynomials [pixel, order] along one axis; the field's box spans -1 to 1."""
        span, pixels = getattr(field.bounds.bbox, of), getattr(bbox, of).arange
        scaled = 2.0 / span.size * (pixels - (span.min + 0.5 * span.size - 0.5))
        matrix: FloatArray = np.polynomial.chebyshev.chebvander(scaled, order)
        return matrix

    row_factors = terms("y", field.y_order) @ field.coefficients
    values = np.empty(bbox.shape)
    evaluate_separable(row_factors, np.ascontiguousarray(terms("x", field.x_order).T), values)
    return values


def _render_spline(field: SplineField, bbox: Box) -> FloatImage:
    data = np.asarray(field.data, dtype=np.float64)
    valid = np.isfinite(data)
    usable = valid.any(axis=0)
    if not usable.any():
        raise InputDataError(f"No bin of the background {field} is finite.")
    # Along y, bin column by bin column, because each may lack other bins.
    columns = np.stack(
        [
            _interpolate(field.y[valid[:, j]], data[valid[:, j], j], bbox.y.arange)
            for j in np.flatnonzero(usable)
        ]
    )
    return np.ascontiguousarray(_interpolate(field.x[usable], columns, bbox.x.arange).T, dtype=np.float32)


def _interpolate(points: FloatArray, values: FloatArray, positions: npt.NDArray[np.int_]) -> FloatArray:
    """Interpolate along the first axis; fewer points make a simpler curve."""
    if len(points) == 1:
        return np.repeat(values[:1], len(positions), axis=0)
    if len(points) == 2:
        fraction = (positions - points[0]) / (points[1] - points[0])
        line: FloatArray = values[0] + np.multiply.outer(fraction, values[1] - values[0])
        return line
    if len(points) >= _AKIMA_POINTS:
        curve = Akima1DInterpolator(points, values)
    else:
        curve = CubicSpline(points, values, bc_type="natural")
    result: FloatArray = curve(positions)
    for end, outside in ((points[0], positions < points[0]), (points[-1], positions > points[-1])):
        step = positions[outside] - end
        slope, curvature = curve(end, 1), curve(end, 2)
        result[outside] = (
            curve(end) + np.multiply.outer(step, slope) + np.multiply.outer(0.5 * step * step, curvature)
        )
    return result
