"""The difference image, and the kernel that matches the template to a visit."""

from __future__ import annotations

__all__ = ("TEMPLATE_FWHM", "make_difference_image", "make_matching_kernel", "template_psf")

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lsst.images import (
    Box,
    DifferenceImage,
    DifferenceImageTemplateInfo,
    Image,
    Mask,
    MaskPlane,
    MaskSchema,
    VisitImage,
    get_legacy_difference_image_mask_planes,
)
from lsst.images.cells import CellCoadd
from lsst.images.convolution_kernels import ImageBasisConvolutionKernel
from lsst.images.fields import ChebyshevField

from ._config import SurveyConfig
from ._psf import MoffatField, make_psf_picture
from ._scene import DetectorScene
from ._template import convolve_plainly, decorrelate_plainly, make_warped_template

TEMPLATE_FWHM = 0.55
"""FWHM of the effective PSF of the templates in arcsec: sharper than any visit,
so that the matching kernel only blurs."""

KERNEL_SIZE = 25
"""Side of the matching kernel."""

# The ratio of transforms is taken on a grid several times the kernel's size,
# where the profiles have fallen to nothing at the edges.
_TRANSFORM_SIZE = 129

_SPATIAL_ORDER = 2

_MARGIN = KERNEL_SIZE // 2 + 1
"""Pixels of the template around the visit's: the kernel's reach, and one for differences of positions."""


def template_psf(config: SurveyConfig) -> MoffatField:
    """Return the PSF of the templates, round and the same everywhere, in pixels."""
    return MoffatField(fwhm_px=TEMPLATE_FWHM / config.pixel_scale)


def make_matching_kernel(config: SurveyConfig, psf: MoffatField, bbox: Box) -> ImageBasisConvolutionKernel:
    """Make the kernel that blurs the template's PSF to a visit's.

    Parameters
    ----------
    config
        The survey.
    psf
        Analytic PSF of the visit.
    bbox
        Where the kernel is valid.

    Notes
    -----
    At a position the kernel is the ratio of the Fourier transforms of the two
    profiles; it is fitted pixel by pixel with Chebyshev polynomials, so each
    basis image belongs to one polynomial.  The template has the visit's pixel
    scale to a part in a thousand, and its PSF is round, so no allowance is
    made for the resampling.
    """
    x = np.linspace(bbox.x.min, bbox.x.max, 5)
    y = np.linspace(bbox.y.min, bbox.y.max, 5)
    grid_x, grid_y = (grid.ravel() for grid in np.meshgrid(x, y))
    template = make_psf_picture(template_psf(config), x=0.0, y=0.0, size=_TRANSFORM_SIZE)
    kernels = np.array(
        [
            _kernel_at(make_psf_picture(psf, x=px, y=py, size=_TRANSFORM_SIZE), template)
            for px, py in zip(grid_x.tolist(), grid_y.tolist(), strict=True)
        ]
    )
    orders = [
        (p, q)
        for p in range(_SPATIAL_ORDER + 1)
        for q in range(_SPATIAL_ORDER + 1)
        if p + q <= _SPATIAL_ORDER
    ]
    spatial = []
    for p, q in orders:
        coefficients = np.zeros((_SPATIAL_ORDER + 1, _SPATIAL_ORDER + 1))
        coefficients[p, q] = 1.0
        spatial.append(ChebyshevField(bbox, coefficients))
    design = np.stack([field(x=grid_x, y=grid_y) for field in spatial], axis=-1)
    basis, *_ = np.linalg.lstsq(design, kernels.reshape(len(kernels), -1), rcond=None)
    return ImageBasisConvolutionKernel(basis.reshape(len(orders), KERNEL_SIZE, KERNEL_SIZE), spatial)


