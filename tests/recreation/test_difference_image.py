"""Subtraction of a template against sums, known noise and known sources."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.images.convolution_kernels import ImageBasisConvolutionKernel
from lsst.images.fields import ChebyshevField
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import fftconvolve

from lsst.dax.image.errors import (
    InconsistentUnitsError,
    InputDataError,
    NoCoverageError,
    UnsupportedProductError,
)
from lsst.dax.image.recreation import (
    Decorrelation,
    MatchingMode,
    NoiseLevels,
    SubtractionOptions,
    convolve,
    find_difference_source,
    find_noise_levels,
    make_decorrelation_kernel,
    subtract_template,
)
from lsst.dax.image.recreation.decorrelation import find_mean_variance

PLAIN = SubtractionOptions(decorrelation=Decorrelation.NONE)
SCHEMA = MaskSchema([MaskPlane(name, "") for name in ("SATURATED", "DETECTED", "BAD")])


def gauss(width: float, *, x: float = 0.0, half: int = 12) -> np.ndarray:
    """Return a Gaussian of unit sum."""
    line = np.arange(-half, half + 1)
    picture = np.exp(-0.5 * ((line - x) / width) ** 2) * np.exp(-0.5 * (line / width) ** 2)[:, None]
    return picture / picture.sum()


def make_kernel(bbox: Box, *, width: float = 1.6, slope: float = 0.2) -> ImageBasisConvolutionKernel:
    """Return a kernel of unit sum that becomes wider along x."""
    basis = np.stack([gauss(width), gauss(1.3 * width) - gauss(width)])
    fields = [ChebyshevField(bbox, np.ones((1, 1))), ChebyshevField(bbox, np.array([[slope, slope]]))]
    return ImageBasisConvolutionKernel(basis, fields)


@pytest.fixture(scope="module")
def visit(mini_survey):
    """One visit image; tests take its components and give it other pixels."""
    with mini_survey.open() as butler:
        ref = butler.query_datasets("visit_image")[0]
        return butler.get(ref)


def with_pixels(visit, pixels: np.ndarray, variance: float):
    science = visit.copy()
    science.image.array[...] = pixels
    science.variance.array[...] = variance
    science.mask.clear()
    return science


def make_template(bbox: Box, pixels: np.ndarray, variance: float) -> MaskedImage:
    return MaskedImage(
        Image(pixels.astype(np.float32), bbox=bbox, unit=u.nJy),
        mask=Mask(0, schema=SCHEMA, bbox=bbox),
        variance=Image(np.full(tuple(bbox.shape), variance, np.float32), bbox=bbox, unit=u.nJy**2),
    )


def make_pair(visit, *, seed: int = 1, science_variance: float = 4.0, template_variance: float = 1.0):
    """Return noise in science image and template."""
    rng = np.random.default_rng(seed)
    wide = visit.bbox.dilated_by(60)
    science = with_pixels(
        visit, rng.normal(0.0, science_variance**0.5, tuple(visit.bbox.shape)), science_variance
    )
    template = make_template(
        wide, rng.normal(0.0, template_variance**0.5, tuple(wide.shape)), template_variance
    )
    return science, template


def measure_power(pixels: np.ndarray, *, bins: int = 6) -> np.ndarray:
    """Return the noise power in rings of frequency, up to that of two pixels."""
    power = np.abs(np.fft.fft2(pixels)) ** 2 / pixels.size
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in pixels.shape), indexing="ij"))
    ring = np.minimum((frequency / 0.5 * bins).astype(int), bins)
    return np.array([power[ring == n].mean() for n in range(bins + 1)])


def test_what_became_brighter_is_positive(visit) -> None:
    kernel, wide = make_kernel(visit.bbox), visit.bbox.dilated_by(60)
    sky = np.random.default_rng(3).uniform(0.0, 50.0, tuple(wide.shape))
    template = make_template(wide, sky, 0.5)
    matched = convolve(template, kernel, bbox=visit.bbox)
    science = with_pixels(visit, matched.image.array, 3.0)
    science.image.array[100, 120] += 7.0
    found = subtract_template(science, template, kernel, options=PLAIN)
    expected = np.zeros(found.image.array.shape)
    expected[100, 120] = 7.0
    assert_allclose(found.image.array, expected, atol=1e-4)
    assert_allclose(found.variance.array, 3.0 + matched.variance.array, rtol=1e-6)
    assert found.kernel is kernel
    assert found.unit == u.nJy


def test_factors_scale_the_variances(visit) -> None:
    science, template = make_pair(visit)
    kernel = make_kernel(visit.bbox)
    options = PLAIN.model_copy(update={"science_variance_factor": 1.5, "template_variance_factor": 3.0})
    found = subtract_template(science, template, kernel, options=options)
    blurred = convolve(template, kernel, bbox=visit.bbox).variance.array
    assert_allclose(found.variance.array, 4.0 * 1.5 + 3.0 * blurred, rtol=1e-6)


@pytest.mark.parametrize("mode", list(MatchingMode))
def test_noise_is_white_and_has_the_variance_of_the_plane(visit, mode: MatchingMode) -> None:
    kernel = make_kernel(visit.bbox, slope=0.0)
    powers, ratios, plain = [], [], []
    for seed in range(6):
        science, template = make_pair(visit, seed=seed, template_variance=6.0)
        found = subtract_template(science, template, kernel, options=SubtractionOptions(mode=mode))
        inner = found.image.array[30:-30, 30:-30].astype(float)
        powers.append(measure_power(inner))
        ratios.append(np.var(inner) / np.mean(found.variance.array[30:-30, 30:-30]))
        unfiltered = PLAIN.model_copy(update={"mode": mode})
        plain.append(
            measure_power(
                subtract_template(science, template, kernel, options=unfiltered).image.array[30:-30, 30:-30]
            )
        )
    power = np.mean(powers, axis=0)
    # 6 x 32400 pixels; the innermost ring has some 4000 of them, so 5 percent is three sigma there.
    assert_allclose(power / power.mean(), 1.0, atol=0.05)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.01)
    before = np.mean(plain, axis=0)
    assert before[0] / before[-1] > 1.4


def test_sum_over_a_source_survives_the_filter(visit) -> None:
    kernel = make_kernel(visit.bbox)
    science, template = make_pair(visit)
    source = np.zeros(science.image.array.shape)
    source[88:113, 108:133] = 5000.0 * gauss(2.0)
    with_source = with_pixels(visit, science.image.array + source, 4.0)
    one, two = (subtract_template(image, template, kernel) for image in (science, with_source))
    change = two.image.array.astype(float) - one.image.array
    assert np.sum(change) == pytest.approx(5000.0, rel=1e-5)
    # The filter sharpens: with the PSF of the science image a source is measured too bright,
    # here by 4.6 percent for a template with a quarter of the variance.
    weight = 5000.0 * source / np.sum(source**2)
    assert np.sum(change * weight) == pytest.approx(5230.0, abs=10.0)
    middle = kernel.compute_kernel_image(x=128, y=120).array
    white = make_decorrelation_kernel(middle, plain=4.0, blurred=1.0)
    sharp = fftconvolve(source, white.picture, mode="same")
    assert np.sum(change * sharp) / np.sum(sharp**2) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("mode", list(MatchingMode))
def test_a_part_has_the_bits_of_the_whole(visit, mode: MatchingMode) -> None:
    science, template = make_pair(visit)
    kernel, options = make_kernel(visit.bbox), SubtractionOptions(mode=mode)
    noise = NoiseLevels(science=4.0, template=1.0)
    wide = template.bbox.dilated_by(300)
    rng = np.random.default_rng(5)
    template = make_template(wide, rng.normal(size=tuple(wide.shape)), 1.0)
    science.image.array[50:52, 40:43] = np.nan
    whole = subtract_template(science, template, kernel, options=options, noise=noise, threads=2)
    for part in (Box.factory[0:9, 0:11], Box.factory[40:90, 30:200], Box.factory[210:240, 214:256]):
        ours, theirs = find_difference_source(part, science.bbox, kernel, options=options, noise=noise)
        found = subtract_template(
            science[ours], template[theirs], kernel, options=options, noise=noise, bbox=part
        )
        for name in ("image", "variance", "mask"):
            assert_array_equal(getattr(found, name).array, getattr(whole[part], name).array)


def test_masks_say_where_they_come_from(visit) -> None:
    science, template = make_pair(visit)
    science.mask.set("DETECTED", np.ones(science.mask.bbox.shape, bool))
    science.mask.set("SATURATED", science.image.array == science.image.array[20, 30])
    where = np.zeros(tuple(template.bbox.shape), bool)
    where[60 + 100, 60 + 120] = True
    for name in ("SATURATED", "DETECTED", "BAD"):
        template.mask.set(name, where)
    template.image.array[60 + 200, 60 + 50] = np.nan
    found = subtract_template(science, template, make_kernel(visit.bbox))
    touched = np.zeros(found.mask.bbox.shape, bool)
    touched[100 - 12 : 100 + 13, 120 - 12 : 120 + 13] = True
    assert_array_equal(found.mask.get("SAT_TEMPLATE"), touched)
    assert_array_equal(found.mask.get("BAD"), touched)
    assert np.argwhere(found.mask.get("SATURATED")).tolist() == [[20, 30]]
    assert not found.mask.get("DETECTED").any()
    missing = np.zeros_like(touched)
    missing[200 - 12 : 200 + 13, 50 - 12 : 50 + 13] = True
    for plane in (found.mask.get("NO_DATA"), np.isnan(found.image.array), np.isnan(found.variance.array)):
        assert_array_equal(plane, missing)


def test_a_template_that_is_too_small_leaves_an_edge(visit) -> None:
    science, template = make_pair(visit)
    found = subtract_template(science, template[science.bbox], make_kernel(visit.bbox))
    missing = np.ones(found.mask.bbox.shape, bool)
    missing[12:-12, 12:-12] = False
    assert_array_equal(found.mask.get("NO_DATA"), missing)


def test_background_is_subtracted_after_the_filter(visit) -> None:
    science, template = make_pair(visit)
    kernel = make_kernel(visit.bbox)
    field = ChebyshevField(visit.bbox, np.array([[2.0, 1.0]]), unit=u.nJy)
    without = subtract_template(science, template, kernel)
    found = subtract_template(science, template, kernel, background=field)
    x = visit.bbox.meshgrid().x.astype(float)
    change = 2.0 + 1.0 * (2.0 * x - 255.0) / 256.0
    assert_allclose(without.image.array - found.image.array, change, atol=1e-5)


def test_convolved_science_keeps_its_flux(visit) -> None:
    doubled = ImageBasisConvolutionKernel(
        2.0 * gauss(1.5)[None], [ChebyshevField(visit.bbox, np.ones((1, 1)))]
    )
    science, template = make_pair(visit)
    source = np.zeros(science.image.array.shape)
    source[100, 120] = 900.0
    template.image.array[...] = 0.0
    science = with_pixels(visit, source, 4.0)
    options = PLAIN.model_copy(update={"mode": MatchingMode.CONVOLVE_SCIENCE})
    found = subtract_template(science, template, doubled, options=options)
    assert np.nansum(found.image.array) == pytest.approx(900.0, rel=1e-6)
    assert found.variance.array[50, 50] == pytest.approx(1.0 + 4.0 * np.sum(gauss(1.5) ** 2), rel=1e-5)


def test_filter_is_that_of_the_whole_image() -> None:
    kernel = gauss(1.7)
    found = make_decorrelation_kernel(kernel, plain=2.0, blurred=1.0)
    noise = np.random.default_rng(9).normal(size=(128, 128))
    power = np.abs(np.fft.fft2(kernel, s=noise.shape)) ** 2
    exact = np.real(np.fft.ifft2(np.fft.fft2(noise) * np.sqrt(3.0 / (2.0 + power))))
    half = found.picture.shape[0] // 2
    padded = np.zeros(noise.shape)
    padded[: 2 * half + 1, : 2 * half + 1] = found.picture
    padded = np.roll(padded, (-half, -half), axis=(0, 1))
    cut = np.real(np.fft.ifft2(np.fft.fft2(noise) * np.fft.fft2(padded)))
    assert_allclose(cut, exact, atol=1e-4)
    assert found.picture.sum() == pytest.approx(1.0, abs=1e-12)
    assert found.plain_factor == pytest.approx(np.sum(found.picture**2), rel=1e-9)
    assert found.plain_factor == pytest.approx(np.mean(3.0 / (2.0 + power)), rel=1e-4)
    assert found.blurred_factor == pytest.approx(np.mean(3.0 * power / (2.0 + power)), rel=1e-4)


def test_noise_levels_leave_out_stars_and_masks(visit) -> None:
    science, template = make_pair(visit)
    science.variance.array[:40] = 1e4
    science.mask.set("SATURATED", science.variance.array > 100)
    science.variance.array[50:53] = 500.0
    template.variance.array[3, 4] = np.nan
    assert find_noise_levels([science], [template]) == NoiseLevels(science=4.0, template=1.0)


def test_bad_input_is_refused(visit) -> None:
    science, template = make_pair(visit)
    kernel = make_kernel(visit.bbox)
    with pytest.raises(NoCoverageError, match="is not within the science image"):
        subtract_template(science, template, kernel, bbox=Box.factory[0:10, 250:260])
    other = MaskedImage(
        Image(template.image.array, bbox=template.bbox, unit=u.electron),
        mask=template.mask,
        variance=Image(template.variance.array, bbox=template.bbox, unit=u.electron**2),
    )
    with pytest.raises(InconsistentUnitsError, match="science image is in nJy, the template in electron"):
        subtract_template(science, other, kernel)
    with pytest.raises(InputDataError, match=r"variances of 0\.0 and 1\.0"):
        make_decorrelation_kernel(gauss(1.5), plain=0.0, blurred=1.0)
    with pytest.raises(UnsupportedProductError, match="at most 215 are done"):
        make_decorrelation_kernel(gauss(4.0), plain=1e-9, blurred=1.0)
    with pytest.raises(InputDataError, match="None of 4 pixels"):
        find_mean_variance([np.ones((2, 2))], [np.zeros((2, 2), bool)])
