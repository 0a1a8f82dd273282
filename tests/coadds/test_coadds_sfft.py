"""A real PSF-matched median: registered DECam epochs with the kernels of their subtraction."""

from __future__ import annotations

import uuid

import numpy as np
from astropy.io import fits
from lsst.images import Box
from numpy.typing import NDArray
from tests.support.testdata import testdata

from lsst.dax.image.coadds import InputKey, Statistic, Warp, combine_warps, convolve_warp

EDGE = 12
"""Half of the widest kernel."""


def read(name: str) -> NDArray[np.float64]:
    return np.asarray(fits.getdata(testdata(f"A_sfft_decam_stack/{name}")), np.float64)


def make_epochs() -> list[Warp]:
    """Return the epochs, each brought to the PSF of the first.

    The reference continues images beyond their edges by the outermost pixels;
    so do these, and lose what was added to the kernels.
    """
    epochs = []
    for i, letter in enumerate("abcde"):
        image = np.pad(read(f"input_data/DEC-OBS04{letter}.mini.fits"), EDGE, mode="edge")
        warp = Warp(
            key=InputKey("DECam", i, 1, uuid.UUID(int=i)),
            bbox=Box.factory[-EDGE : 256 + EDGE, -EDGE : 256 + EDGE],
            image=image.astype(np.float32),
            variance=np.full(
                image.shape, 1.4826**2 * np.median(np.abs(image - np.median(image))) ** 2, np.float32
            ),
            mask=np.zeros(image.shape, np.uint32),
            planes=("NO_DATA", "BAD", "SATURATED"),
            weight=1.0,
        )
        if letter != "a":
            warp = convolve_warp(warp, read(f"input_data/DEC-OBS04{letter}.MatchKernel.fits"))
        epochs.append(warp)
    return epochs


def test_median_of_matched_epochs_is_the_published_stack() -> None:
    expected = read("4check/Stack-DEC-OBS04.fits")
    combined = combine_warps(make_epochs(), statistic=Statistic.MEDIAN)
    inner = np.s_[EDGE:-EDGE, EDGE:-EDGE]
    assert (combined.n_inputs[inner] == 5).all()
    # The stack was made in float64 by direct sums: rounded to float32, it is the same.
    rounded = expected.astype(np.float32)
    np.testing.assert_array_max_ulp(combined.image[inner], rounded, maxulp=1)
    assert np.mean(combined.image[inner] == rounded) > 0.999


def test_without_its_kernels_the_stack_is_another() -> None:
    expected = read("4check/Stack-DEC-OBS04.fits")
    plain = np.median([read(f"input_data/DEC-OBS04{letter}.mini.fits") for letter in "abcde"], axis=0)
    assert np.abs(plain - expected).max() > 100.0


def test_matched_epochs_agree_within_their_noise() -> None:
    first, *others = make_epochs()
    inner = np.s_[EDGE:-EDGE, EDGE:-EDGE]
    sky = np.abs(read("4check/Stack-DEC-OBS04.fits")) < 30.0
    for other in others:
        pull = (other.image[inner] - first.image[inner]) / np.sqrt(
            other.variance[inner] + first.variance[inner]
        )
        quartiles = np.quantile(pull[sky], [0.25, 0.75])
        assert 0.741 * np.diff(quartiles)[0] < 1.15
        assert 0.741 * np.diff(quartiles)[0] > 0.85
