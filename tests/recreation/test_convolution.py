"""Convolution with a varying kernel against plain sums."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.images.convolution_kernels import ImageBasisConvolutionKernel
from lsst.images.fields import ChebyshevField, ProductField
from numpy.testing import assert_allclose, assert_array_equal

from lsst.dax.image.errors import NoCoverageError
from lsst.dax.image.recreation.convolution import (
    convolve,
    find_convolution_box,
    find_convolution_source,
)

BOX = Box.factory[190:490, -40:400]  # several tiles, across their edges and zero
SCHEMA = MaskSchema([MaskPlane("BAD", ""), MaskPlane("SATURATED", "")])


def make_image(bbox: Box = BOX, *, seed: int = 1, dtype=np.float32) -> MaskedImage:
    rng = np.random.default_rng(seed)
    shape = tuple(bbox.shape)
    mask = Mask(0, schema=SCHEMA, bbox=bbox)
    mask.set("BAD", rng.random(shape) < 1e-3)
    return MaskedImage(
        Image(rng.normal(100.0, 30.0, shape).astype(dtype), bbox=bbox, unit=u.nJy),
        mask=mask,
        variance=Image(rng.uniform(1.0, 4.0, shape).astype(dtype), bbox=bbox, unit=u.nJy**2),
    )


def make_kernel(*, order: int = 1, n: int = 4, shape=(5, 7), bbox: Box = BOX, seed: int = 2):
    rng = np.random.default_rng(seed)
    fields = []
    for _ in range(n):
        coefficients = rng.normal(size=(order + 1, order + 1))
        coefficients[np.add.outer(range(order + 1), range(order + 1)) > order] = 0.0
        fields.append(ChebyshevField(bbox, coefficients))
    return ImageBasisConvolutionKernel(rng.normal(size=(n, *shape)), fields)


def sum_plainly(array: np.ndarray, kernel, x: int, y: int, *, power: int = 1) -> float:
    """Return the sum over the kernel at a pixel, as it is written down."""
    picture = kernel.compute_kernel_image(x=x, y=y)
    total = 0.0
    for j in picture.bbox.y.range:
        for i in picture.bbox.x.range:
            weight = picture.array[j - picture.bbox.y.start, i - picture.bbox.x.start]
            total += weight**power * float(array[y + j - BOX.y.start, x + i - BOX.x.start])
    return total


@pytest.mark.parametrize("order", [0, 1, 2])
def test_pixels_are_the_sums_of_the_definition(order: int) -> None:
    image, kernel = make_image(), make_kernel(order=order)
    found = convolve(image, kernel)
    # A kernel of 5 rows and 7 columns reaches 2 and 3 pixels.
    assert found.bbox == Box.factory[192:488, -37:397]
    rng = np.random.default_rng(3)
    corners = [(-37, 192), (396, 487), (215, 216), (216, 215)]
    for x, y in corners + list(zip(rng.integers(-37, 397, 20), rng.integers(192, 488, 20), strict=True)):
        place = (y - found.bbox.y.start, x - found.bbox.x.start)
        assert_allclose(found.image.array[place], sum_plainly(image.image.array, kernel, x, y), rtol=1e-6)
        variance = sum_plainly(image.variance.array, kernel, x, y, power=2)
        assert_allclose(found.variance.array[place], variance, rtol=1e-6)
    assert found.unit == u.nJy
    assert found.variance.unit == u.nJy**2


def test_the_kernel_is_not_reflected() -> None:
    picture = np.zeros((1, 3, 3))
    picture[0, 2, 1] = 1.0  # one row above the centre
    kernel = ImageBasisConvolutionKernel(picture, [ChebyshevField(BOX, np.ones((1, 1)))])
    image = make_image()
    found = convolve(image, kernel)
    assert_allclose(found.image.array, image.image.array[2:, 1:-1], rtol=1e-6)


def test_an_off_centre_kernel_reaches_further_to_one_side() -> None:
    picture = np.zeros((1, 4, 4))
    picture[0, 0, 3] = 1.0
    kernel = ImageBasisConvolutionKernel(
        picture, [ChebyshevField(BOX, np.ones((1, 1)))], center_y=1, center_x=0
    )
    image = make_image()
    found = convolve(image, kernel)
    assert found.bbox == Box.factory[191:488, -40:397]
    assert_allclose(found.image.array, image.image.array[:-3, 3:], rtol=1e-6)


@pytest.fixture(scope="module")
def convolved() -> tuple[MaskedImage, ImageBasisConvolutionKernel, MaskedImage]:
    image, kernel = make_image(), make_kernel(order=2, n=3)
    return image, kernel, convolve(image, kernel, threads=2)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_part_has_the_bits_of_the_whole(convolved, data: st.DataObject) -> None:
    image, kernel, whole = convolved
    x0, x1 = sorted(data.draw(st.tuples(*[st.integers(-37, 396)] * 2)))
    y0, y1 = sorted(data.draw(st.tuples(*[st.integers(192, 487)] * 2)))
    part = Box.factory[y0 : y1 + 1, x0 : x1 + 1]
    needed = find_convolution_source(part, kernel).intersection(BOX)
    found = convolve(image[needed], kernel, bbox=part)
    assert_array_equal(found.image.array, whole[part].image.array)
    assert_array_equal(found.variance.array, whole[part].variance.array)
    assert_array_equal(found.mask.array, whole[part].mask.array)


def test_missing_values_and_masks_spread_over_the_kernel_and_no_further() -> None:
    image, kernel = make_image(), make_kernel()
    image.mask.clear()
    image.image.array[100, 200] = np.nan
    image.variance.array[200, 100] = np.inf
    where = np.zeros(tuple(BOX.shape), bool)
    where[150, 30] = True
    image.mask.set("SATURATED", where)
    found = convolve(image, kernel)
    expected = np.zeros(tuple(found.bbox.shape), bool)
    expected[96:101, 194:201] = True  # 2 rows and 3 columns around, in the smaller result
    expected[196:201, 94:101] = True
    assert_array_equal(np.isnan(found.image.array), expected)
    assert_array_equal(np.isnan(found.variance.array), expected)
    saturated = np.zeros(tuple(found.bbox.shape), bool)
    saturated[146:151, 24:31] = True
    assert_array_equal(found.mask.get("SATURATED"), saturated)
    assert not found.mask.get("BAD").any()


def test_white_noise_comes_out_with_the_variance_that_is_said() -> None:
    rng = np.random.default_rng(4)
    image = make_image()
    image.image.array[...] = rng.normal(0.0, 3.0, tuple(BOX.shape))
    image.variance.array[...] = 9.0
    found = convolve(image, make_kernel(order=1))
    pulls = found.image.array / np.sqrt(found.variance.array)
    assert_allclose(np.std(pulls), 1.0, rtol=0.03)


def test_fields_of_other_kinds_are_evaluated_as_they_are() -> None:
    one = ChebyshevField(BOX, np.array([[1.0, 0.4], [-0.2, 0.0]]))
    plain = make_kernel(n=1, order=0)
    product = ImageBasisConvolutionKernel(plain.basis, [ProductField([one, one])])
    found = convolve(make_image(), product)
    for x, y in ((0, 300), (250, 400)):
        place = (y - found.bbox.y.start, x - found.bbox.x.start)
        expected = sum_plainly(make_image().image.array, product, x, y)
        assert_allclose(found.image.array[place], expected, rtol=1e-6)


def test_what_needs_pixels_that_are_not_there_is_refused() -> None:
    image, kernel = make_image(), make_kernel()
    with pytest.raises(NoCoverageError, match="needs pixels beyond"):
        convolve(image, kernel, bbox=BOX)
    with pytest.raises(NoCoverageError, match="does not fit into an image"):
        find_convolution_box(Box.factory[0:4, 0:100], kernel)
    small = make_kernel(bbox=Box.factory[200:300, 0:100])
    with pytest.raises(NoCoverageError, match="kernel is defined on"):
        convolve(image, small, bbox=Box.factory[250:301, 0:50])


def test_inputs_are_left_alone() -> None:
    image = make_image()
    image.image.array[5, 5] = np.nan
    before = image.image.array.copy()
    convolve(image, make_kernel())
    assert_array_equal(image.image.array, before)
