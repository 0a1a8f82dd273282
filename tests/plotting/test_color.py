"""Colour images: what a pixel's colour says of its three fluxes."""

from __future__ import annotations

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from lsst.images import Box, GeneralFrame, Image, Mask, MaskPlane, MaskSchema, SkyProjection
from numpy.testing import assert_allclose
from tests.support.scenes import BOX, make_masked_image, make_sky_projection, make_wcs
from tests.support.testdata import testdata

from lsst.dax.image.errors import InconsistentUnitsError, RequestError
from lsst.dax.image.plotting import make_color_image

PROJECTION = make_sky_projection()


def make_band(value: float = 0.0, *, bbox: Box = BOX, unit: u.UnitBase = u.nJy) -> Image:
    return Image(np.full(bbox.shape, value), bbox=bbox, unit=unit, sky_projection=PROJECTION)


def expected_shade(intensity: float, *, stretch: float, softening: float) -> float:
    """Return equation 2 of Lupton et al. 2004, scaled as the docstring says."""
    return 255.0 * 0.1 * np.arcsinh(softening * intensity / stretch) / np.arcsinh(0.1 * softening)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_source_in_one_band_has_that_color(channel: int) -> None:
    bands = [make_band(), make_band(), make_band()]
    bands[channel].array[20, 30] = 50.0
    color = make_color_image(*bands, stretch=10.0)
    pixel = color.array[20, 30]
    assert pixel[channel] > 100
    assert pixel.sum() == pixel[channel]
    assert color.array.sum() == pixel.sum()


def test_equal_fluxes_are_grey_and_follow_the_formula() -> None:
    fluxes = np.array([0.5, 2.0, 10.0, 40.0, 90.0])
    band = make_band()
    band.array[7, :5] = fluxes
    color = make_color_image(band, band, band, stretch=20.0, softening=6.0)
    assert_allclose(color.array[7, :5, 0], expected_shade(fluxes, stretch=20.0, softening=6.0), atol=1.0)
    assert np.ptp(color.array, axis=2).max() == 0
    assert color.array[7, 4, 0] > color.array[7, 3, 0] > color.array[7, 2, 0] > color.array[7, 1, 0]


def test_color_of_a_source_does_not_depend_on_its_brightness() -> None:
    ratio = np.array([4.0, 2.0, 1.0])
    bands = [make_band() for _ in ratio]
    for column, brightness in enumerate((10.0, 100.0, 1e5)):
        for band, factor in zip(bands, ratio, strict=True):
            band.array[3, column] = brightness * factor
    pixels = make_color_image(*bands, stretch=20.0).array[3, :3].astype(float)
    assert_allclose(pixels / pixels[:, :1], np.broadcast_to(ratio / 4.0, (3, 3)), atol=0.03)
    assert pixels[2, 0] == 255.0, "the brightest band is clipped, the others keep their ratio to it"


def test_scales_are_factors_of_the_bands() -> None:
    red, green, blue = make_band(6.0), make_band(3.0), make_band(2.0)
    color = make_color_image(red, green, blue, stretch=20.0, scales=(1.0, 2.0, 3.0))
    same = make_color_image(red, red, red, stretch=20.0)
    assert np.array_equal(color.array, same.array)
    assert color.metadata["color_scale_blue"] == 3.0


def test_stretch_has_the_unit_of_the_images() -> None:
    band = make_band(30.0)
    number = make_color_image(band, band, band, stretch=250.0)
    quantity = make_color_image(band, band, band, stretch=0.25 * u.uJy)
    assert np.array_equal(number.array, quantity.array)
    assert quantity.metadata["color_stretch"] == pytest.approx(250.0)


def test_default_stretch_follows_the_noise_and_not_the_sources() -> None:
    rng = np.random.default_rng(7)
    bands = [make_band() for _ in range(3)]
    for band in bands:
        band.array[...] = rng.normal(scale=3.0, size=BOX.shape)
    quiet = make_color_image(*bands).metadata["color_stretch"]
    for band in bands:
        band.array[40:50, 60:70] += 1e5
    loud = make_color_image(*bands).metadata["color_stretch"]
    # The mean of three bands has sigma 3 / sqrt(3).
    assert quiet == pytest.approx(25.0 * np.sqrt(3.0), rel=0.05)
    assert loud == pytest.approx(quiet, rel=0.02)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixel_without_a_value_in_one_band_is_black(value: float) -> None:
    bands = [make_band(30.0), make_band(30.0), make_band(30.0)]
    bands[1].array[4, 5] = value
    color = make_color_image(*bands, stretch=20.0)
    assert color.array[4, 5].tolist() == [0, 0, 0]
    assert (color.array.sum(axis=2) == 0).sum() == 1


