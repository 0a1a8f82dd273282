"""Real frames of the Huntsman telescope with the masters that the LSST pipelines made of its calibrations.

The frames are 800x800 pixels of a CMOS camera with one amplifier, without
overscan, in adu: bias, dark and flat of 300 s, and NGC 1566 in g.
"""

from __future__ import annotations

import dataclasses
import functools

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from lsst.images import Box
from scipy import ndimage
from tests.support.isr import make_detector, make_exposure
from tests.support.testdata import testdata

from lsst.dax.image.recreation.isr import (
    CalibrationImage,
    CalibrationInfo,
    Defects,
    IsrExposure,
    IsrPlane,
)
from lsst.dax.image.recreation.isr.bad_regions import fill_bad_regions
from lsst.dax.image.recreation.isr.bias import subtract_bias
from lsst.dax.image.recreation.isr.dark import subtract_dark
from lsst.dax.image.recreation.isr.defects import flag_defects
from lsst.dax.image.recreation.isr.flat import apply_flat
from lsst.dax.image.recreation.isr.nan_mask import flag_nan
from lsst.dax.image.recreation.isr.variance import make_variance

SATURATION = 4094  # adu: the largest number that occurs, of 12 bits
READ_NOISE = 1.7  # electron: the scatter of the dark frame, 1.5 adu
MASTERS = {
    "bias": ("bias/bias_14_Huntsman_2021-01-07.fits", u.adu),
    "dark": ("dark/dark_14_Huntsman_2021-01-07.fits", u.adu),
    "flat": ("flat/flat_14_Huntsman_g_band_2021-01-07.fits", u.dimensionless_unscaled),
}


def read_master(kind: str) -> CalibrationImage:
    name, unit = MASTERS[kind]
    # The last row and column of the masters, which have 801, are zero.
    crop = slice(0, 800), slice(0, 800)
    with fits.open(testdata(f"B_huntsman_raw/calib/2021-01-07/{name}")) as hdus:
        image, mask, variance = (hdus[k].data[crop] for k in (1, 2, 3))
    if kind == "bias":
        # Its variance of 33.7 is what a Poisson level of 32 adu would have; but
        # all pixels of the bias frames are 32, which is an offset without noise.
        variance = np.zeros_like(variance)
    # The unit of the dark is adu per second, though its header says 300 s.
    return CalibrationImage(
        info=CalibrationInfo(kind=kind, source=name),
        image=image,
        mask=mask.astype(np.uint16),
        variance=variance,
        unit=unit,
    )


def read_defects() -> Defects:
    name = "defects_14_Huntsman_2021-01-07.fits"
    table = fits.getdata(testdata(f"B_huntsman_raw/calib/2021-01-07/defects/{name}"), 1)
    rows = zip(table["x0"], table["y0"], table["width"], table["height"], strict=True)
    boxes = tuple(Box.factory[int(y) : int(y + h), int(x) : int(x + w)] for x, y, w, h in rows)
    return Defects(info=CalibrationInfo(kind="defects"), boxes=boxes)


def read_frame(name: str) -> IsrExposure:
    with fits.open(testdata(f"B_huntsman_raw/raw/{name}.fits.gz")) as hdus:
        data, header = hdus[0].data, hdus[0].header
    # Two amplifiers, of equal gain and noise, stand for the one.
    detector = make_detector(data=(400, 800), columns=1)
    exposure = make_exposure(
        detector,
        image=data.astype(np.float32),
        mask=np.where(data >= SATURATION, IsrPlane.SATURATED, 0).astype(np.uint16),
        unit=u.adu,
        is_assembled=True,
        gain=header["EGAIN"],
        read_noise=READ_NOISE,
    )
    info = dataclasses.replace(exposure.info, dark_time_s=float(header["EXPTIME"]))
    return dataclasses.replace(exposure, info=info)


def subtract_masters(exposure: IsrExposure) -> IsrExposure:
    return subtract_dark(subtract_bias(exposure, bias=read_master("bias")), dark=read_master("dark"))


@functools.cache
def reduce_science() -> IsrExposure:
    exposure = flag_defects(subtract_masters(read_frame("science_0")), defects=read_defects())
    exposure = make_variance(flag_nan(exposure))
    return fill_bad_regions(apply_flat(exposure, flat=read_master("flat")))


def find_scatter(values: npt.NDArray[np.floating]) -> float:
    """Return the standard deviation that normal values of this median deviation have."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def find_grid(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return medians of squares of 100 pixels: the sky on large scales."""
    return np.median(image.reshape(8, 100, 8, 100), axis=(1, 3))


def test_the_dark_frame_becomes_zero() -> None:
    before = read_frame("dark_0")
    after = subtract_masters(before)
    good = flag_defects(after, defects=read_defects()).mask == 0
    assert abs(after.image[good].mean()) < 0.01
    assert after.image[good].std() < 0.1 * before.image[good].std()


