"""Assembly of the trimmed detector."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lsst.images import Box
from lsst.images.cameras import AmplifierRawGeometry, Detector
from tests.support.isr import make_detector, make_exposure

from lsst.dax.image.errors import InputDataError
from lsst.dax.image.recreation.isr import IsrExposure
from lsst.dax.image.recreation.isr.assembly import assemble


def geometry(detector: Detector, index: int) -> AmplifierRawGeometry:
    raw = detector.amplifiers[index].assembled_raw_geometry
    assert raw is not None
    return raw


def numbered(detector: Detector) -> IsrExposure:
    """Return an exposure whose pixels tell where they come from."""
    exposure = make_exposure(detector)
    ny, nx = exposure.image.shape
    y, x = np.mgrid[:ny, :nx]
    image = (1000 * y + x).astype(np.float32)
    return exposure.with_pixels(
        image=image, mask=(image % 4096).astype(np.uint16), variance=(image + 0.5).astype(np.float32)
    )


@pytest.mark.parametrize("vendor", ["E2V", "ITL"])
@pytest.mark.parametrize("threads", [1, 4])
def test_every_pixel_comes_from_the_data_of_its_amplifier(vendor: str, threads: int) -> None:
    raw = numbered(make_detector(vendor, data=(7, 5), prescan=2, serial=3, parallel=4))
    result = assemble(raw, threads=threads)
    assert result.image.shape == (14, 40)
    # The data of a column of tiles begin after the prescan where it is on the left, else after the
    # serial overscan; the upper tiles begin 11 rows up, and their data 4 rows later.
    right_top, right_bottom = 3, {"E2V": 2, "ITL": 3}[vendor]
    x, y = np.arange(40), np.arange(14)
    tile, inside = divmod(x, 5)
    top = 1000 * (y[7:, None] - 7 + 11 + 4) + (tile * 10 + right_top + inside)
    bottom = 1000 * y[:7, None] + (tile * 10 + right_bottom + inside)
    np.testing.assert_array_equal(result.image, np.concatenate([bottom, top]))
    np.testing.assert_array_equal(result.mask, result.image % 4096)
    np.testing.assert_array_equal(result.variance, result.image + 0.5)
    assert result.is_assembled
    assert not raw.is_assembled
    assert (result.unit, result.info, result.amplifiers) == (raw.unit, raw.info, raw.amplifiers)


@pytest.mark.parametrize(
    ("vendor", "data", "prescan", "overscans", "shape"),
    [
        ("E2V", (2002, 512), 10, (54, 46), (4004, 4096)),
        ("ITL", (2000, 509), 3, (64, 48), (4000, 4072)),
    ],
)
def test_detectors_of_the_camera_have_their_sizes(
    vendor: str,
    data: tuple[int, int],
    prescan: int,
    overscans: tuple[int, int],
    shape: tuple[int, int],
) -> None:
    serial, parallel = overscans
    exposure = make_exposure(
        make_detector(vendor, data=data, prescan=prescan, serial=serial, parallel=parallel)
    )
    assert exposure.image.shape == (4096, 4608)
    assert assemble(exposure).image.shape == shape


@pytest.mark.parametrize(("flip_x", "flip_y"), [(True, False), (False, True), (True, True)])
def test_amplifiers_are_reversed_where_the_geometry_says_so(flip_x: bool, flip_y: bool) -> None:
    plain = assemble(numbered(make_detector()))
    detector = make_detector()
    geometry(detector, 0).flip_x, geometry(detector, 0).flip_y = flip_x, flip_y
    result = assemble(numbered(detector))
    step = slice(None, None, -1 if flip_y else 1), slice(None, None, -1 if flip_x else 1)
    c10 = slice(40, 80), slice(0, 24)
    for plane in ("image", "mask", "variance"):
        expected = getattr(plain, plane).copy()
        expected[c10] = expected[c10][step]
        np.testing.assert_array_equal(getattr(result, plane), expected)


def test_inputs_stay() -> None:
    raw = numbered(make_detector())
    copy = raw.image.copy()
    result = assemble(raw)
    np.testing.assert_array_equal(raw.image, copy)
    assert not np.shares_memory(result.image, raw.image)


def test_errors_say_both_sides() -> None:
    with pytest.raises(InputDataError, match=r"Exposure 2025052300201 of R22_S11 is assembled already"):
        assemble(make_exposure(is_assembled=True))
    detector = make_detector()
    geometry(detector, 0).data_bbox = Box.factory[62:102, 12:35]
    with pytest.raises(InputDataError, match=r"C10 have \(40, 23\) rows .* raw, but \(40, 24\)"):
        assemble(make_exposure(detector))
    detector = make_detector()
    geometry(detector, 2).data_bbox = Box.factory[63:103, 12:36]
    with pytest.raises(InputDataError, match=r"C12 .* outside an image of 102 rows and 312 columns"):
        assemble(make_exposure(detector))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box.factory[40:80, 23:47], r"Amplifiers of detector R22_S11 overlap"),
        (Box.factory[41:81, 24:48], r"C11 is at .*41:81.* outside of detector R22_S11 at .*0:80"),
        (Box.factory[40:79, 24:48], r"have 15336 pixels together, the detector 15360"),
    ],
)
def test_amplifiers_must_fill_the_detector(box: Box, message: str) -> None:
    detector = make_detector()
    detector.amplifiers[1].bbox = box
    with pytest.raises(InputDataError, match=message):
        assemble(make_exposure(detector))


def test_a_detector_without_raw_geometry_is_refused() -> None:
    detector = make_detector()
    exposure = make_exposure(detector)
    detector.amplifiers[4].assembled_raw_geometry = None
    with pytest.raises(InputDataError, match=r"C14 has no assembled raw geometry"):
        assemble(dataclasses.replace(exposure, detector=detector))
