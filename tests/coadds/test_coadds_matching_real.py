"""PSFs of real exposures, brought to one target."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.legacy_survey import read_exposures
from tests.support.testdata import testdata

from lsst.dax.image.coadds import (
    PsfMatching,
    PsfTarget,
    make_matching_kernel,
    make_target_psf,
    measure_psf_shapes,
)
from lsst.dax.image.psfs import PsfNormalization, make_psf_evaluator

SCALE = 0.262


def test_six_nights_of_decam_get_one_psf() -> None:
    psfs = []
    for exposure in read_exposures(testdata("A_decam_ls/testcase6")):
        bbox = exposure.image.bbox
        stamps = make_psf_evaluator(exposure.psf).kernel_images(
            [bbox.x.center], [bbox.y.center], size=41, normalization=PsfNormalization.STAMP
        )
        psfs.append(stamps.array[0])
    widths = measure_psf_shapes(np.array(psfs)).fwhm_px
    assert np.ptp(widths) > 1.5
    # A little more than the widest.
    target = PsfTarget(fwhm_arcsec=1.15 * float(widths.max()) * SCALE)
    wanted = make_target_psf(target, pixel_scale_arcsec=SCALE, size_px=41)
    found = [make_matching_kernel(psf, wanted, rules=PsfMatching(kernel_px=31)) for psf in psfs]
    shapes = measure_psf_shapes(np.array([one.psf for one in found]))
    expected = measure_psf_shapes(wanted[None])
    assert shapes.xx == pytest.approx(expected.xx[0], rel=1e-3)
    assert shapes.yy == pytest.approx(expected.yy[0], rel=1e-3)
    assert np.abs(shapes.xy).max() < 1e-3 * expected.xx[0]
    assert max(one.residual for one in found) < 0.01
    assert max(one.amplification for one in found) < 1.2
