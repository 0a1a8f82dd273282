"""Models that only draw themselves, one position at a time."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import BoundsError, Box, Image
from lsst.images.psfs import PointSpreadFunction
from numpy.testing import assert_allclose
from tests.support.psf_models import centroid

from lsst.dax.image.errors import InputDataError, RequestError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.psfs import PsfNormalization, make_psf_evaluator, take_psf_tables

BOX = Box.factory[100:301, 1000:1401]


class _Widening(PointSpreadFunction):
    """A Gaussian that widens along x, and is not there beyond a column."""

    def __init__(self, *, slope=0.0, last=np.inf, side=31, blank=False):
        self.slope, self.last, self.side, self.blank = slope, last, side, blank
        self.drawn = []

    @property
    def bounds(self):
        return BOX

    @property
    def kernel_bbox(self):
        half = self.side // 2
        return Box.factory[-half : self.side - half, -half : self.side - half]

    def compute_kernel_image(self, *, x, y):
        if x > self.last:
            raise BoundsError(f"No PSF at x={x}.")
        self.drawn.append((x, y))
        return Image(
            np.full((self.side, self.side), np.nan) if self.blank else self.profile(x), bbox=self.kernel_bbox
        )

    def compute_stellar_image(self, *, x, y):
        raise NotImplementedError

    def compute_stellar_bbox(self, *, x, y):
        raise NotImplementedError

    def profile(self, x, dx=0.0, dy=0.0):
        sigma = 2.0 + self.slope * (x - 1000.0)
        r = np.arange(self.side) - self.side // 2
        image = np.exp(-0.5 * ((r - dx) / sigma) ** 2) * np.exp(-0.5 * ((r - dy) / sigma) ** 2)[:, None]
        return image / (2.0 * np.pi * sigma**2)


def test_a_constant_model_is_drawn_to_the_precision_of_the_interpolant():
    psf = _Widening()
    evaluator = make_psf_evaluator(psf, grid_spacing_px=100.0)
    assert take_psf_tables(psf) is None
    assert not evaluator.is_exact
    rng = np.random.default_rng(1)
    x, y = rng.uniform(999.5, 1400.4, 30), rng.uniform(99.5, 300.4, 30)
    stamps = evaluator.stellar_images(x, y)
    assert not stamps.flags.any()
    for i, (px, py) in enumerate(zip(x, y, strict=True)):
        want = psf.profile(px, px - np.floor(px + 0.5), py - np.floor(py + 0.5))
        assert_allclose(stamps.array[i], want, rtol=0, atol=3e-3 * want.max())
    found_x, found_y = centroid(stamps)
    assert_allclose(found_x, x, atol=0.015)
    assert_allclose(found_y, y, atol=0.015)


def test_between_nodes_the_kernel_is_interpolated_linearly():
    psf = _Widening(slope=0.002)
    evaluator = make_psf_evaluator(psf, grid_spacing_px=100.0)
    kernels = evaluator.kernel_images([1000.0, 1100.0, 1025.0, 1400.0], [100.0, 150.0, 300.0, 300.0])
    assert_allclose(kernels.array[0], psf.profile(1000.0), rtol=1e-13)
    assert_allclose(kernels.array[1], psf.profile(1100.0), rtol=1e-13)
    want = 0.75 * psf.profile(1000.0) + 0.25 * psf.profile(1100.0)
    assert_allclose(kernels.array[2], want, rtol=1e-13)
    assert_allclose(kernels.array[3], psf.profile(1400.0), rtol=1e-13)
    fine = make_psf_evaluator(psf, grid_spacing_px=10.0).kernel_images([1025.0], [200.0])
    coarse_error = np.abs(kernels.array[2] - psf.profile(1025.0)).max()
    fine_error = np.abs(fine.array[0] - psf.profile(1025.0)).max()
    # Linear interpolation: the error falls with the square of the distance.
    assert fine_error < coarse_error / 50


def test_nodes_are_drawn_once_and_only_where_they_are_needed():
    psf = _Widening()
    evaluator = make_psf_evaluator(psf, grid_spacing_px=100.0)
    assert psf.drawn == []
    evaluator.stellar_images([1010.0, 1020.0], [110.0, 120.0])
    assert sorted(psf.drawn) == [(1000.0, 100.0), (1000.0, 200.0), (1100.0, 100.0), (1100.0, 200.0)]
    evaluator.kernel_images([1030.0], [130.0], normalization=PsfNormalization.MODEL)
    assert len(psf.drawn) == 4
    evaluator.kernel_images([1400.0, 1400.4], [300.0, 300.4])
    assert max(psf.drawn) == (1400.0, 300.0)
    assert max(y for _, y in psf.drawn) == 300.0


def test_a_position_next_to_a_node_without_model_has_a_flag():
    evaluator = make_psf_evaluator(_Widening(last=1150.0), grid_spacing_px=100.0)
    stamps = evaluator.stellar_images([1099.0, 1100.0, 1100.5, 1300.0], [150.0] * 4)
    no_psf = FLAGS["NO_PSF"].value
    assert stamps.flags.tolist() == [0, 0, no_psf, no_psf]
    blank = make_psf_evaluator(_Widening(blank=True)).stellar_images([1099.0], [150.0])
    assert blank.flags.tolist() == [no_psf]


def test_the_whole_kernel_has_unit_sum():
    evaluator = make_psf_evaluator(_Widening(slope=0.002), grid_spacing_px=100.0)
    stamps = evaluator.stellar_images([1025.3], [150.2], size=9, normalization=PsfNormalization.MODEL)
    wide = evaluator.stellar_images([1025.3], [150.2], normalization=PsfNormalization.MODEL)
    assert_allclose(stamps.array[0], wide.array[0, 11:-11, 11:-11], rtol=1e-12)
    assert_allclose(wide.sums, 1.0, atol=1e-6)


def test_positions_without_model_need_no_node():
    psf = _Widening()
    stamps = make_psf_evaluator(psf).stellar_images([np.nan, 5.0], [150.0, 150.0])
    assert stamps.flags.tolist() == [FLAGS["BAD_POSITION"].value, FLAGS["NO_PSF"].value]
    assert psf.drawn == []


def test_what_cannot_be_gridded_is_refused():
    with pytest.raises(RequestError, match=r"nodes of a PSF are 0.0 pixels apart"):
        make_psf_evaluator(_Widening(), grid_spacing_px=0.0)
    with pytest.raises(InputDataError, match=r"kernels of shape \(30, 30\); odd sides"):
        make_psf_evaluator(_Widening(side=30))
