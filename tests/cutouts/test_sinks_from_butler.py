"""Stamps of a repository's datasets arrive in sinks with their PSF, position and origin."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from lsst.daf.butler import Butler
from lsst.images import Image, MaskedImage
from lsst.images.tests import assert_masked_images_equal

from lsst.dax.image.cutouts import StampBatch, fetch_stamps
from lsst.dax.image.cutouts.sinks import (
    FitsDirectory,
    MultiExtensionFits,
    StampStack,
    save_stamps,
    target_wcs,
)
from lsst.dax.image.repository import find_datasets

SIZE = 21


def make_batch(butler: Butler) -> StampBatch:
    """Return stamps of two distorted images with PSFs; the last target is in none."""
    refs = find_datasets(butler, "visit_image")[:2]
    positions = []
    for ref in refs:
        bbox = butler.get(ref.makeComponentRef("bbox"))
        projection = butler.get(ref.makeComponentRef("sky_projection"))
        positions.append(projection.pixel_to_sky(x=bbox.x.center + 3.2, y=bbox.y.center - 4.4))
    positions.append(SkyCoord(200 * u.deg, 80 * u.deg))
    return fetch_stamps(butler, refs, SkyCoord(positions), size=SIZE, with_psf=True)


def test_an_hdu_of_a_distorted_image_has_its_wcs_and_origin(mini_butler: Butler, tmp_path: Path) -> None:
    batch = make_batch(mini_butler)
    with MultiExtensionFits(tmp_path / "mef.fits") as sink:
        save_stamps(batch, sink)
    with astropy.io.fits.open(tmp_path / "mef.fits") as hdus:
        hdus.verify("exception")
        targets = Table(hdus["TARGETS"].data)
        for stamp, row in zip(batch, targets, strict=True):
            if stamp.image is None:
                continue
            hdu = hdus["IMAGE", row["extver"]]
            assert hdu.header["CTYPE1"] == "RA---TAN-SIP"
            x, y = np.array([0.0, 20.0, 7.0]), np.array([20.0, 3.0, 0.0])
            expected = stamp.image.sky_projection.pixel_to_sky(
                x=x + stamp.bbox.x.start, y=y + stamp.bbox.y.start
            )
            assert np.all(WCS(hdu.header).pixel_to_world(x, y).separation(expected) < 1e-5 * u.arcsec)
            assert np.all(target_wcs(row).pixel_to_world(x, y).separation(expected) < 0.01 * 0.2 * u.arcsec)
            assert (hdu.header["BTLRUUID"], hdu.header["BTLRNAME"]) == (stamp.ref.id.hex, "visit_image")
            assert hdus["MASK", row["extver"]].header["MJD_TARG"] == stamp.time.tai.mjd
            assert isinstance(stamp.psf, Image)
            assert np.array_equal(hdus["PSF", row["extver"]].data, stamp.psf.array)


def test_a_rerun_reads_nothing_that_is_there(mini_butler: Butler, tmp_path: Path) -> None:
    batch = make_batch(mini_butler)
    with FitsDirectory(tmp_path / "folder") as sink:
        first = save_stamps(batch.skipping(sink.finished()), sink)
    with FitsDirectory(tmp_path / "folder") as sink:
        again = save_stamps(batch.skipping(sink.finished()), sink)
    assert first.added == 6
    assert (again.added, again.skipped) == (0, 0)
    rows = Table.read(tmp_path / "folder" / "targets.ecsv")
    for stamp, row in zip(batch, rows, strict=True):
        if stamp.image is not None:
            assert_masked_images_equal(MaskedImage.read(str(tmp_path / "folder" / row["file"])), stamp.image)


def test_a_stack_of_visits_is_one_array(mini_butler: Butler, tmp_path: Path) -> None:
    batch = make_batch(mini_butler)
    with StampStack(tmp_path / "stack") as sink:
        save_stamps(batch, sink)
    good = [stamp for stamp in batch if stamp.image is not None]
    images = np.load(tmp_path / "stack" / "image.npy")
    assert images.shape == (len(good), SIZE, SIZE)
    assert len(good) >= 2
    for stamp, image in zip(good, images, strict=True):
        assert np.array_equal(image, stamp.image.image.array, equal_nan=True)
    assert np.load(tmp_path / "stack" / "psf.npy").shape[0] == len(good)
