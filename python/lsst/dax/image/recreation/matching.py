"""Fit of the kernel that matches the PSF of a template to that of a science image."""

from __future__ import annotations

__all__ = ("KernelFit", "KernelModel", "find_stamp_positions", "fit_matching_kernel")

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import pydantic
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from lsst.images import Box, MaskedImage
from lsst.images.convolution_kernels import ImageBasisConvolutionKernel
from lsst.images.fields import ChebyshevField

from ..errors import RequestError

type Floats = NDArray[np.float64]
type Bools = NDArray[np.bool_]

_WIDTHS = (0.7, 1.5, 3.0)
_DEGREES = (4, 2, 2)
_SIZE = 21
_MIDDLE_WIDTH = 1.5  # the width in _WIDTHS that the matching kernel has itself

_BAD = ("NO_DATA", "BAD", "SATURATED", "SUSPECT", "COSMIC_RAY", "INTERPOLATED")
_MOST_BAD = 0.1
"""Share of the pixels of a stamp that may be masked."""

_ROUNDS = 20
_SIGMAS = 3.0
_SIGMA_OF_MAD = 1.4826

# Normal equations with unit diagonal; beyond, less than four digits are left.
_WORST_CONDITION = 1e12


class KernelModel(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Which kernels are tried: Gaussians times polynomials, with amplitudes that vary over the image."""

    widths_px: tuple[pydantic.PositiveFloat, ...] = _WIDTHS
    """Standard deviations of the Gaussians."""
    degrees: tuple[pydantic.NonNegativeInt, ...] = _DEGREES
    """Degree of the polynomial that each is multiplied by."""
    size: pydantic.PositiveInt = _SIZE
    """Side of the kernel in pixels; odd."""
    spatial_order: pydantic.NonNegativeInt = 1
    """Order of the polynomials of the position that the kernel's shape follows."""
    sum_order: pydantic.NonNegativeInt = 0
    """The same for the kernel's sum, the ratio of the flux scales; 0 if both are calibrated."""
    background_order: pydantic.NonNegativeInt | None = 0
    """Order of the background that is fitted along; `None` for no background."""
    stamp_size: pydantic.PositiveInt = 31
    """Side of the stamps that are compared, in pixels; odd."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if not self.widths_px or len(self.widths_px) != len(self.degrees):
            raise ValueError(
                f"Gaussians of {self.widths_px} pixels need as many degrees, not {self.degrees}."
            )
        if self.size % 2 == 0 or self.stamp_size % 2 == 0:
            raise ValueError(
                f"Sides of kernel and stamps must be odd, not {self.size} and {self.stamp_size}."
            )
        return self

    @classmethod
    def for_psfs(cls, *, science_fwhm_px: float, template_fwhm_px: float, spatial_order: int = 1) -> Self:
        """Return the model for two widths of PSFs.

        Parameters
        ----------
        science_fwhm_px, template_fwhm_px
            Full widths at half maximum in pixels.
        spatial_order
            Order of the kernel's changes over the image.

        Returns
        -------
        model
            Gaussians in the ratio of 0.7, 1.5 and 3, of which the middle one
            turns one width into the other, but not narrower than that.

        Raises
        ------
        RequestError
            Raised if the template is not the sharper one: the kernel would
            have to sharpen, and would amplify its noise.
        """
        if not 0.0 < template_fwhm_px < science_fwhm_px < math.inf:
            raise RequestError(
                f"A template of {template_fwhm_px:.3g} pixels FWHM cannot be matched to a science image of "
                f"{science_fwhm_px:.3g} by a kernel that blurs; exchange them."
            )
        width = math.sqrt((science_fwhm_px**2 - template_fwhm_px**2) / (8.0 * math.log(2.0)))
        scale = max(width / _MIDDLE_WIDTH, 1.0)
        return cls(
            widths_px=tuple(scale * value for value in _WIDTHS),
            size=2 * math.ceil(scale * (_SIZE // 2)) + 1,
            spatial_order=spatial_order,
        )


@dataclass(frozen=True, eq=False)
class KernelFit:
    """A fitted kernel, and how well it fits."""

    kernel: ImageBasisConvolutionKernel
    """Kernel to convolve the template with."""

    background: ChebyshevField | None
    """Science image minus convolved template, in the unit of the images; `None` if it was not fitted."""

    used: Bools
    """Which stamps the fit has used, shape ``(n,)``."""

    chi_squared: Floats
    """Mean square of the residuals in units of the noise, shape ``(n,)``; NaN for stamps
    with too many bad pixels."""

    condition: float
    """Condition number of the normal equations with unit diagonal."""


@dataclass(frozen=True, eq=False)
class _Stamp:
    """Normal equations of one stamp."""

    gram: Floats
    right: Floats
    square: float
    pixels: int
    variances: tuple[float, float]


def fit_matching_kernel(
    science: MaskedImage,
    template: MaskedImage,
    *,
    x: ArrayLike,
    y: ArrayLike,
    model: KernelModel | None = None,
    bounds: Box | None = None,
) -> KernelFit:
    r"""Fit the kernel that turns a template into a science image.

    Parameters
    ----------
    science
        Science image.  Not modified.
    template
        Template on the same pixels, and around them where there is more.
        Exchange the two to match the science image to the template.
    x, y
        Pixels of stars that are in both images, such as those of
        `find_stamp_positions`.
    model
        Which kernels are tried; the default if `None`.
    bounds
        Pixels that the kernel is defined on; those of the science image if
        `None`.

    Returns
    -------
    fit
        Kernel and background with Chebyshev amplitudes.

    Raises
    ------
    RequestError
        Raised if there are too few stars for the model, or if they do not
        determine it.

    Notes
    -----
    The kernel is :math:`K = \sum_n a_n(x, y) B_n` [1]_ with Gaussians times
    polynomials as :math:`B_n`; all but the first have their sum taken away by
    a multiple of it, so that only the first carries flux [2]_.  Amplitudes are
    polynomials of the position, constant within a stamp.

    All pixels of a stamp have the same weight, the inverse of its median
    variance: with weights of their own, pixels in a star would have too little
    where they happen to be bright.  Stamps whose residuals stick out by three
    standard deviations are left out, one round after the other: stars that
    vary, or move, and blends that do.  Nothing is regularised; a fit whose
    normal equations are nearly singular is refused.

    References
    ----------
    .. [1] Alard & Lupton 1998, ApJ 503, 325.
    .. [2] Alard 2000, A&AS 144, 363.
    """
    model = KernelModel() if model is None else model
    bounds = science.bbox if bounds is None else bounds
    px, py = (np.atleast_1d(np.rint(np.asarray(value, float))).astype(int) for value in (x, y))
    basis = _make_basis(model)
    stamps = [
        _read_stamp(science, template, basis, model, (int(a), int(b))) for a, b in zip(px, py, strict=True)
    ]
    design = _Design.make(model, len(basis), bounds, px, py)
    used = np.array([stamp is not None for stamp in stamps], bool)
    for _ in range(_ROUNDS):
        _require_enough(used, stamps, design)
        weights = _find_weights(stamps, basis[0])
        solution, condition = _solve(stamps, design, weights, used)
        chi_squared = _find_residuals(stamps, design, weights, solution)
        level = np.median(chi_squared[used])
        # The scatter of few stamps may be small by chance; that of the noise is known.
        pixels = np.median([stamp.pixels for stamp in stamps if stamp is not None])
        spread = max(
            _SIGMA_OF_MAD * np.median(np.abs(chi_squared[used] - level)), level * math.sqrt(2.0 / pixels)
        )
        kept = used & (chi_squared <= level + _SIGMAS * spread)
        if (kept == used).all():
            break
        used = kept
    return KernelFit(
        kernel=_make_kernel(solution, design, basis, bounds),
        background=_make_background(solution, design, model, bounds),
        used=used,
        chi_squared=chi_squared,
        condition=condition,
    )


def find_stamp_positions(
    image: MaskedImage, *, least_ratio: float = 20.0, isolation_px: int = 12, max_count: int = 200
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find bright peaks without a brighter neighbour.

    Parameters
    ----------
    image
        Image, from which the background was subtracted.
    least_ratio
        Least ratio of a peak's pixel to its noise.
    isolation_px
        No pixel that is brighter, bad or off the image within so many pixels
        in x and y.
    max_count
        Most peaks that are returned; the brightest.

    Returns
    -------
    x, y
        Pixels of the peaks, the brightest first.

    Raises
    ------
    RequestError
        Raised if the isolation or the number is not positive.
    """
    if isolation_px < 1 or max_count < 1:
        raise RequestError(
            f"Isolation and number of peaks must be positive, not {isolation_px} and {max_count}."
        )
    bad = _find_bad(image)
    pixels = np.where(bad, -np.inf, image.image.array)
    side = 2 * isolation_px + 1
    peak = (pixels == maximum_filter(pixels, side, mode="constant", cval=-np.inf)) & ~bad
    peak &= ~maximum_filter(bad, side, mode="constant", cval=True)
    peak &= pixels > least_ratio * np.sqrt(np.where(bad, np.inf, image.variance.array))
    rows, columns = np.nonzero(peak)
    order = np.argsort(-pixels[rows, columns], kind="stable")[:max_count]
    return columns[order] + image.bbox.x.start, rows[order] + image.bbox.y.start


def _make_basis(model: KernelModel) -> Floats:
    """Return the pictures of the kernel; only the first has a sum."""
    half = model.size // 2
    line = np.arange(-half, half + 1) / half
    pictures = []
    for width, degree in zip(model.widths_px, model.degrees, strict=True):
        gauss = np.exp(-0.5 * (line * half / width) ** 2)
        for p in range(degree + 1):
            for q in range(degree + 1 - p):
                picture = np.outer(gauss * line**q, gauss * line**p)
                pictures.append(picture)
    first = pictures[0] / np.sum(pictures[0])
    others = [picture - np.sum(picture) * first for picture in pictures[1:]]
    return np.stack([first] + [picture / np.linalg.norm(picture) for picture in others])


def _find_bad(image: MaskedImage) -> Bools:
    """Return the pixels that tell nothing."""
    bad: Bools = ~(np.isfinite(image.image.array) & np.isfinite(image.variance.array))
    for name in _BAD:
        if name in image.mask.schema.names:
            bad |= image.mask.get(name)
    return bad


def _read_stamp(
    science: MaskedImage, template: MaskedImage, basis: Floats, model: KernelModel, center: tuple[int, int]
) -> _Stamp | None:
    """Return the normal equations of a stamp; `None` if it has too many bad pixels."""
    (x, y), half = center, model.stamp_size // 2
    wide = half + model.size // 2
    box = Box.factory[y - half : y + half + 1, x - half : x + half + 1]
    source = Box.factory[y - wide : y + wide + 1, x - wide : x + wide + 1]
    if not (science.bbox.contains(box) and template.bbox.contains(source)):
        return None
    ours, theirs = _part(science, box), _part(template, source)
    missing = ~(np.isfinite(theirs.image.array) & np.isfinite(theirs.variance.array))
    bad = _find_bad(ours)
    inner = box.slice_within(source)
    if np.mean(bad) > _MOST_BAD or np.any(missing) or np.any(_find_bad(theirs)[inner]):
        return None
    pixels = theirs.image.array.astype(np.float64)
    columns = [fftconvolve(pixels, picture[::-1, ::-1], mode="valid")[~bad] for picture in basis]
    columns.append(np.ones(np.count_nonzero(~bad)))
    matrix = np.stack(columns, axis=1)
    values = ours.image.array[~bad].astype(np.float64)
    variances = float(np.median(ours.variance.array[~bad])), float(np.median(theirs.variance.array[inner]))
    return _Stamp(matrix.T @ matrix, matrix.T @ values, float(values @ values), values.size, variances)


def _part(image: MaskedImage, box: Box) -> MaskedImage:
    return MaskedImage(image.image[box], mask=image.mask[box], variance=image.variance[box])


@dataclass(frozen=True, eq=False)
class _Design:
    """Which column of a stamp each parameter belongs to, and its polynomial there."""

    columns: NDArray[np.int64]
    powers: NDArray[np.int64]
    values: Floats  # (stamps, parameters)

    @classmethod
    def make(
        cls, model: KernelModel, n_basis: int, bounds: Box, x: NDArray[np.int64], y: NDArray[np.int64]
    ) -> Self:
        """Return the parameters of a model, and their polynomials at the stamps."""
        orders: list[int | None] = [model.sum_order, *(n_basis - 1) * [model.spatial_order]]
        orders.append(model.background_order)
        terms = [
            (column, q, p)
            for column, order in enumerate(orders)
            if order is not None
            for q in range(order + 1)
            for p in range(order + 1 - q)
        ]
        columns, *powers = np.array(terms).T
        top = int(np.max(powers))
        # The frame of ChebyshevField: -1 and 1 are the outer edges of the bounds.
        tx = (2.0 * x - (bounds.x.start + bounds.x.stop - 1)) / bounds.x.size
        ty = (2.0 * y - (bounds.y.start + bounds.y.stop - 1)) / bounds.y.size
        vander_x, vander_y = (np.polynomial.chebyshev.chebvander(t, top) for t in (tx, ty))
        return cls(columns, np.stack(powers, axis=1), vander_y[:, powers[0]] * vander_x[:, powers[1]])

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.columns.size


def _require_enough(used: Bools, stamps: list[_Stamp | None], design: _Design) -> None:
    """Raise if there are fewer stars than values of a polynomial to be found."""
    needed = len({tuple(power) for power in design.powers.tolist()}) + 1
    count = int(np.count_nonzero(used))
    if count < needed:
        unusable = sum(stamp is None for stamp in stamps)
        raise RequestError(
            f"{count} of {len(stamps)} stars can be used ({unusable} have bad pixels or lie at an edge); the "
            f"model needs {needed} at least."
        )


def _find_weights(stamps: list[_Stamp | None], first: Floats) -> Floats:
    """Return one weight per stamp: the inverse variance of a pixel of the difference."""
    blur = float(np.sum(first**2))
    return np.array(
        [0.0 if stamp is None else 1.0 / (stamp.variances[0] + blur * stamp.variances[1]) for stamp in stamps]
    )


def _solve(
    stamps: list[_Stamp | None], design: _Design, weights: Floats, used: Bools
) -> tuple[Floats, float]:
    """Solve the normal equations of all stamps, and return their condition number, too."""
    matrix, right = np.zeros((design.size, design.size)), np.zeros(design.size)
    for index in np.flatnonzero(used):
        if (stamp := stamps[index]) is not None:
            values = design.values[index]
            gram = stamp.gram[np.ix_(design.columns, design.columns)]
            matrix += weights[index] * gram * np.outer(values, values)
            right += weights[index] * stamp.right[design.columns] * values
    scale = 1.0 / np.sqrt(np.diagonal(matrix))
    scaled = matrix * np.outer(scale, scale)
    condition = float(np.linalg.cond(scaled)) if np.isfinite(scaled).all() else math.inf
    if not condition < _WORST_CONDITION:
        raise RequestError(
            f"{int(np.count_nonzero(used))} stars do not determine a kernel of {design.size} parameters: the "
            f"condition number is {condition:.1e}, at most {_WORST_CONDITION:.0e} is allowed; take more "
            f"stars over the whole image, or a lower order."
        )
    return scale * np.linalg.solve(scaled, scale * right), condition


def _find_residuals(
    stamps: list[_Stamp | None], design: _Design, weights: Floats, solution: Floats
) -> Floats:
    """Return the mean squares of the residuals in units of the noise."""
    found = np.full(len(stamps), np.nan)
    for index, stamp in enumerate(stamps):
        if stamp is not None:
            local = np.zeros(stamp.right.size)
            np.add.at(local, design.columns, solution * design.values[index])
            total = stamp.square - 2.0 * local @ stamp.right + local @ stamp.gram @ local
            found[index] = weights[index] * total / stamp.pixels
    return found


def _make_kernel(
    solution: Floats, design: _Design, basis: Floats, bounds: Box
) -> ImageBasisConvolutionKernel:
    fields = [_make_field(solution, design, column, bounds) for column in range(len(basis))]
    return ImageBasisConvolutionKernel(basis, fields)


def _make_background(
    solution: Floats, design: _Design, model: KernelModel, bounds: Box
) -> ChebyshevField | None:
    if model.background_order is None:
        return None
    return _make_field(solution, design, int(design.columns[-1]), bounds)


def _make_field(solution: Floats, design: _Design, column: int, bounds: Box) -> ChebyshevField:
    """Return the polynomial of one column."""
    mine = design.columns == column
    top = int(np.max(design.powers[mine])) + 1
    coefficients = np.zeros((top, top))
    coefficients[design.powers[mine, 0], design.powers[mine, 1]] = solution[mine]
    return ChebyshevField(bounds, coefficients)
