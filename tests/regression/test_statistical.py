"""Two images that agree within their noise, and what does not hide in it."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema

from lsst.dax.image.errors import InconsistentUnitsError, RequestError
from lsst.dax.image.regression import WITHIN_NOISE, StatisticalComparison, compare_statistically

BBOX = Box.factory[100:300, 50:350]
SCHEMA = MaskSchema([MaskPlane(name, "Plane.") for name in ("NO_DATA", "COSMIC_RAY")])


def make_image(
    seed: int, *, variance: float = 9.0, add: np.ndarray | float = 0.0, unit: u.UnitBase = u.nJy
) -> MaskedImage:
    noise = np.sqrt(variance) * np.random.default_rng(seed).standard_normal(BBOX.shape)
    return MaskedImage(
        Image((noise + add).astype(np.float32), bbox=BBOX, unit=unit),
        mask=Mask(schema=SCHEMA, bbox=BBOX),
        variance=Image(np.full(BBOX.shape, variance, np.float32), bbox=BBOX, unit=unit**2),
    )


def make_star(flux: float, *, sigma_px: float) -> np.ndarray:
    y, x = np.mgrid[: BBOX.shape[0], : BBOX.shape[1]]
    radius2 = (x - 150.3) ** 2 + (y - 99.6) ** 2
    return flux / (2 * np.pi * sigma_px**2) * np.exp(-0.5 * radius2 / sigma_px**2)


def test_independent_noise_has_unit_width_and_passes() -> None:
    """The width of N Gaussian values is 1 to 1.17 / sqrt(N); their largest of 60000 is about 4.2."""
    found = compare_statistically(make_image(1), make_image(2, variance=4.0))
    assert found.n_compared == BBOX.area
    assert found.width == pytest.approx(1.0, abs=5 * 1.17 / np.sqrt(BBOX.area))
    assert found.offset == pytest.approx(0.0, abs=5 * 1.25 / np.sqrt(BBOX.area))
    assert found.variance_ratio == pytest.approx(9.0 / 4.0)
    assert 3.5 < found.max_sigma < 5.5
    assert found.find_failures(WITHIN_NOISE) == []


@pytest.mark.parametrize("wrong", ["candidate", "reference"])
def test_one_wrong_pixel_is_found_on_either_side(wrong: str) -> None:
    """It must not count as a bright source that excuses itself."""
    add = np.zeros(BBOX.shape)
    add[37, 81] = 60.0
    images = [make_image(1, add=add if wrong == "candidate" else 0.0)]
    images.append(make_image(2, add=add if wrong == "reference" else 0.0))
    found = compare_statistically(*images)
    assert found.max_at == (50 + 81, 100 + 37)
    (failure,) = found.find_failures(WITHIN_NOISE)
    assert "image: largest difference is 1" in failure
    assert "(at pixel (131, 137))" in failure


def test_a_star_with_a_slightly_different_psf_passes_and_one_with_other_flux_does_not() -> None:
    """A tenth wider PSF moves 17 % of the peak; a star of half the flux misses 50 %."""
    sharp, wide = make_star(1e5, sigma_px=2.0), make_star(1e5, sigma_px=2.2)
    assert compare_statistically(make_image(1, add=sharp), make_image(2, add=wide)).max_sigma < 5.5
    faint = compare_statistically(make_image(1, add=0.2 * sharp), make_image(2, add=sharp))
    assert faint.find_failures(WITHIN_NOISE)
    assert compare_statistically(
        make_image(1, add=sharp), make_image(2, add=wide), source_error=0.01
    ).find_failures(WITHIN_NOISE), "the source's error is what lets it pass"


def test_an_offset_and_a_wrong_variance_are_found() -> None:
    shifted = compare_statistically(make_image(1, add=1.0), make_image(2))
    assert shifted.offset == pytest.approx(1.0 / np.sqrt(18.0), abs=0.02)
    (failure,) = shifted.find_failures(WITHIN_NOISE)
    assert "median difference is 0.2" in failure
    noisy, reference = make_image(1, variance=36.0), make_image(2)
    noisy.variance.array[:] = 9.0
    failures = compare_statistically(noisy, reference).find_failures(WITHIN_NOISE)
    assert any("width of the differences is 1.5" in text for text in failures)


def test_masked_pixels_and_what_is_near_them_do_not_count() -> None:
    add = np.zeros(BBOX.shape)
    add[40:47, 60:67] = 1e4  # three pixels on all sides of the masked one
    candidate = make_image(1, add=add)
    where = np.zeros(BBOX.shape, bool)
    where[43, 63] = True
    candidate.mask.set("COSMIC_RAY", where)
    found = compare_statistically(candidate, make_image(2))
    assert found.n_compared == BBOX.area - 49
    assert found.find_failures(WITHIN_NOISE) == []
    assert compare_statistically(candidate, make_image(2), grow_px=2).find_failures(WITHIN_NOISE)


def test_pixels_that_one_side_lacks_are_counted() -> None:
    candidate, reference = make_image(1), make_image(2)
    candidate.image.array[:, :10] = np.nan
    reference.variance.array[:5, 20:] = 0.0
    found = compare_statistically(candidate, reference)
    assert (found.n_missing, found.n_added) == (10 * 200, 5 * 280)
    assert found.n_compared == BBOX.area - 10 * 200 - 5 * 280


def test_nothing_to_compare_is_no_agreement() -> None:
    candidate = make_image(1)
    candidate.image.array[:] = np.nan
    found = compare_statistically(candidate, make_image(2))
    assert found.find_failures(WITHIN_NOISE) == ["0 of 60000 pixels can be compared, fewer than 6000"]
    assert StatisticalComparison.model_validate_json(found.model_dump_json()) == found


def test_other_pixels_and_other_units_are_refused() -> None:
    image = make_image(1)
    part = MaskedImage(
        image.image[Box.factory[100:200, 50:350]],
        mask=image.mask[Box.factory[100:200, 50:350]],
        variance=image.variance[Box.factory[100:200, 50:350]],
    )
    with pytest.raises(RequestError, match=r"part has \[y=100:200, .* its reference \[y=100:300"):
        compare_statistically(part, image, name="part")
    with pytest.raises(InconsistentUnitsError, match="candidate is in electron, its reference in nJy"):
        compare_statistically(make_image(1, unit=u.electron), image)
