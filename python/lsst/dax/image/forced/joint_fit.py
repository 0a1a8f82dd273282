"""Fluxes of sources that overlap, all fitted together."""

from __future__ import annotations

__all__ = ("JointFluxes", "Models", "fit_jointly", "stack_models")

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from .._kernels import flux_joint_nb as nb
from ..errors import InternalError, RequestError, RequestTooLargeError
from ..flags import FLAGS
from ..psfs import PsfStamps
from .pixels import Pixels
from .sersic import Picture

type Floats = NDArray[np.float64]
type Integers = NDArray[np.int64]

MAX_MODEL_PIXELS = 200_000_000
"""Most pixels of all models together: 1.6 GB."""

_DEGENERATE_OVERLAP = 0.88
"""Normalised overlap of two models above which they are degenerate: that of
equal Gaussians 0.3 FWHM apart, exp(-(0.3 * 2.3548)² / 4)."""

_TOLERANCE = 1e-10
# Two models at one place make the equations singular: so much of the diagonal
# is added, which moves no flux of models that differ by more than a rounding.
_RIDGE = 1e-10
_MAX_ITERATIONS = 20_000


@dataclass(frozen=True)
class Models:
    """Images of sources of unit flux, of any sizes."""

    x: Floats
    """Columns of the sources in parent pixels, shape ``(n,)``."""

    y: Floats
    """Rows of the sources, shape ``(n,)``."""

    values: Floats
    """Pixels of all images, one after the other, row by row."""

    starts: Integers
    """Index of each image's first pixel in ``values``, shape ``(n,)``."""

    boxes: Integers
    """First column, first row, columns and rows of each image in parent
    pixels, shape ``(n, 4)``; no rows where a source has no image."""

    def __len__(self) -> int:
        return self.x.size


@dataclass(frozen=True)
class JointFluxes:
    """Fluxes in the units of the image, all of shape ``(n,)``."""

    flux: Floats
    """Flux; NaN where a source has no pixel, or has the place of another."""

    flux_err: Floats
    """Standard deviation of the flux, with that of its neighbours in it."""

    blend_flux: Floats
    """Summed flux of the source and those that the data hardly tell from it;
    its own flux where there are none."""

    blend_flux_err: Floats
    """Standard deviation of the summed flux."""

    blend_correlation: Floats
    """Largest absolute correlation of the flux with that of another source."""

    n_neighbours: Integers
    """Number of sources whose images share pixels with this one."""

    flags: Integers
    """Flag words; see `lsst.dax.image.flags`."""


def stack_models(
    stamps: PsfStamps, *, x: Floats, y: Floats, extended: Mapping[int, Picture] | None = None
) -> Models:
    """Return point sources, and extended ones among them, as models.

    Parameters
    ----------
    stamps
        Pictures of all sources as point sources.
    x, y
        Their positions in parent pixels, shape ``(n,)``.
    extended
        Pictures of the extended sources, by their indices among all.

    Returns
    -------
    models
        One per source, in their order.

    Raises
    ------
    RequestTooLargeError
        Raised if the models have more than `MAX_MODEL_PIXELS` pixels.
    """
    extended = extended or {}
    n, height, width = stamps.array.shape
    boxes = np.column_stack(
        [stamps.x0, stamps.y0, np.full(n, width), np.where(stamps.flags == 0, height, 0)]
    ).astype(np.int64)
    starts = np.arange(n, dtype=np.int64) * height * width
    values = [stamps.array.reshape(-1)]
    total = stamps.array.size
    for k, picture in extended.items():
        boxes[k] = picture.x0, picture.y0, picture.array.shape[1], picture.array.shape[0]
        starts[k] = total
        values.append(picture.array.reshape(-1))
        total += picture.array.size
    if total > MAX_MODEL_PIXELS:
        raise RequestTooLargeError(
            f"A joint fit holds {MAX_MODEL_PIXELS} model pixels; this one needs {total}."
        )
    return Models(x=x, y=y, values=np.concatenate(values), starts=starts, boxes=boxes)


