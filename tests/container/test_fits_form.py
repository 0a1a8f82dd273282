"""A projection that lsst.images cannot write as a FITS WCS gets one that it can."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS
from lsst.images import Box, Image
from PIL import Image as Pillow
from tests.support.scenes import make_wcs

from lsst.dax.image.container import make_sky_projection
from lsst.dax.image.cutouts import make_cutout
from lsst.dax.image.geometry import PixelBoxStencil
from lsst.dax.image.plotting import make_color_image, write_color_png

# The scale, orientation and size of the distortion are those of a DECam detector.
TPV = {
    "CTYPE1": "RA---TPV",
    "CTYPE2": "DEC--TPV",
    "CRVAL1": 187.038,
    "CRVAL2": 25.562,
    "CUNIT1": "deg",
    "CUNIT2": "deg",
    "CRPIX1": -1249.2,
    "CRPIX2": 3761.3,
    "RADESYS": "ICRS",
    "CD1_1": -1.38e-7,
    "CD1_2": 7.285e-5,
    "CD2_1": -7.288e-5,
    "CD2_2": -1.37e-7,
    "PV1_0": 6.7e-4,
    "PV1_1": 1.0061,
    "PV1_2": -2.1e-4,
    "PV1_4": 1.5e-3,
    "PV1_7": -2.4e-3,
    "PV1_9": -3.5e-3,
    "PV2_0": 2.7e-4,
    "PV2_1": 1.0056,
    "PV2_2": 3.1e-4,
    "PV2_4": -1.7e-3,
    "PV2_7": -1e-2,
    "PV2_10": 1e-4,
}


def make_tpv() -> WCS:
    return WCS(astropy.io.fits.Header(TPV))


@pytest.mark.parametrize(
    "box", [Box.factory[0:4094, 0:2046], Box.factory[0:250, 0:245], Box.factory[7:8, 3:4]]
)
def test_the_fits_form_of_tpv_has_the_positions_of_the_header(box: Box) -> None:
    wcs = make_tpv()
    projection = make_sky_projection(wcs, bbox=box)
    form = projection.as_fits_wcs(box, allow_approximation=True)
    x, y = (
        axis.ravel()
        for axis in np.meshgrid(*(np.linspace(side.min, side.max, 20) for side in (box.x, box.y)))
    )
    written = form.pixel_to_world(x - box.x.start, y - box.y.start)
    assert written.separation(wcs.pixel_to_world(x, y)).max() < 1e-4 * u.arcsec
    # The projection itself is the TPV still.
    exact = projection.pixel_to_sky(x=x, y=y)
    assert exact.separation(wcs.pixel_to_world(x, y)).max() < 1e-7 * u.arcsec


def test_lsst_images_loses_the_distortion() -> None:
    """The reason for it all: once this fails, the approximation can go."""
    box = Box.factory[0:250, 0:245]
    form = make_sky_projection(make_tpv(), bbox=box).as_fits_wcs(box)
    assert form.pixel_to_world(0, 0).separation(make_tpv().pixel_to_world(0, 0)) > 2 * u.arcsec


def test_astropy_reads_the_positions_from_a_file(tmp_path: Path) -> None:
    box = Box.factory[0:250, 0:245]
    projection = make_sky_projection(make_tpv(), bbox=box)
    image = Image(np.zeros(box.shape, dtype=np.float32), bbox=box, sky_projection=projection)
    cutout = make_cutout(image, PixelBoxStencil(Box.factory[100:140, 20:90]))
    with astropy.io.fits.open(cutout.write(tmp_path / "cutout.fits").ospath) as hdus:
        wcs = WCS(hdus["IMAGE"].header)
    assert wcs.pixel_to_world(5, 30).separation(make_tpv().pixel_to_world(25, 130)) < 1e-4 * u.arcsec


def test_a_projection_with_a_true_form_is_left_as_it_is() -> None:
    box = Box.factory[0:250, 0:245]
    projection = make_sky_projection(make_wcs(bbox=box), bbox=box)
    assert projection.fits_approximation is None


def test_an_image_that_is_not_all_on_the_sky_is_left_as_it_is() -> None:
    wcs = make_wcs()
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.cd = np.diag([-1.0, 1.0])
    box = Box.factory[-200:400, 900:1300]
    assert make_sky_projection(wcs, bbox=box).fits_approximation is None


def test_a_picture_has_the_positions_too(tmp_path: Path) -> None:
    box = Box.factory[0:40, 0:50]
    projection = make_sky_projection(make_tpv(), bbox=box)
    pixels = np.random.default_rng(3).normal(size=box.shape)
    image = Image(pixels, bbox=box, sky_projection=projection)
    path = write_color_png(make_color_image(image, image, image), tmp_path / "color.png")
    with Pillow.open(path) as picture:
        cards = picture.info["Comment"]
    wcs = WCS(astropy.io.fits.Header.fromstring(cards, sep="\n"))
    assert wcs.pixel_to_world(5, 30).separation(make_tpv().pixel_to_world(5, 30)) < 1e-4 * u.arcsec
