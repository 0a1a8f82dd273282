"""From electrons to a calibrated visit image."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box
from lsst.images.fields import ChebyshevField
from tests.support.isr import make_detector
from tests.support.recreation import make_components, make_isr_image, make_mask, make_original

from lsst.dax.image.errors import InconsistentUnitsError, InputDataError, NoCoverageError
from lsst.dax.image.recreation import VisitComponents, stitch_visit_image
from lsst.dax.image.recreation.isr import IsrPlane

DETECTOR = make_detector()
SHAPE = DETECTOR.bbox.shape
PART = Box.factory[11:47, 20:101]


def random_electrons(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(1000.0, 30.0, SHAPE).astype(np.float32)


def test_background_comes_off_before_the_scaling() -> None:
    """Image = S (I - B) and variance = S^2 V, to the rounding of single precision."""
    components = make_components(DETECTOR)
    electrons = random_electrons()
    result = stitch_visit_image(make_isr_image(DETECTOR, electrons), components, seed=1)
    background = components.background.render(DETECTOR.bbox, dtype=np.float64).array
    scaling = components.photometric_scaling.render(DETECTOR.bbox, dtype=np.float64).array
    np.testing.assert_allclose(result.image.array, scaling * (electrons - background), rtol=1e-6, atol=5e-5)
    np.testing.assert_allclose(result.variance.array, 4.0 * scaling**2, rtol=2e-7)
    assert result.unit == u.nJy
    assert result.variance.unit == u.nJy**2


def test_products_are_rounded_one_by_one() -> None:
    components = make_components(DETECTOR)
    variance = np.random.default_rng(2).uniform(1.0, 9.0, SHAPE).astype(np.float32)
    result = stitch_visit_image(make_isr_image(DETECTOR, 900.0, variance=variance), components, seed=1)
    scaling = components.photometric_scaling.render(DETECTOR.bbox, dtype=np.float64).array
    once = (variance * scaling).astype(np.float32)
    np.testing.assert_array_max_ulp(result.variance.array, (once * scaling).astype(np.float32), maxulp=1)


def test_the_background_is_taken_by_name() -> None:
    """The mark of the file points to a background that was not subtracted."""
    original = make_original(make_components(DETECTOR))
    assert original.backgrounds.subtracted.name == "skyCorr"
    components = VisitComponents.from_visit_image(original, mask=None)
    assert components.background is original.backgrounds["subtracted"].field
    assert components.backgrounds.subtracted.name == "subtracted"
    assert set(components.backgrounds) == {"subtracted", "skyCorr"}


def test_everything_persisted_is_attached() -> None:
    components = make_components(DETECTOR)
    result = stitch_visit_image(
        make_isr_image(DETECTOR, 900.0), components, seed=1, metadata={"LSST ISR GAIN C10": 1.5}
    )
    assert result.psf == components.psf
    assert result.sky_projection == components.sky_projection
    assert result.aperture_corrections == components.aperture_corrections
    assert result.summary_stats == components.summary_stats
    assert result.obs_info == components.obs_info
    assert result.detector == components.detector
    assert result.band == "r"
    assert result.metadata["id"] == 47152417142
    assert result.metadata["LSST ISR GAIN C10"] == 1.5


def test_a_part_has_the_pixels_of_the_whole() -> None:
    hit = np.random.default_rng(4).random(SHAPE) < 0.01
    components = make_components(DETECTOR, mask=make_mask(DETECTOR, COSMIC_RAY=hit))
    isr = make_isr_image(DETECTOR, random_electrons())
    whole = stitch_visit_image(isr, components, seed=7)
    part = stitch_visit_image(isr, components, seed=7, bbox=PART)
    assert part.bbox == PART
    assert part.mask.schema == whole.mask.schema
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(part, name).array, getattr(whole[PART], name).array)


def test_threads_do_not_change_a_pixel() -> None:
    hit = np.random.default_rng(4).random(SHAPE) < 0.01
    components = make_components(DETECTOR, mask=make_mask(DETECTOR, COSMIC_RAY=hit))
    isr = make_isr_image(DETECTOR, random_electrons())
    one = stitch_visit_image(isr, components, seed=7)
    four = stitch_visit_image(isr, components, seed=7, threads=4)
    np.testing.assert_array_equal(one.image.array, four.image.array)
    np.testing.assert_array_equal(one.variance.array, four.variance.array)


def test_cosmic_rays_become_sky_with_its_noise() -> None:
    rng = np.random.default_rng(8)
    hit = rng.random(SHAPE) < 0.2
    electrons = np.where(hit, 1e5, 1000.0 + 2.0 * rng.normal(size=SHAPE)).astype(np.float32)
    flat = ChebyshevField(DETECTOR.bbox, np.array([[970.0]]), unit=u.electron)
    unity = ChebyshevField(DETECTOR.bbox, np.array([[1.0]]), unit=u.nJy / u.electron)
    components = make_components(
        DETECTOR,
        background=flat,
        photometric_scaling=unity,
        mask=make_mask(DETECTOR, COSMIC_RAY=hit),
    )
    result = stitch_visit_image(make_isr_image(DETECTOR, electrons, variance=4.0), components, seed=3)
    filled = result.image.array[hit]
    median = np.median(electrons - 970.0)
    assert np.mean(filled) == pytest.approx(median, abs=5 * 2.0 / np.sqrt(hit.sum()))
    assert np.std(filled) == pytest.approx(2.0, rel=5 / np.sqrt(2 * hit.sum()))
    np.testing.assert_array_equal(result.image.array[~hit], (electrons - np.float32(970.0))[~hit])
    assert result.mask.get("INTERPOLATED")[hit].all()
    other = stitch_visit_image(make_isr_image(DETECTOR, electrons, variance=4.0), components, seed=4)
    assert not np.array_equal(other.image.array[hit], filled)


def test_planes_come_from_where_they_are_made() -> None:
    """What the raw gives is made again; what later processing found is kept."""
    where = {name: np.zeros(SHAPE, bool) for name in ("SATURATED", "DETECTED", "SPIKE", "DETECTION_EDGE")}
    for column, plane in enumerate(where.values()):
        plane[5, column] = True
    bits = np.zeros(SHAPE, np.uint16)
    bits[9, 0] = IsrPlane.SATURATED | IsrPlane.BAD
    bits[9, 1] = IsrPlane.DETECTION_EDGE
    bits[9, 2] = IsrPlane.UNMASKED_NAN | IsrPlane.ITL_DIP
    components = make_components(DETECTOR, mask=make_mask(DETECTOR, **where))
    mask = stitch_visit_image(make_isr_image(DETECTOR, 1.0, mask=bits), components, seed=1).mask
    assert np.argwhere(mask.get("SATURATED")).tolist() == [[9, 0]], "the original's is not trusted"
    assert np.argwhere(mask.get("BAD")).tolist() == [[9, 0]]
    assert np.argwhere(mask.get("DETECTED")).tolist() == [[5, 1]]
    assert np.argwhere(mask.get("SPIKE")).tolist() == [[5, 2]]
    assert np.argwhere(mask.get("DETECTION_EDGE")).tolist() == [[5, 3], [9, 1]]
    assert np.argwhere(mask.get("UNMASKED_NAN")).tolist() == [[9, 2]]
    assert np.argwhere(mask.get("ITL_DIP")).tolist() == [[9, 2]]
    assert mask.schema == components.mask.schema


def test_without_the_original_mask_the_usual_planes_are_there() -> None:
    mask = stitch_visit_image(make_isr_image(DETECTOR, 1.0), make_components(DETECTOR), seed=1).mask
    assert {"COSMIC_RAY", "DETECTED", "SPIKE", "SATURATED"} <= set(mask.schema.names)
    assert not mask.array.any()


def test_wrong_units() -> None:
    in_nanojansky = ChebyshevField(DETECTOR.bbox, np.array([[900.0]]), unit=u.nJy)
    with pytest.raises(InconsistentUnitsError, match="background of detector R22_S11 is in nJy, electron"):
        make_components(DETECTOR, background=in_nanojansky)
    without = ChebyshevField(DETECTOR.bbox, np.array([[0.5]]))
    with pytest.raises(InconsistentUnitsError, match=r"photometric scaling of .* is in None, nJy / electron"):
        make_components(DETECTOR, photometric_scaling=without)
    isr = make_isr_image(DETECTOR, 1.0)
    isr.image._unit = u.adu
    with pytest.raises(InconsistentUnitsError, match="from electron, not from adu"):
        stitch_visit_image(isr, make_components(DETECTOR), seed=1)


def test_sizes_that_do_not_fit() -> None:
    small = make_detector(data=(30, 20))
    with pytest.raises(InputDataError, match=r"has \[y=0:60, x=0:160\], detector R22_S11 \[y=0:80"):
        stitch_visit_image(make_isr_image(small, 1.0), make_components(DETECTOR), seed=1)
    components = make_components(DETECTOR, mask=make_mask(small))
    with pytest.raises(InputDataError, match=r"original mask has \[y=0:60, x=0:160\]"):
        stitch_visit_image(make_isr_image(DETECTOR, 1.0), components, seed=1)
    beyond = Box.factory[0:81, 0:10]
    with pytest.raises(NoCoverageError, match=r"\[y=0:81, x=0:10\] is not within \[y=0:80"):
        stitch_visit_image(make_isr_image(DETECTOR, 1.0), make_components(DETECTOR), seed=1, bbox=beyond)


def test_components_that_are_missing() -> None:
    original = make_original(make_components(DETECTOR))
    with pytest.raises(InputDataError, match=r"has no background 'sky', but \['skyCorr', 'subtracted'\]"):
        VisitComponents.from_visit_image(original, mask=None, background="sky")
    original._photometric_scaling = None
    with pytest.raises(InputDataError, match="has no photometric scaling"):
        VisitComponents.from_visit_image(original, mask=None)