@pytest.mark.parametrize("value", [np.nan, 0.0, -5.0])
def test_images_without_light_are_black(value: float) -> None:
    band = make_band(value)
    assert not make_color_image(band, band, band).array.any()


def test_integer_images_keep_their_mean() -> None:
    band = Image(np.full(BOX.shape, 5, dtype=np.uint8), bbox=BOX, sky_projection=PROJECTION)
    half = Image(np.full(BOX.shape, 2, dtype=np.uint8), bbox=BOX, sky_projection=PROJECTION)
    color = make_color_image(band, half, half, stretch=10.0)
    as_float = make_color_image(
        *(Image(x.array.astype(float), bbox=BOX, sky_projection=PROJECTION) for x in (band, half, half)),
        stretch=10.0,
    )
    assert np.array_equal(color.array, as_float.array)


def test_result_is_on_the_pixel_grid_and_inputs_are_kept() -> None:
    image = make_masked_image()
    before = image.image.array.copy()
    color = make_color_image(image, image, image)
    assert color.bbox == BOX
    assert color.sky_projection == image.sky_projection
    assert color.array.dtype == np.uint8
    assert np.array_equal(image.image.array, before)


def test_equal_projections_of_other_origin_are_accepted() -> None:
    wcs = make_wcs()
    other = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))
    assert other != PROJECTION, "its pixel bounds differ"
    band = Image(np.ones(BOX.shape), bbox=BOX, unit=u.nJy, sky_projection=other)
    assert make_color_image(make_band(1.0), band, band).sky_projection == PROJECTION


def test_shifted_projection_is_refused() -> None:
    wcs = make_wcs()
    wcs.wcs.crpix = np.add(wcs.wcs.crpix, [0.3, 0.4])
    shifted = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))
    blue = Image(np.ones(BOX.shape), bbox=BOX, unit=u.nJy, sky_projection=shifted)
    with pytest.raises(RequestError, match=r"blue image are up to 0\.5 pixels off .* red image"):
        make_color_image(make_band(), make_band(), blue)


def test_other_box_is_refused() -> None:
    other = Box.factory[30:130, 1001:1161]
    with pytest.raises(RequestError, match=r"red has .*1000.*, green has .*1001"):
        make_color_image(make_band(), make_band(bbox=other), make_band())


def test_other_unit_is_refused() -> None:
    with pytest.raises(InconsistentUnitsError, match="red has nJy, green has uJy"):
        make_color_image(make_band(), make_band(unit=u.uJy), make_band())
    with pytest.raises(InconsistentUnitsError, match=r"stretch is 3\.0 s, the images have unit nJy"):
        make_color_image(make_band(), make_band(), make_band(), stretch=3.0 * u.s)


def test_projection_must_be_in_all_or_none() -> None:
    bare = Image(np.ones(BOX.shape), bbox=BOX, unit=u.nJy)
    assert make_color_image(bare, bare, bare).sky_projection is None
    with pytest.raises(RequestError, match="The red image has a sky projection, the green image has none"):
        make_color_image(make_band(), bare, bare)
    with pytest.raises(RequestError, match="The blue image has a sky projection, the red image has none"):
        make_color_image(bare, bare, make_band())


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("option", ["stretch", "softening"])
def test_options_must_be_positive(option: str, value: float) -> None:
    with pytest.raises(RequestError, match=f"The {option} .* positive finite number; got {value}"):
        make_color_image(make_band(), make_band(), make_band(), **{option: value})


def test_mask_has_no_color() -> None:
    mask = Mask(schema=MaskSchema([MaskPlane("BAD", "Bad.")]), bbox=BOX, sky_projection=PROJECTION)
    with pytest.raises(RequestError, match="not a Mask"):
        make_color_image(mask, make_band(), make_band())


def test_real_galaxy_is_orange_on_a_dark_sky() -> None:
    bands = []
    for band in "irg":
        path = testdata(f"D_sdss_ngc6976/reprojected_sdss_{band}.fits.bz2")
        bands.append(Image(astropy.io.fits.getdata(path).astype(float)))
    color = make_color_image(*bands)
    red, green, blue = color.array[185:195, 272:282].reshape(-1, 3).mean(axis=0)
    assert red > green > blue > 30
    assert np.median(color.array, axis=(0, 1)).max() < 25
