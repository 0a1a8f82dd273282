"""Detectors from the pipelines' camera files: real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.images import Box
from lsst.images.cameras import DetectorType, ReadoutCorner
from tests.support.testdata import testdata

from lsst.dax.image.errors import InputDataError, RequestError
from lsst.dax.image.recreation.isr.camera_files import read_camera_detector

CAMERA = "C_rubin_camera_wcs/camera/camera_{0}_{0}_calib_unbounded.fits"


def test_a_detector_of_the_camera() -> None:
    detector = read_camera_detector(testdata(CAMERA.format("LSSTCam")), detector=5)
    assert (detector.name, detector.id, detector.serial) == ("R01_S12", 5, "ITL-3800C-095")
    assert (detector.instrument, detector.type, detector.physical_type) == (
        "LSSTCam",
        DetectorType.SCIENCE,
        "ITL",
    )
    assert detector.bbox == Box.factory[0:4000, 0:4072]
    names = [amplifier.name for amplifier in detector.amplifiers]
    assert names == [*(f"C1{k}" for k in range(8)), *(f"C0{k}" for k in range(7, -1, -1))]
    first = detector.amplifiers[0]
    assert first.nominal_calibrations is not None
    assert (first.nominal_calibrations.gain, first.nominal_calibrations.saturation) == (1.15401, 110552.0)
    assert first.readout_corner is ReadoutCorner.UR
    assert detector.amplifiers[-1].readout_corner is ReadoutCorner.LR
    geometry = first.unassembled_raw_geometry
    assert geometry is not None
    assert (geometry.flip_x, geometry.flip_y, geometry.x_offset, geometry.y_offset) == (True, True, 0, 2048)
    assert geometry.serial_overscan_bbox == Box.factory[0:2000, 512:544]


@pytest.mark.parametrize(("name", "number"), [("R22_S11", 94), ("R44_SW0", 203), ("R04_SG0", 198)])
def test_a_detector_is_found_by_name_or_number(name: str, number: int) -> None:
    path = testdata(CAMERA.format("LSSTCam"))
    named = read_camera_detector(path, detector=name)
    numbered = read_camera_detector(path, detector=named.id)
    assert (named.name, named.id) == (numbered.name, numbered.id) == (name, named.id)


@pytest.mark.parametrize(
    ("instrument", "number"), [("LSSTCam", 5), ("LSSTCam", 94), ("LSSTComCam", 8), ("LATISS", 0)]
)
def test_the_reference_pixel_is_at_the_detectors_place(instrument: str, number: int) -> None:
    """The map from pixels and the position in millimetre are stored apart."""
    detector = read_camera_detector(testdata(CAMERA.format(instrument)), detector=number)
    where = detector.orientation
    at = detector.to_focal_plane.apply_forward(
        x=np.array([where.pixel_reference_x, where.pixel_reference_x + 100.0]),
        y=np.array([where.pixel_reference_y, where.pixel_reference_y]),
    )
    np.testing.assert_allclose(at.x[0], where.focal_plane_x, atol=1e-9)
    np.testing.assert_allclose(at.y[0], where.focal_plane_y, atol=1e-9)
    np.testing.assert_allclose(np.hypot(*np.diff([at.x, at.y])[:, 0]), 100 * detector.pixel_size, rtol=1e-9)


def test_field_angles_are_those_of_the_telescope() -> None:
    """LSSTCam's plate scale is 0.2 arcsec per pixel of 0.01 mm."""
    detector = read_camera_detector(testdata(CAMERA.format("LSSTCam")), detector=94)
    at = detector.to_field_angle.apply_forward(x=np.array([2047.5, 2147.5]), y=np.array([2001.5, 2001.5]))
    np.testing.assert_allclose(at.x[0], 0.0, atol=1e-7)
    np.testing.assert_allclose(np.degrees(np.diff(at.x)) * 3600, 20.0, rtol=5e-3)


def test_the_camera_and_a_persisted_detector_agree() -> None:
    """Two releases of the same sensor: names, boxes and place are the same, gains are not."""
    persisted = json.loads(testdata("C_rubin_dp_fixtures/detector.json").read_text())
    detector = read_camera_detector(testdata(CAMERA.format("LSSTCam")), detector=85)
    attributes = persisted["attributes"]
    assert (detector.name, detector.serial) == (attributes["name"], attributes["serial"])
    assert detector.orientation.focal_plane_x == attributes["orientation"]["focal_plane_x"]
    for amplifier, expected in zip(detector.amplifiers, persisted["amplifiers"], strict=True):
        assert json.loads(amplifier.model_dump_json())["bbox"] == expected["bbox"]


def test_a_detector_file_has_the_geometry_of_the_assembled_raw() -> None:
    path = testdata("B_lsst_amp_assembly/e2v_detector.fits")
    detector = read_camera_detector(path, instrument="LSSTCam")
    assert (detector.name, detector.id, detector.physical_type) == ("R22_S11", 94, "E2V")
    corners = {
        amplifier.name: amplifier.assembled_raw_geometry.readout_corner
        for amplifier in detector.amplifiers
        if amplifier.assembled_raw_geometry is not None
    }
    # The file says LL of all of them.
    assert corners["C10"] is ReadoutCorner.UR
    assert corners["C07"] is ReadoutCorner.LL
    with pytest.raises(RequestError, match="say which instrument"):
        read_camera_detector(path)


def test_what_is_not_there_is_named() -> None:
    path = testdata(CAMERA.format("LSSTComCam"))
    with pytest.raises(
        RequestError, match=r"no detector 'R01_S00'; it has 9: R22_S00 \(0\) to R22_S22 \(8\)"
    ):
        read_camera_detector(path, detector="R01_S00")
    with pytest.raises(RequestError, match="no detector None"):
        read_camera_detector(path)


@pytest.mark.parametrize("name", ["camera-bad-overscan.fits", "detector-fixed-assembled.fits"])
def test_older_forms_are_refused(name: str) -> None:
    with pytest.raises(InputDataError, match=r"no columns \['physicalType'\]"):
        read_camera_detector(testdata(f"B_lsst_amp_assembly/{name}"), instrument="LATISS")


def test_other_and_damaged_files_are_refused(tmp_path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "other.fits")
    with pytest.raises(InputDataError, match="no ARCHIVE_INDEX table"):
        read_camera_detector(tmp_path / "other.fits")
    content = testdata("B_lsst_amp_assembly/e2v_detector.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(content[:-5000])
    with pytest.raises(InputDataError, match="truncated"):
        read_camera_detector(tmp_path / "cut.fits", instrument="LSSTCam")
    (tmp_path / "map.fits").write_bytes(content.replace(b"Begin WinMap", b"Begin WinPam"))
    with pytest.raises(InputDataError, match="The map from FocalPlane to Pixels"):
        read_camera_detector(tmp_path / "map.fits", instrument="LSSTCam")
