"""Say how two images differ, and whether they are the same product."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.resources import ResourcePath
from tests.support.recreation import make_components, make_mask, make_original

from lsst.dax.image.errors import InconsistentUnitsError, InputDataError, RequestError
from lsst.dax.image.regression import (
    BIT_IDENTICAL,
    LOSSY,
    SINGLE_PRECISION,
    Comparison,
    Tolerance,
    compare_images,
    compare_pixels,
    read_steps,
)

BBOX = Box.factory[10:50, 20:70]
SCHEMA = MaskSchema([MaskPlane(name, "Plane.") for name in ("BAD", "COSMIC_RAY")])


def make_image(
    pixels: np.ndarray | float = 100.0, *, variance: float = 4.0, **planes: np.ndarray
) -> MaskedImage:
    mask = Mask(schema=SCHEMA, bbox=BBOX)
    for name, where in planes.items():
        mask.set(name, where)
    array = np.broadcast_to(np.float32(pixels), BBOX.shape).copy()
    return MaskedImage(
        Image(array, bbox=BBOX, unit=u.nJy),
        mask=mask,
        variance=Image(np.full(BBOX.shape, variance, np.float32), bbox=BBOX, unit=u.nJy**2),
    )


def one_pixel(y: int = 3, x: int = 5) -> np.ndarray:
    where = np.zeros(BBOX.shape, bool)
    where[y, x] = True
    return where


def test_an_image_equals_itself() -> None:
    image = make_image(np.random.default_rng(1).normal(size=BBOX.shape))
    comparison = compare_images(image, image.copy())
    comparison.assert_equivalent(BIT_IDENTICAL)
    assert [plane.identical for plane in comparison.planes] == [1.0, 1.0]
    assert comparison.planes[0].n_compared == BBOX.area


def test_units_of_the_last_place_are_counted() -> None:
    """Pixel n of five differs by 0, 1, 2, 4 and 5 ulp from 100."""
    reference = np.full((1, 5), 100.0, np.float32)
    candidate = reference + np.spacing(np.float32(100.0)) * np.array([0, 1, -2, 4, 5], np.float32)
    plane = compare_pixels("image", candidate, reference)
    assert (plane.identical, plane.within_1_ulp, plane.within_4_ulp) == (0.2, 0.4, 0.8)
    assert plane.max_error == pytest.approx(5 * np.spacing(np.float32(100.0)))
    assert plane.max_at == (4, 0)


def test_quantised_pixels_differ_by_half_a_step() -> None:
    """Subtractive dither leaves an error that is uniform over a step: rms 1/sqrt(12)."""
    rng = np.random.default_rng(2)
    step = 0.25
    truth = rng.normal(100.0, 4.0, (200, 300)).astype(np.float32)
    dither = rng.random(truth.shape)
    stored = ((np.floor(truth / step + dither) - dither + 0.5) * step).astype(np.float32)
    plane = compare_pixels("image", truth, stored, step=step)
    assert plane.within_half_step == 1.0
    assert plane.max_steps == pytest.approx(0.5, abs=1e-3)
    assert plane.rms_steps == pytest.approx(12**-0.5, rel=0.01)


def test_the_largest_difference_is_told_in_parent_pixels() -> None:
    candidate = make_image(np.where(one_pixel(), 106.0, 100.0))
    (image, _) = compare_images(candidate, make_image()).planes
    assert image.max_at == (25, 13)
    assert image.max_error == 6.0
    assert image.max_sigma == 3.0
    assert image.rms_sigma == pytest.approx(3.0 / np.sqrt(BBOX.area))


def test_cosmic_rays_are_left_out_and_counted() -> None:
    candidate = make_image(np.where(one_pixel(), 1e6, 100.0))
    reference = make_image(COSMIC_RAY=one_pixel())
    comparison = compare_images(candidate, reference)
    assert comparison.planes[0].n_excluded == {"COSMIC_RAY": 1}
    assert comparison.planes[0].max_error == 0.0
    assert compare_images(candidate, reference, excluded_planes=()).planes[0].max_error > 9e5


def test_masks_are_compared_plane_by_plane() -> None:
    candidate = make_image(BAD=one_pixel(0, 0) | one_pixel(0, 1))
    reference = make_image(BAD=one_pixel(0, 0) | one_pixel(0, 2) | one_pixel(0, 3))
    bad, rays = compare_images(candidate, reference).masks
    assert (bad.plane, bad.both, bad.only_candidate, bad.only_reference) == ("BAD", 1, 1, 2)
    assert bad.neither == BBOX.area - 4
    assert rays.n_different == 0


def test_a_plane_that_one_side_lacks_counts_as_not_set() -> None:
    other = make_image()
    other = MaskedImage(
        other.image,
        mask=Mask(schema=MaskSchema([MaskPlane("NEW", "Plane.")]), bbox=BBOX),
        variance=other.variance,
    )
    other.mask.set("NEW", one_pixel())
    planes = {plane.plane: plane for plane in compare_images(other, make_image(BAD=one_pixel())).masks}
    assert planes["BAD"].only_reference == 1
    assert planes["NEW"].only_candidate == 1


def test_not_a_number_on_both_sides_is_agreement() -> None:
    nan = np.where(one_pixel(), np.nan, 100.0)
    (image, _) = compare_images(make_image(nan), make_image(nan)).planes
    assert (image.n_nan_differs, image.identical, image.within_4_ulp) == (0, 1.0, 1.0)
    (image, _) = compare_images(make_image(nan), make_image()).planes
    assert image.n_nan_differs == 1
    assert image.identical < 1.0
    with pytest.raises(AssertionError, match="image: 1 pixels are finite on one side only"):
        compare_images(make_image(nan), make_image()).assert_equivalent(Tolerance(name="equal"))


def test_failures_name_the_number_and_the_limit() -> None:
    candidate = make_image(np.where(one_pixel(), 106.0, 100.0), BAD=one_pixel())
    comparison = compare_images(candidate, make_image(), name="visit 7")
    with pytest.raises(AssertionError) as caught:
        comparison.assert_equivalent(SINGLE_PRECISION)
    text = str(caught.value)
    assert text.startswith("visit 7 is not equal in single precision:")
    assert "image: largest difference in sigma is 3, more than 0.01 (largest at pixel (25, 13))" in text
    assert "mask plane BAD differs in 1 of 2000 pixels: 1 set in the candidate only" in text
    comparison.assert_equivalent(Tolerance(name="loose", max_sigma=3.0, ignored_mask_planes=("BAD",)))


def test_a_comparison_goes_to_json_and_back() -> None:
    comparison = compare_images(make_image(3.0), make_image(BAD=one_pixel()), steps={"image": 0.5})
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


def test_components_of_visit_images() -> None:
    components = make_components()
    reference = make_original(components)
    compare_images(make_original(components), reference).assert_equivalent(BIT_IDENTICAL)
    wider = GaussianPointSpreadFunction(1.75, components.detector.bbox, 25)
    comparison = compare_images(make_original(make_components(psf=wider, metadata={"id": 8})), reference)
    # The peak of a Gaussian goes with 1/sigma^2.
    assert comparison.psf_residual == pytest.approx(1 - (1.7 / 1.75) ** 2, rel=0.05)
    assert comparison.metadata == {"id": (8, 47152417142)}
    assert comparison.wcs_offset_mas == 0.0
    other = compare_images(make_original(make_components(band="i")), reference)
    assert other.components == ("band",)
    with pytest.raises(AssertionError, match="band is not equal"):
        other.assert_equivalent(LOSSY)


def test_images_that_cannot_be_compared() -> None:
    image = make_image()
    with pytest.raises(RequestError, match=r"visit 7 has \[y=10:50, x=20:60\], its reference"):
        compare_images(image[Box.factory[10:50, 20:60]], image, name="visit 7")
    with pytest.raises(RequestError, match=r"A step of 0\.0 for 'image' is none"):
        compare_images(image, image, steps={"image": 0.0})
    with pytest.raises(RequestError, match=r"A step of 1\.0 for 'mask' is none"):
        compare_images(image, image, steps={"mask": 1.0})
    other = make_image()
    other.image._unit = u.electron
    with pytest.raises(InconsistentUnitsError, match="is in electron, its reference in nJy"):
        compare_images(other, image)


def test_steps_are_read_from_the_file(tmp_path: Path) -> None:
    """The same step for all tiles, as the observatory's files have it; a lossless plane has none."""
    rng = np.random.default_rng(3)
    image = astropy.io.fits.CompImageHDU(
        rng.normal(size=(60, 80)).astype(np.float32),
        name="IMAGE",
        compression_type="RICE_1",
        quantize_level=-0.125,
        quantize_method=2,
        dither_seed=77,
    )
    variance = astropy.io.fits.CompImageHDU(
        rng.random((60, 80)).astype(np.float32), name="VARIANCE", compression_type="GZIP_2", quantize_level=0
    )
    path = tmp_path / "lossy.fits"
    astropy.io.fits.HDUList([astropy.io.fits.PrimaryHDU(), image, variance]).writeto(path)
    assert read_steps(ResourcePath(path)) == {"image": 0.125}
    path.write_bytes(b"SIMPLE")
    with pytest.raises(InputDataError, match=r"The quantisation of .* cannot be read"):
        read_steps(ResourcePath(path))


def test_mask_of_the_detector_is_drawn_in_place() -> None:
    """The picture has one panel more with the raw, and says the rms."""
    detector = make_components().detector
    reference = make_original(make_components(mask=make_mask(detector)), variance=4.0)
    candidate = make_original(make_components(mask=make_mask(detector)), pixels=1.0, variance=4.0)
    comparison = compare_images(candidate, reference)
    figure = comparison.plot(candidate, reference)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["candidate", "reference", "candidate - reference", "rms 0.5, largest 0.5"]