def make_difference_image(
    config: SurveyConfig,
    visit_image: VisitImage,
    scene: DetectorScene,
    *,
    templates: Sequence[DifferenceImageTemplateInfo],
    coadds: Sequence[CellCoadd],
) -> DifferenceImage:
    """Make the difference image of a visit: science minus matched template.

    A source that is brighter in the visit than in the template is positive.

    Parameters
    ----------
    config
        The survey.
    visit_image
        The science image, as it was stored.
    scene
        Its noise-free sky, now and at the time of the template.
    templates
        What the template was made from.
    coadds
        The same coadds, as they were stored.

    Notes
    -----
    The steps are those of the observatory's image differencing, in plain
    double precision: the coadds are brought to the pixels of the visit, blurred
    by the matching kernel and subtracted; the noise is made white.  Where the
    kernel touches a pixel that no coadd reaches, image and variance are NaN
    and NO_DATA is set.  The detections are where the truth has changed.
    """
    bbox = visit_image.bbox
    kernel = make_matching_kernel(config, scene.psf, bbox)
    wide = bbox.dilated_by(_MARGIN)
    template, template_variance = make_warped_template(coadds, scene.sky_projection, wide)
    matched = convolve_plainly(template, kernel, bbox, margin=_MARGIN)
    inner = (slice(_MARGIN, -_MARGIN),) * 2
    sky = np.isfinite(template[inner])
    pixels, science_factor, template_factor = decorrelate_plainly(
        visit_image.image.array - matched,
        kernel.compute_kernel_image(x=int(bbox.x.center), y=int(bbox.y.center)).array,
        science=_clipped_mean(visit_image.variance.array[_find_sky(visit_image.mask)]),
        template=_clipped_mean(template_variance[inner][sky]),
    )
    variance = visit_image.variance.array * science_factor + template_variance[inner] * template_factor
    missing = ~np.isfinite(pixels)
    variance[missing] = np.nan
    return DifferenceImage(
        Image(
            pixels.astype(np.float32), bbox=bbox, unit=visit_image.unit, sky_projection=scene.sky_projection
        ),
        mask=_make_mask(visit_image, scene, missing),
        variance=Image(variance.astype(np.float32), bbox=bbox, unit=visit_image.variance.unit),
        obs_info=visit_image.obs_info,
        summary_stats=visit_image.summary_stats,
        photometric_scaling=visit_image.photometric_scaling,
        psf=visit_image.psf,
        detector=visit_image.detector,
        aperture_corrections=visit_image.aperture_corrections,
        band=visit_image.band,
        kernel=kernel,
        templates=templates,
    )


def _make_mask(visit_image: VisitImage, scene: DetectorScene, missing: npt.NDArray[np.bool_]) -> Mask:
    """Return the mask of the visit image, with what is missing and what has changed."""
    planes: list[MaskPlane | None] = list(get_legacy_difference_image_mask_planes().values())
    mask = Mask(schema=MaskSchema(planes), bbox=visit_image.bbox)
    mask.update(visit_image.mask)
    mask.set("NO_DATA", missing)
    sigma = np.sqrt(visit_image.variance.array)
    change = scene.model - scene.template
    mask.clear("DETECTED")
    mask.set("DETECTED", ~missing & (np.abs(change) > 3.0 * sigma))
    mask.set("DETECTED_NEGATIVE", ~missing & (change < -3.0 * sigma))
    return mask


def _find_sky(mask: Mask) -> npt.NDArray[np.bool_]:
    """Return which pixels tell the noise of a visit image."""
    bad = ("BAD", "SATURATED", "INTERPOLATED", "COSMIC_RAY", "DETECTION_EDGE", "NO_DATA")
    return ~np.any([mask.get(plane) for plane in bad], axis=0)


def _clipped_mean(values: npt.NDArray[np.floating]) -> float:
    """Return the mean of values after three clips at three standard deviations."""
    lower, center, upper = np.percentile(values.astype(float), [25, 50, 75])
    sigma = (upper - lower) * 0.741301109252802
    for _ in range(3):
        near = values[abs(values - center) <= 3 * sigma].astype(float)
        center, sigma = near.mean(), near.std()
    return float(center)


def _kernel_at(
    science: npt.NDArray[np.float64], template: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the kernel that turns one centred picture into another, with sum 1."""
    ratio = np.fft.fft2(science) / np.fft.fft2(template)
    # Both pictures have the same centre, so the ratio's is the first element.
    kernel = np.fft.fftshift(np.real(np.fft.ifft2(ratio)))
    start = _TRANSFORM_SIZE // 2 - KERNEL_SIZE // 2
    kernel = kernel[start : start + KERNEL_SIZE, start : start + KERNEL_SIZE]
    return np.asarray(kernel / np.sum(kernel))