def fit_jointly(
    pixels: Pixels, models: Models, *, wanted: Integers | None = None, error_radius: float = 12.0
) -> JointFluxes:
    r"""Fit the fluxes of all sources at once.

    Parameters
    ----------
    pixels
        Pixels of the image.
    models
        Sources of unit flux: those that are asked for, and their neighbours.
    wanted
        Indices of the sources that are asked for; all if `None`.
    error_radius
        Sources within so many pixels (some three widths of the PSF) are free
        when the error of a flux is computed, those beyond are held.  Sources
        with larger pictures than most are free wherever they overlap.

    Returns
    -------
    fluxes
        One per source that is asked for.

    Raises
    ------
    RequestError
        Raised if the radius is not positive.
    InternalError
        Raised if the equations are not solved to a part in 10¹⁰.

    Notes
    -----
    With :math:`A_{jk} = \sum m_j m_k`, :math:`b_j = \sum m_j d` and
    :math:`V_{jk} = \sum v m_j m_k`, the fluxes are :math:`A^{-1} b` and their
    covariance is :math:`A^{-1} V A^{-1}`: the unweighted least squares of
    `fit_psf_flux` for many sources.  The sparse equations are solved by
    conjugate gradients; covariances come from the matrices of the sources
    within ``error_radius``.  Pixels that are not finite are left out.
    """
    if not error_radius > 0.0:
        raise RequestError(f"The radius for errors must be positive; got {error_radius}.")
    chosen = np.arange(len(models)) if wanted is None else np.asarray(wanted, dtype=np.int64)
    equations = _sum_equations(pixels, models)
    flux = _solve(equations)
    overlap = equations.scaled.tocoo()
    is_degenerate = (overlap.data > _DEGENERATE_OVERLAP) & (overlap.row != overlap.col)
    links = csr_matrix(
        (np.ones(is_degenerate.sum()), (overlap.row[is_degenerate], overlap.col[is_degenerate])),
        shape=overlap.shape,
    )
    groups = connected_components(links, directed=False)[1].astype(np.int64)
    errors = _find_errors(models, equations, groups, chosen, error_radius)
    sums = np.bincount(groups, weights=np.where(equations.has_pixels, flux, 0.0))[groups]
    return _collect(models, equations, flux, sums, errors, np.bincount(groups)[groups] > 1, chosen)


@dataclass(frozen=True)
class _Equations:
    """Normal equations of all sources."""

    products: csr_matrix
    """Sums of m m'."""

    variances: csr_matrix
    """Sums of m m' v, with the same pattern."""

    scaled: csr_matrix
    """Products divided by the roots of both diagonal elements."""

    right: Floats
    """Sums of m d."""

    has_pixels: NDArray[np.bool_]
    """Whether a source has a pixel; those without have a diagonal of 1."""


def _sum_equations(pixels: Pixels, models: Models) -> _Equations:
    """Return the normal equations, without pairs that share no pixel."""
    n = len(models)
    first, second = _find_pairs(models)
    itself = np.arange(n)
    first, second = np.concatenate([itself, first]), np.concatenate([itself, second])
    right = np.zeros(n)
    products, variances = np.empty(first.size), np.empty(first.size)
    boxes = models.boxes - np.array([pixels.x0, pixels.y0, 0, 0])
    planes = pixels.image, pixels.variance, pixels.mask, pixels.drop
    nb.sum_normal_equations(
        *planes, models.values, models.starts, boxes, first, second, right, products, variances
    )
    has_pixels = products[:n] > 0.0
    products[:n][~has_pixels] = 1.0
    keep = (products != 0.0) | (first == second)
    first, second = first[keep], second[keep]
    mirrored = first != second
    rows, columns = np.concatenate([first, second[mirrored]]), np.concatenate([second, first[mirrored]])

    def assemble(values: Floats) -> csr_matrix:
        values = values[keep]
        matrix = csr_matrix((np.concatenate([values, values[mirrored]]), (rows, columns)), shape=(n, n))
        matrix.sort_indices()
        return matrix

    scale = diags_array(1.0 / np.sqrt(products[:n]))
    matrix = assemble(products)
    return _Equations(matrix, assemble(variances), csr_matrix(scale @ matrix @ scale), right, has_pixels)