def test_the_flat_frame_becomes_flat() -> None:
    before = subtract_masters(read_frame("flat_0"))
    after = apply_flat(before, flat=read_master("flat"))
    assert before.image.std() / before.image.mean() > 0.035
    assert after.image.std() / after.image.mean() < 0.010
    grid, before_grid = find_grid(after.image), find_grid(before.image)
    assert grid.std() / grid.mean() < 0.05 * before_grid.std() / before_grid.mean()


def test_the_sky_of_the_science_frame_is_flatter() -> None:
    before, after = (
        find_grid(subtract_masters(read_frame("science_0")).image),
        find_grid(reduce_science().image),
    )
    # The scatter is about the median, so that the galaxy does not count.
    flatness = find_scatter(after) / np.median(after)
    assert flatness < 0.010
    assert flatness < 0.5 * find_scatter(before) / np.median(before)


def test_the_variance_is_that_of_the_sky() -> None:
    after = reduce_science()
    corner = (slice(550, 800), slice(550, 800))
    image = after.image[corner]
    residual = image - ndimage.median_filter(image, 15)
    good = after.mask[corner] == 0
    pull = residual[good] / np.sqrt(after.variance[corner][good])
    assert find_scatter(pull) == pytest.approx(1.0, abs=0.03)


def test_flags_are_those_of_the_masters() -> None:
    after = reduce_science()
    expected = np.zeros((800, 800), bool)
    for box in read_defects().boxes:
        expected[box.y.start : box.y.stop, box.x.start : box.x.stop] = True
    np.testing.assert_array_equal((after.mask & IsrPlane.BAD) != 0, expected)
    # The dark has no variance where it has no data.
    not_finite = ~np.isfinite(read_master("dark").variance)
    assert not_finite.sum() == 269
    np.testing.assert_array_equal((after.mask & IsrPlane.UNMASKED_NAN) != 0, not_finite)
    assert np.isfinite(after.image).all()
    good = after.image[(after.mask & IsrPlane.BAD) == 0]
    np.testing.assert_array_equal(np.unique(after.image[expected]), np.float32(np.median(good)))


def find_stars(exposure: IsrExposure) -> list[tuple[slice, slice]]:
    """Return stamps of 21x21 pixels about bright peaks that are 6 pixels or more from any flag."""
    smooth = ndimage.gaussian_filter(exposure.image, 1.2)
    excess = smooth - ndimage.zoom(ndimage.median_filter(smooth[::8, ::8], 5), 8, order=1)
    peaks = (excess == ndimage.maximum_filter(excess, 15)) & (excess > 100.0)
    peaks &= ~ndimage.binary_dilation(exposure.mask != 0, iterations=5)
    return [
        (slice(row - 10, row + 11), slice(column - 10, column + 11))
        for row, column in np.argwhere(peaks)
        if 10 <= row < 790 and 10 <= column < 790
    ]


def find_light(stamp: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the pixels within 4 of the centre above the sky from 7 to 10."""
    y, x = np.mgrid[-10:11, -10:11]
    radius = np.hypot(y, x)
    sky = np.median(stamp[(radius >= 7.0) & (radius <= 10.0)])
    return np.where(radius <= 4.0, stamp - np.float64(sky), 0.0)


def test_stars_change_by_the_flat_under_their_light_and_by_nothing_else() -> None:
    raw, reduced, flat = read_frame("science_0").image, reduce_science(), read_master("flat").image
    stars = find_stars(reduced)
    assert len(stars) > 20
    ratios = []
    for stamp in stars:
        before, after = find_light(raw[stamp]), find_light(reduced.image[stamp])
        ratios.append(before.sum() / after.sum() / np.average(flat[stamp], weights=after))
    # Offset, dark and flat shift the fluxes of no star in one part of the frame.
    assert np.median(ratios) == pytest.approx(1.0, abs=0.003)
    assert find_scatter(np.array(ratios)) < 0.01


def test_the_galaxy_lies_where_the_sky_has_it() -> None:
    header = fits.getheader(testdata("B_huntsman_raw/raw/science_0.fits.gz"))
    # The names of the axes lack "-SIP", and a unit matrix of scales contradicts CD.
    for key in [key for key in header if key.startswith(("PC", "CDELT"))]:
        del header[key]
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    wcs = WCS(header)
    nucleus = SkyCoord("04h20m00.395s", "-54d56m16.60s")  # NGC 1566, as NED has it
    smooth = ndimage.gaussian_filter(reduce_science().image, 2.0)[200:330, 100:250]
    row, column = np.unravel_index(smooth.argmax(), smooth.shape)
    peak = wcs.pixel_to_world(column + 100, row + 200)
    assert peak.separation(nucleus).arcsec < 4.0