def _find_pairs(models: Models) -> tuple[Integers, Integers]:
    """Return the pairs of sources whose boxes overlap."""
    boxes = models.boxes
    has_box = np.flatnonzero(boxes[:, 3] > 0)
    if has_box.size < 2:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    centers = boxes[has_box, :2] + boxes[has_box, 2:] / 2.0
    sides = boxes[has_box, 2:].max(axis=1)
    common = float(np.median(sides))
    # Point sources share a size; the few larger ones are paired by themselves.
    large = np.flatnonzero(sides > common)
    tree = cKDTree(centers)
    pairs = [_find_close(tree, tree, common)]
    for k in large:
        near = _find_close(cKDTree(centers[[k]]), tree, (sides[k] + sides.max()) / 2.0)
        near[:, 0] = k
        pairs.append(near)
    both = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
    both = both[both[:, 0] != both[:, 1]]
    return has_box[both[:, 0]].astype(np.int64), has_box[both[:, 1]].astype(np.int64)


def _find_close(first: cKDTree, second: cKDTree, distance: float) -> Integers:
    """Return the pairs of points no farther apart in either axis, shape ``(n_pairs, 2)``."""
    found = first.sparse_distance_matrix(second, distance, p=np.inf, output_type="ndarray")
    return np.column_stack([found["i"], found["j"]]).astype(np.int64)


def _solve(equations: _Equations) -> Floats:
    """Return the fluxes of all sources."""
    n = equations.right.size
    if n == 0:
        return np.empty(0)
    scale = 1.0 / np.sqrt(equations.products.diagonal())
    matrix = equations.scaled + _RIDGE * diags_array(np.ones(n))
    solution, info = cg(matrix, equations.right * scale, rtol=_TOLERANCE, maxiter=_MAX_ITERATIONS)
    if info != 0:
        raise InternalError(f"The fluxes of {n} sources did not converge in {_MAX_ITERATIONS} iterations.")
    flux: Floats = solution * scale
    return flux


def _find_errors(
    models: Models, equations: _Equations, groups: Integers, chosen: Integers, radius: float
) -> Floats:
    """Return the errors of fluxes, of summed fluxes, and the correlations, shape ``(n, 3)``."""
    matrix = equations.products
    rows = np.repeat(np.arange(len(models)), np.diff(matrix.indptr))
    columns = matrix.indices
    distance = np.hypot(models.x[rows] - models.x[columns], models.y[rows] - models.y[columns])
    # An extended source and all that overlap it are free together.
    sides = models.boxes[:, 2:].max(axis=1, initial=0)
    is_large = sides > np.median(sides) if sides.size else np.zeros(0, dtype=np.bool_)
    is_near = (distance < radius) | is_large[rows] | is_large[columns]
    is_near &= equations.has_pixels[rows] & equations.has_pixels[columns]
    max_near = int(np.bincount(rows[is_near], minlength=1).max()) + 1
    errors = np.empty((chosen.size, 3))
    nb.find_local_errors(
        matrix.indptr.astype(np.int64),
        columns.astype(np.int64),
        matrix.data,
        equations.variances.data,
        is_near,
        chosen,
        groups,
        max_near,
        _RIDGE,
        errors,
    )
    return errors


def _collect(
    models: Models,
    equations: _Equations,
    flux: Floats,
    sums: Floats,
    errors: Floats,
    is_degenerate: NDArray[np.bool_],
    chosen: Integers,
) -> JointFluxes:
    """Return the fluxes that were asked for, with NaN where there are none."""
    is_lost = ~equations.has_pixels[chosen]
    blank = [
        np.where(is_lost, np.nan, column)
        for column in (flux[chosen], errors[:, 0], sums[chosen], errors[:, 1], errors[:, 2])
    ]
    blank[0] = np.where(np.isnan(errors[:, 0]), np.nan, blank[0])
    flags = np.where(is_degenerate[chosen], FLAGS["BLEND_DEGENERATE"].value, 0)
    has_image = models.boxes[chosen, 3] > 0
    flags |= np.where(is_lost & has_image, FLAGS["NO_PIXELS"].value, 0)
    flags |= np.where(~has_image, FLAGS["NO_PSF"].value, 0)
    neighbours = np.diff(equations.products.indptr)[chosen] - 1
    return JointFluxes(
        flux=blank[0],
        flux_err=blank[1],
        blend_flux=blank[2],
        blend_flux_err=blank[3],
        blend_correlation=blank[4],
        n_neighbours=neighbours.astype(np.int64),
        flags=flags.astype(np.int64),
    )
